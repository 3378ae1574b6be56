"""The time in front of a packet, in every form that tcpdump has for it.

20:27:20.649137 IP …                 a clock without a date (the default)
2021-06-20 19:42:57.294010 IP …      -tttt
1624218177.294010 IP …               -tt
 00:00:00.127522 IP …                -ttt: since the packet before ("-": it goes back); or -ttttt:
                                     since the first one; their course tells these two apart
IP …                                 -t: none
    1  20:27:20.649137 IP …          -#: numbered

Fractions have six digits, or nine of which six are kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..clock import DAY

Numbers = NDArray[np.int64]

#: the forms by letter: Y M D of the date, h m s of the clock, f of the fraction, e of seconds since
#: 1970; anything else stands for itself
LETTERS: Final = {
    "clock": "hh:mm:ss.ffffff",
    "clock nano": "hh:mm:ss.fffffffff",
    "date": "YYYY-MM-DD hh:mm:ss.ffffff",
    "date nano": "YYYY-MM-DD hh:mm:ss.fffffffff",
    "epoch": "eeeeeeeeee.ffffff",
    "epoch nano": "eeeeeeeeee.fffffffff",
    "delta": " hh:mm:ss.ffffff",
    "delta nano": " hh:mm:ss.fffffffff",
    "back": "-hh:mm:ss.ffffff",
    "back nano": "-hh:mm:ss.fffffffff",
}
_PATTERNS: Final = {
    name: "^"
    + "".join("[0-9]" if one.isalpha() else r"\." if one == "." else one for one in form)
    + "(?: |$)"
    for name, form in LETTERS.items()
}
#: seconds with another number of digits than ten
_ODD: Final = r"^[0-9]{1,9}\.[0-9]{6}(?:[0-9]{3})?(?: |$)"
#: what -# and --lengths print before the time
_NUMBER: Final = r"(?: {0,6}[0-9]{1,10}  )?(?:caplen [0-9]{1,10} len [0-9]{1,10} )?"
NUMBER: Final = f"^{_NUMBER}"
#: a line that begins so begins a record
START: Final = (
    rf"^{_NUMBER}"
    r"(?:(?:[0-9]{4}-[0-9]{2}-[0-9]{2} |[ -])?[0-9]{2}:[0-9]{2}:[0-9]{2}|[0-9]{1,10})"
    r"\.[0-9]{6}(?:[0-9]{3})?(?: |$)"
)
_LOCAL: Final = ("clock", "date")
#: places of a date
_DATE: Final = len("YYYY-MM-DD")
#: a clock that goes back by more than this has passed midnight, one that goes forward by more than
#: the rest of a day has come back over it
_MIDNIGHT: Final = DAY // 2
_DISORDER: Final = 600_000_000
_BACK: Final = DAY - _DISORDER
#: of so many offsets one goes back at least, where each is from the packet before
_OFTEN: Final = 6
_LATEST: Final = 4_102_444_800_000_000


@dataclass(frozen=True, slots=True)
class Clock:
    """What is known of a file's time between two blocks.

    base: µs since the epoch of the day, or of the first packet, that times without a date are
    counted from. last: clock of the last packet, µs of the day; -1: none yet. days: midnights
    passed. reached: µs since base that offsets have reached. each: whether offsets are from the
    packet before; None: not seen yet. zone: of clocks and dates, IANA name; "": UTC.
    """

    base: int = 0
    last: int = -1
    days: int = 0
    reached: int = 0
    each: bool | None = None
    zone: str = ""


def timed(texts: pl.Series, clock: Clock, form: str | None = None) -> tuple[pl.DataFrame, Clock]:
    """Columns time (µs since the epoch; null: no time that can be), skip (characters before what
    follows it) and form ("" where the line shows no time) of lines that begin a record.

    form: that of every line, as `uniform` gives it; None: not known.
    """
    form = uniform(texts) if form is None else form
    if form is None:
        return _mixed(texts, clock)
    time, clock = clocked(_letters(texts, len(LETTERS[form])), form, clock)
    skip = pl.lit(len(LETTERS[form]) + 1, pl.Int64)
    return time.to_frame().with_columns(skip=skip, form=pl.lit(form)), clock


def clocked(letters: NDArray[np.uint8], form: str, clock: Clock) -> tuple[pl.Series, Clock]:
    """Times (`time` of `timed`) that are told in that form. letters: a row for each of its places,
    a column for each time."""
    values, clock = _resolved(_read(letters, form), form, clock)
    time = pl.Series("time", values, dtype=pl.Int64)
    if clock.zone and form.startswith(_LOCAL):
        frame = time.to_frame().with_columns(form=pl.lit(form))
        return _possible(_in_utc(frame, clock.zone))["time"], clock
    if not len(values) or (values.min() >= 0 and values.max() < _LATEST):
        return time, clock
    return _possible(time.to_frame())["time"], clock


def form_of(text: str) -> str | None:
    """The form in which a line tells its time, if it needs nothing but itself to be read."""
    for name, pattern in _PATTERNS.items():
        if re.match(pattern, text):
            return None if name.startswith(("delta", "back")) else name
    return None


def uniform(texts: pl.Series) -> str | None:
    """The form of every line, if it is one and needs nothing but itself to be read."""
    if texts.is_empty():
        return None
    form = form_of(texts[0])
    return form if form and texts.str.contains(_PATTERNS[form]).all() else None


def _mixed(texts: pl.Series, clock: Clock) -> tuple[pl.DataFrame, Clock]:
    """The same where forms differ."""
    column = pl.col("t")
    frame = texts.alias("t").to_frame().with_columns(column.str.replace(NUMBER, ""))
    form: pl.Expr = pl.when(column.str.contains(_ODD)).then(pl.lit("odd")).otherwise(pl.lit(""))
    for name, pattern in _PATTERNS.items():
        form = pl.when(column.str.contains(pattern)).then(pl.lit(name)).otherwise(form)
    frame = frame.with_columns(form.alias("form"), pl.lit(None, pl.Int64).alias("time"))
    width = pl.col("form").replace_strict(
        {name: len(text) + 1 for name, text in LETTERS.items()}, default=0, return_dtype=pl.Int64
    )
    odd = column.str.find(" ", literal=True).cast(pl.Int64) + 1
    whole = texts.str.len_chars().cast(pl.Int64)
    number = pl.lit(whole) - column.str.len_chars().cast(pl.Int64)
    frame = frame.with_columns(
        skip=number + pl.when(pl.col("form") == "odd").then(odd.fill_null(20)).otherwise(width)
    )
    values = np.full(frame.height, -1, np.int64)
    kinds = frame["form"].to_numpy()
    for name in frame["form"].unique().to_list():
        if not name:
            continue
        rows = np.flatnonzero(kinds == name)
        part = frame["t"].gather(rows)
        values[rows] = (
            _odd(part) if name == "odd" else _read(_letters(part, len(LETTERS[name])), name)
        )
    times = values.copy()
    for kind in ("clock", "delta"):
        rows = np.flatnonzero(
            np.isin(kinds, [kind, f"{kind} nano", *(["back", "back nano"] * (kind == "delta"))])
        )
        if len(rows):
            times[rows], clock = _resolved(values[rows], kind, clock)
    bare = np.flatnonzero(kinds == "")
    times[bare] = clock.base
    frame = frame.with_columns(pl.Series("time", times))
    frame = frame.select("time", "skip", "form")
    return _possible(_in_utc(frame, clock.zone) if clock.zone else frame), clock


def _in_utc(frame: pl.DataFrame, zone: str) -> pl.DataFrame:
    """With the times of clocks and dates, which are a zone's, in UTC. Of an hour that comes twice
    the first one; in one that is left out, clocks go on as before it."""
    shown = pl.col("time").cast(pl.Datetime("us"))
    hour = pl.duration(hours=1)

    def moment(local: pl.Expr) -> pl.Expr:
        return local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.epoch(
            "us"
        )

    told = pl.coalesce(moment(shown), moment(shown - hour) + DAY // 24)
    local = pl.col("form").str.contains(r"^(?:clock|date)") & (pl.col("time") >= 0)
    return frame.with_columns(pl.when(local).then(told).otherwise("time").alias("time"))


def _possible(frame: pl.DataFrame) -> pl.DataFrame:
    time = pl.col("time")
    return frame.with_columns(pl.when((time >= 0) & (time < _LATEST)).then(time))


def _letters(texts: pl.Series, width: int) -> NDArray[np.uint8]:
    """The first bytes of each text, a column each; all texts are ASCII there and long enough."""
    heads = texts.str.head(width).str.join("")[0]
    return np.ascontiguousarray(np.frombuffer(heads.encode(), np.uint8).reshape(-1, width).T)


def _read(letters: NDArray[np.uint8], form: str) -> Numbers:
    """µs: since the epoch, of the day, or of the offset (negative: goes back); -1: none can be."""
    shape = LETTERS[form]
    letters = letters - np.uint8(48)

    def field(letter: str, most: int, letters: NDArray[np.uint8] = letters) -> Numbers:
        places = [at for at, one in enumerate(shape) if one == letter][:most]
        value = np.zeros(letters.shape[1], np.int64)
        for tens, ones in zip(places[::2], places[1::2], strict=True):
            value *= 100
            value += letters[tens] * np.uint8(10) + letters[ones]
        return value

    part = field("f", 6)
    if form.startswith("epoch"):
        return field("e", 10) * 1_000_000 + part
    hour, minute, second = field("h", 2), field("m", 2), field("s", 2)
    value = ((hour * 60 + minute) * 60 + second) * 1_000_000 + part
    wrong = (minute > 59) | (second > 60)
    if form.startswith("back"):
        return np.asarray(np.where(wrong, 0, -value))
    if form.startswith("delta"):
        return np.asarray(np.where(wrong, 0, value))
    wrong |= hour > 23
    if form.startswith("date"):
        dates = letters[:_DATE]
        if (dates == dates[:, :1]).all():
            dates = dates[:, :1]  # mostly it is one day
        days, real = _days(field("Y", 4, dates), field("M", 2, dates), field("D", 2, dates))
        value, wrong = value + days * DAY, wrong | ~real
    return np.asarray(np.where(wrong, -1, value))


def _days(year: Numbers, month: Numbers, day: Numbers) -> tuple[Numbers, NDArray[np.bool_]]:
    """Days since 1970, and whether there is such a day."""
    real = (year > 0) & (month >= 1) & (month <= 12) & (day >= 1)
    months = np.where(real, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    begin = months.astype("datetime64[D]").astype(np.int64)
    after = (months + 1).astype("datetime64[D]").astype(np.int64)
    days = begin + day - 1
    return days, real & (days < after)


def _odd(texts: pl.Series) -> Numbers:
    """Seconds since 1970 with any number of digits."""
    parts = texts.str.head(20).str.split_exact(".", 1).struct.unnest()
    whole = parts.to_series(0).cast(pl.Int64)
    part = parts.to_series(1).str.head(6).cast(pl.Int64)
    return (whole * 1_000_000 + part).to_numpy()


def _resolved(values: Numbers, form: str, clock: Clock) -> tuple[Numbers, Clock]:
    """Times since the epoch of values in file order; a value below 0 of a clock is no time."""
    if form.startswith("clock"):
        return _dated(values, clock)
    if form.startswith("delta"):
        return _counted(values, clock)
    return values, clock


def _dated(values: Numbers, clock: Clock) -> tuple[Numbers, Clock]:
    """A clock without a date: the days go on where it jumps back by half a day or more."""
    known = values[values >= 0]
    if not len(known):
        return values, clock
    first = known[0] if clock.last < 0 else clock.last
    steps = np.diff(known, prepend=first)
    days = clock.days + np.cumsum((steps < -_MIDNIGHT).astype(np.int64) - (steps > _BACK))
    made = values.copy()
    made[values >= 0] = clock.base + days * DAY + known
    return made, replace(clock, last=int(known[-1]), days=int(days[-1]))


def _counted(values: Numbers, clock: Clock) -> tuple[Numbers, Clock]:
    """Offsets from the first packet, or from the one before."""
    if clock.each:
        reached = np.cumsum(values) + clock.reached
        return clock.base + reached, replace(clock, reached=int(reached[-1]))
    first = values[0] if clock.last < 0 else clock.last
    steps = np.diff(values, prepend=first)
    days = clock.days + np.cumsum((steps < -_DISORDER).astype(np.int64) - (steps > _BACK))
    last = max(int(values[-1]), 0)
    return clock.base + days * DAY + values, replace(clock, last=last, days=int(days[-1]))


def each_from_the_one_before(texts: pl.Series) -> bool:
    """Whether offsets go back now and then, as those from the packet before do; those from the
    first one do so where packets are out of order, and once a day, when their hours begin again."""
    if texts.is_empty():
        return False
    frame, _ = timed(texts, Clock(base=DAY, each=False))
    offsets = frame.filter(pl.col("form").str.contains("^(?:delta|back)"))["time"]
    return int((offsets.diff() < 0).sum()) * _OFTEN > offsets.len()
