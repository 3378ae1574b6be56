"""Files of what tcpdump prints: which they are, where their records end, and their clock."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, Final

import polars as pl

from connwatch.contracts import Block, Parsed
from connwatch.schema import empty
from connwatch.stages import WORKERS, side_by_side

from ..clock import DAY, midnight
from ..clock import Clock as Told
from ..headless import Headless
from ..rejects import reject_rows
from ..sockets.text import ESCAPES, encoding_of, head_text, shown_lines, whole_lines
from ..sockets.times import day_in_name, moment_in_name, written
from ..zeek_events import Origin
from .clock import NUMBER, START, Clock, each_from_the_one_before, timed
from .events import events_of
from .plain import look
from .reader import Read, packets
from .records import COMMENT, ENCLOSING, WORDS

PACKETS: Final = "tcpdump.packet"
#: bytes by which it is known whether offsets are from the packet before, or that there are no times
_ENOUGH: Final = 64 << 10
#: a record that is longer is read in parts, of which only the first is one
_LONGEST: Final = 1 << 20
_LOOK: Final = 400
#: bytes of a piece that is worth a thread
_PIECE: Final = 1 << 20
#: characters of a line that are looked at for that
_WIDTH: Final = 1_000
_OFFSET: Final = NUMBER + r"[ -][0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}(?:[0-9]{3})?(?: |$)"
_CLOCK: Final = NUMBER + r"[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}(?:[0-9]{3})?(?: |$)"
_DATE: Final = NUMBER + r"[0-9]{4}-[0-9]{2}-[0-9]{2} "
#: what no other log has behind its time
_SURE: Final = re.compile(
    r"(?:(?:\S{1,16} +)?(?:In|Out|B|M|P) +)?(?:ifindex [0-9]+ )?"
    r"(?:IP6? (?:\S+ > \S+: |\(tos|\((?:class|flowlabel|hlim) )|IP6? +\[|IP6? \(0x|ARP, |"
    r"arp (?:who-has|reply)|[0-9A-Fa-f]{1,2}(?::[0-9A-Fa-f]{1,2}){5} (?:\(oui [^)]{1,60}\) )?"
    r"(?:> |ethertype )|ethertype IPv[46][, ]|[^\n]{0,40}family IPv[46] \(|AF IPv|STP |LLDP, |CDPv|"
    r"EAPOL|EAP packet|PPPoE |unknown PPP protocol|[A-Z0-9]{3,6}, (?:Auth|Conf|Term|Echo)-|"
    r": [A-Z0-9]{2,6}, Conf-|MLPPP|MPLS \(|IPX |802\.1|IEEE 802\.|IS-IS|UDLDv|VTPv|DTPv|LACPv|OSSP|"
    r"BRCM tag|DSA |CFMv[0-9]|Loopback, |AoE length|GeoNet src:|NSH, |TIPC v|et1 AT|endnode-hello|"
    r"[0-9]{1,2}\.[0-9]{1,4} > [0-9]{1,2}\.[0-9]{1,4} |UI [0-9a-f]{2}!|OSI NLPID|FRF\.1|SLARP|"
    r"Q\.9[0-9]{2},|[0-9]{1,20}us tsft|fhset |Invalid direction|UNSUPPORTED| ?\[\||"
    r" \[extension_length)"
)
#: MULTILINE: ^ is the place where a match is asked for
_BYTES: Final = {
    times: re.compile(begin.encode(), re.MULTILINE)
    for times, begin in ((True, START), (False, WORDS))
}
_ENCLOSES: Final = re.compile(ENCLOSING.encode())


@dataclass(frozen=True, slots=True)
class State:
    """What is known between two blocks of a file.

    held: bytes that were not read yet, with their place. times: whether records begin with a time;
    None: not seen yet. clock: None: not seen yet.
    """

    encoding: str = ""
    held: bytes = b""
    line: int = 1
    offset: int = 0
    times: bool | None = None
    clock: Clock | None = None
    dropped: bool = False
    notes: tuple[str, ...] = field(default=())


class Tcpdump(Headless):
    """Text of tcpdump, an event for each packet."""

    name = "tcpdump"
    description = "packets as tcpdump prints them, with any options"

    def sniff(self, head: bytes, path: str) -> str | None:
        return PACKETS if is_tcpdump(head) else None

    def begin(self, dataset: str) -> State:
        return State()

    def parse(self, block: Block, state: State) -> tuple[Parsed, State]:
        origin = Origin(block.path, PACKETS, self.sensor, self.name)
        made: list[Parsed] = []
        if block.offset == 0:
            state = State()  # another file's is not of this one
        for read, after in reads(block, state, self.clock):
            made.append(parsed(read, events_of(read, origin), origin))
            state = after
        return together(made, frozenset(state.notes)), replace(state, notes=())

    def held(self, state: State) -> bool:
        return bool(state.held)

    def saved(self, state: State) -> dict[str, Any]:
        return {**asdict(state), "held": state.held.decode("latin-1"), "notes": list(state.notes)}

    def restored(self, saved: Mapping[str, Any]) -> State:
        clock = saved["clock"]
        return State(
            **{
                **saved,
                "held": saved["held"].encode("latin-1"),
                "clock": None if clock is None else Clock(**clock),
                "notes": tuple(saved["notes"]),
            }
        )


def parsed(read: Read, events: pl.DataFrame, origin: Origin) -> Parsed:
    """Events of what was read, with its rejects and counts."""
    rejects = reject_rows(
        path=origin.path,
        line=read.faults["line"],
        offset=read.faults["offset"],
        format_name=origin.format,
        field=[None] * read.faults.height,
        reason=read.faults["fault"],
        raw=read.faults["raw"],
    )
    return Parsed(events, rejects, read.lines, read.record_lines, read.comments)


def together(parts: list[Parsed], notes: frozenset[str]) -> Parsed:
    """Parts of one block as one."""
    return Parsed(
        pl.concat([one.events for one in parts]) if parts else empty(),
        pl.concat([one.rejects for one in parts]) if parts else reject_rows(),
        sum(one.lines for one in parts),
        sum(one.record_lines for one in parts),
        sum(one.comments for one in parts),
        notes=notes,
    )


def is_tcpdump(head: bytes) -> bool:
    """Whether a file that begins so is text of tcpdump: most of its lines that begin with a time go
    on as packets do; or, without times, its first line is a packet."""
    begun = sure = 0
    for line in head_text(head).splitlines()[:_LOOK]:
        text = re.sub(ESCAPES, "", line[:_WIDTH])
        if not text.strip() or re.match(COMMENT, text):
            continue
        plain = re.sub(NUMBER, "", text, count=1)
        timed_ = re.match(START, plain)
        if timed_ is None:
            if not begun:
                if _SURE.match(plain):
                    return True
                if not text[0].isspace():
                    return False
            continue
        begun += 1
        sure += _SURE.match(plain, timed_.end()) is not None
        if sure >= 8 and sure * 2 >= begun:
            return True
    return sure > 0 and sure * 2 >= begun


def reads(
    block: Block,
    state: State,
    told: Told = Told(),  # noqa: B008  frozen
) -> list[tuple[Read, State]]:
    """What a block of a file makes known, part by part, with the state behind each. Notes gather in
    the state."""
    if not state.encoding:
        encoding = encoding_of(block.data)
        state = replace(state, encoding=encoding, line=block.line, offset=block.offset)
    made = []
    if block.offset != state.offset + len(state.held):
        made += _read(state.held, block.path, state, told, last=True)
        state = replace(made[-1][1], line=block.line, offset=block.offset)
    return made + _read(state.held + block.data, block.path, state, told, last=block.last)


def _read(
    data: bytes, path: str, state: State, told: Told, *, last: bool
) -> list[tuple[Read, State]]:
    """What is whole in `data`, which begins where the state says; all if nothing follows."""
    if state.encoding == "utf-8" and state.times is not False:
        known = _plain(data, path, state, told, last=last)
        if known:
            return known
    return [_text(data, path, state, told, last=last)]


def _text(data: bytes, path: str, state: State, told: Told, *, last: bool) -> tuple[Read, State]:
    """The same by the columns of its lines."""
    usable = data
    if state.encoding != "utf-8" and not last:
        usable = data[: whole_lines(data, state.encoding)]
    lines = shown_lines(usable, state.line, state.offset, state.encoding)
    settled = _settled(lines, path, state, told, enough=last or len(usable) >= _ENOUGH)
    if settled is None or settled.clock is None or settled.times is None:
        read, _ = packets(lines.clear(), Clock(), times=True)
        return read, replace(state, held=data)
    state = settled
    clock, times = settled.clock, settled.times
    count = lines.height if last else _whole(usable, lines, state)
    begin = int(lines["offset"][count]) - state.offset if count < lines.height else len(usable)
    read, clock = packets(
        lines.head(count),
        clock,
        times=times,
        data=usable[:begin] if state.encoding == "utf-8" else b"",
    )
    if read.dropped and not state.dropped:
        said = f"{path}: tcpdump says that the kernel dropped packets; counts are incomplete"
        state = replace(state, dropped=True, notes=(*state.notes, said))
    state = replace(
        state, held=data[begin:], line=state.line + count, offset=state.offset + begin, clock=clock
    )
    return read, state


def _plain(
    data: bytes, path: str, state: State, told: Told, *, last: bool
) -> list[tuple[Read, State]]:
    """The same of records that are alike; nothing: they are not. Where the clock is known, it is
    read in pieces, of which those that are not alike are read by their columns."""
    whole = len(data) if last else _last_record(data, len(data))
    if not whole:
        return []
    pieces = [data[:whole]] if state.clock is None else _pieces(data, whole)
    looks = side_by_side(look, pieces)
    if state.clock is None:
        if looks[0] is None:
            return []
        first = pl.DataFrame({"text": [data[:_WIDTH].split(b"\n", 1)[0].decode()]})
        settled = _settled(first, path, state, told, enough=True)
        if settled is None:
            return []
        state = settled
    parts: list[Read | Callable[[], Read]] = []
    states = []
    for piece, found in zip(pieces, looks, strict=True):
        assert state.clock is not None  # noqa: S101  settled
        timed_ = None if found is None else found.times(state.clock)
        if found is not None and timed_ is not None:
            times, clock = timed_
            parts.append(partial(found.read, state.line, state.offset, times))
            lines, offset = state.line + found.lines, state.offset + len(piece)
            state = replace(state, held=b"", line=lines, offset=offset, clock=clock)
        elif len(pieces) == 1:
            return []
        else:
            read, state = _text(piece, path, state, told, last=True)
            parts.append(read)
        states.append(state)
    states[-1] = replace(state, held=data[whole:])
    return list(zip(side_by_side(_done, parts), states, strict=True))


def _done(part: Read | Callable[[], Read]) -> Read:
    return part if isinstance(part, Read) else part()


def _pieces(data: bytes, whole: int) -> list[bytes]:
    """About as many as there are cores, each of whole records."""
    count = max(1, min(WORKERS, whole // _PIECE))
    cuts = {_last_record(data, whole * number // count) for number in range(1, count)}
    places = sorted({0, *cuts, whole})
    return [data[start:end] for start, end in pairwise(places)]


def _last_record(data: bytes, end: int) -> int:
    """Where the last record before `end` that begins with a time does so; 0: nowhere."""
    pattern, until = _BYTES[True], end
    while end > 0:
        begin = data.rfind(b"\n", 0, end - 1) + 1
        if until - begin > _LONGEST:
            return 0
        if pattern.match(data, begin, min(end, begin + _WIDTH)):
            return begin
        end = begin
    return 0


def _whole(data: bytes, lines: pl.DataFrame, state: State) -> int:
    """How many lines come before the last record, which may go on."""
    if state.encoding != "utf-8":
        begins = lines["text"].str.contains(START if state.times else WORDS)
        last = begins.reverse().arg_max()
        return lines.height - 1 - (last or 0) if begins.any() else 0
    pattern = _BYTES[bool(state.times)]
    count, end = lines.height, len(data)
    while count:
        begin = data.rfind(b"\n", 0, end - 1) + 1
        count -= 1
        if len(data) - begin > _LONGEST:
            return lines.height
        enclosed = False
        if not state.times and begin:
            before = data[data.rfind(b"\n", 0, begin - 1) + 1 : begin]
            enclosed = _ENCLOSES.search(before) is not None
        if not enclosed and pattern.match(data, begin, min(end, begin + _WIDTH)):
            return count
        end = begin
    return 0


def _settled(
    lines: pl.DataFrame, path: str, state: State, told: Told, *, enough: bool
) -> State | None:
    """With what is known of the file's times; None: more must be seen for that."""
    if state.times is not None and state.clock is not None:
        return state
    begun = lines.filter(pl.col("text").str.contains(START))["text"]
    times = not begun.is_empty()
    if not times and not enough:
        return None
    # The first record tells what times are: lines that are damaged may look like others.
    each = None
    if times and begun.head(1).str.contains(_OFFSET).any():
        if not enough:
            return None
        each = each_from_the_one_before(begun.filter(begun.str.contains(_OFFSET)))
    base, notes = _base(begun, path, told, each=each)
    clock = Clock(base=base, each=each, zone=told.zone or "")
    return replace(state, times=times, clock=clock, notes=(*state.notes, *notes))


def _base(begun: pl.Series, path: str, told: Told, *, each: bool | None) -> tuple[int, list[str]]:
    """Where times without a date are counted from, and what is to be said of it."""
    zone = [] if told.zone else [f"{path}: tells times without a zone; they are taken as UTC"]
    clocks = each is None and begun.head(1).str.contains(_CLOCK).any()
    if each is None and not clocks and not begun.is_empty():
        return 0, zone if begun.str.contains(_DATE).any() else []
    named, day = moment_in_name(path), day_in_name(path)
    where = "the file's name"
    if told.date is not None:
        named, day, where = None, midnight(told.date), "--date"
    elif day is None:
        where = "the time at which the file was written"
    if clocks:
        if day is None:
            shown = told.local(written(path))
            day = shown - shown % DAY
            first, _ = timed(begun.head(1), Clock())
            if (first["time"][0] or 0) > shown % DAY:
                day -= DAY
        return day, [f"{path}: tells times without a date; the first day is from {where}", *zone]
    base = named.time if named is not None else day
    if base is None:
        base = written(path)
    elif named is None or not named.zoned:
        base = told.utc(base)
    what = "tells times from its first packet on" if each is not None else "tells no times"
    return base, [f"{path}: {what}; when that was is from {where}"]
