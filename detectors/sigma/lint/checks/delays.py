"""Windows that are shorter than what lies between a connection and its record.

Zeek writes a connection when it is over, and log time is when a record was written (docs/schema.md:
the running maximum of event.end). Its settings, from base/init-bare.zeek: after the end of a TCP
session tcp_close_delay 5 s, of an attempt without answer tcp_attempt_delay 5 s, after a reset
tcp_reset_delay 100 ms, of a half-closed one tcp_partial_close_delay 3 s, of one that went silent
tcp_inactivity_timeout 5 min; of UDP and ICMP, which have no end, udp_inactivity_timeout and
icmp_inactivity_timeout 1 min.

The delay itself does no harm where it is the same for all records that a window counts. Reported is
where it differs by more than the window is long, and records that last longer than the window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ....windows.spec import Presence, Window
from ..columns import BEHIND
from ..finding import Finding, Severity
from ..formula import Formula, comparisons
from ..subjects import Many, Single, Subjects
from ..theory import Theory

#: seconds from the end of a TCP connection to its record, by state; 5 where the state is not logged
_TCP: Final = {
    "S0": 5, "SH": 5, "SHR": 5, "SF": 5, "S2": 3, "S3": 3, "REJ": 0.1, "RSTO": 0.1, "RSTR": 0.1,
    "RSTOS0": 0.1, "RSTRH": 0.1, "S1": 300, "OTH": 300, None: 5,
}  # fmt: skip
#: of anything else
_REST: Final = 60
#: states of connections that Zeek gave up waiting for: few, and late; they count where a rule
#: names states
_GIVEN_UP: Final = ("S1", "OTH")
_NANO: Final = 1_000_000_000
_MICRO: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Delay:
    """The least and the greatest delay of records, in seconds, and whose the greatest is."""

    least: float
    most: float
    slowest: str


def check(subjects: Subjects) -> Iterator[Finding]:
    for many in subjects.many:
        if "correlation" not in many.document.content:
            continue
        for window in many.rule.windows.windows:
            yield from _lasting(many, window, subjects.theory)
            yield from _delayed(many, window, subjects.theory)


def _lasting(many: Many, window: Window, theory: Theory) -> Iterator[Finding]:
    span = window.timespan / _MICRO
    for base in many.bases:
        if base is not None and (least := shortest(base.condition, theory)) > span:
            yield _finding(
                many, "warning",
                f"each record of {base.rule.title!r} lasts {_seconds(least)} or longer and is "
                f"written at its end: in {_seconds(span)} only those that end together are counted "
                "together",
                "make the timespan longer than the records",
            )  # fmt: skip


def _delayed(many: Many, window: Window, theory: Theory) -> Iterator[Finding]:
    span = window.timespan / _MICRO
    bases = [base for base in many.bases if base is not None]
    tcp = [delay for base in bases if (delay := delays(base.condition, theory, tcp=True))]
    rest = [delay for base in bases if (delay := delays(base.condition, theory, tcp=False))]
    if tcp and (spread := max(d.most for d in tcp) - min(d.least for d in tcp)) > span:
        slowest = max(tcp, key=lambda delay: delay.most)
        yield _finding(
            many, "warning",
            f"in {_seconds(span)} it can miss what happens together: Zeek writes a TCP connection "
            f"{_seconds(min(d.least for d in tcp))} to {_seconds(slowest.most)} after its end "
            f"({slowest.slowest} the latest), {_seconds(spread)} apart",
            "make the timespan longer than that, or count connections of one state",
        )  # fmt: skip
    elif tcp and rest and _REST - min(d.most for d in tcp) > span and not _apart(window):
        together = window.measure.startswith("temporal") or isinstance(window.condition, Presence)
        only = together and any(_whole(b, theory) for b in bases)
        yield _finding(
            many, "warning" if only else "note",
            f"in {_seconds(span)} it does not see TCP and other connections of the same moment "
            f"together: Zeek writes UDP and ICMP {_REST} s after the last packet",
            f"make the timespan longer than {_REST} s, or count each by itself",
        )  # fmt: skip


def _apart(window: Window) -> bool:
    """Whether each group is of one protocol, or of one service."""
    named = {"network.transport", "destination.port", *BEHIND.values()} - {
        "source.ip",
        "destination.ip",
    }
    return all(named & set(per) for per in window.group_by)


def _whole(base: Single, theory: Theory) -> bool:
    """Whether a rule is about TCP alone, or about anything but TCP."""
    tcp = delays(base.condition, theory, tcp=True)
    return (tcp is None) is not (delays(base.condition, theory, tcp=False) is None)


def shortest(condition: Formula, theory: Theory) -> float:
    """The least duration, in seconds, of records that fulfil a condition; 0 where unknown."""
    if all(one.column != "event.duration" for one in comparisons(condition)):
        return 0
    rows = theory.rows(condition, "event.duration")
    if rows is None or rows.is_empty() or rows["event.duration"].null_count():
        return 0
    return float(str(rows["event.duration"].min())) / _NANO


def delays(condition: Formula, theory: Theory, *, tcp: bool) -> Delay | None:
    """How long after their end records are written that fulfil a condition, those of TCP or the
    others; None where there are none of these."""
    rows = theory.rows(condition, "network.transport")
    if rows is None:
        return None
    flows = [(str(transport), state) for transport, state in rows.rows()]
    if not tcp:
        return Delay(_REST, _REST, "UDP") if any(name != "tcp" for name, _ in flows) else None
    states = [state for name, state in flows if name == "tcp"]
    if set(states) >= set(_TCP):  # it says nothing of states
        states = [state for state in states if state not in _GIVEN_UP]
    if not states:
        return None
    slowest = max(states, key=_TCP.__getitem__)
    return Delay(min(_TCP[s] for s in states), _TCP[slowest], str(slowest))


def _seconds(value: float) -> str:
    return f"{value:g} s" if value < 600 else f"{value / 60:g} min"


def _finding(many: Many, severity: Severity, what: str, advice: str) -> Finding:
    return Finding(many.where("timespan"), many.rule.title, severity, "delay", what, advice)
