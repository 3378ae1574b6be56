"""Flows of any source, and the connections that they are witnesses of."""

from __future__ import annotations

from typing import Final

import polars as pl

from connwatch.schema import UTC

_S: Final = pl.String()
_I: Final = pl.Int64()

#: One flow. end: of its last packet. state, history: Zeek's, null where the source has none.
#: witness: the log that tells of it; flows of one log that follow one another are different ones.
FLOWS: Final[dict[str, pl.DataType]] = {
    "id": _S, "start": UTC, "end": UTC, "transport": _S,
    "source_ip": _S, "source_port": _I, "destination_ip": _S, "destination_port": _I,
    "state": _S, "history": _S, "witness": _S,
}  # fmt: skip
#: both sides, or one for good, have closed it
_CLOSED: Final = ("SF", "RSTO", "RSTR", "REJ", "RSTOS0", "RSTRH")
#: the log saw its first packet
_BEGUN: Final = ("S0", "S1", "SF", "REJ", "S2", "S3", "RSTO", "RSTR", "RSTOS0", "SH")


def with_ports(flows: pl.DataFrame) -> pl.DataFrame:
    """The flows that a socket can be behind."""
    names = ("transport", "source_ip", "source_port", "destination_ip", "destination_port")
    return flows.filter(
        pl.all_horizontal(pl.col(name).is_not_null() for name in (*names, "start", "end", "id")),
        ~pl.col("transport").is_in(["icmp", "ipv6-icmp"]),
    )


def connected(flows: pl.DataFrame, tolerance: int) -> pl.DataFrame:
    """Flows with ports, each with its connection: pair (both ends in one order), forward (its
    source is the first of them), connection (number), s and e (µs, of all its witnesses), begun
    (TCP whose first packet was seen), closed (TCP that has ended), refused, a_asked and b_asked
    (the first, and the second of the pair is the destination for a witness), leads (first of the
    rows of its connection) and again (there are other flows between these ends).

    Flows between the same ends are witnesses of one connection when their times overlap, those of
    different logs also when less than the tolerance (µs) is between them.
    """
    marked = _marked(with_ports(flows)).sort("pair", "s", "e", "witness", "id", nulls_last=True)
    marked = marked.with_row_index("place").with_columns(again=pl.col("pair").is_duplicated())
    once = marked.filter(~pl.col("again")).with_columns(leads=pl.lit(value=True))
    # Looking at neighbours costs much more, and few flows have any.
    several = _united(marked.filter("again"), tolerance)
    both = pl.concat([once, several.select(once.columns)]).sort("place")
    return both.with_columns(connection=pl.col("leads").cum_sum().cast(_I)).drop("place")


def _marked(flows: pl.DataFrame) -> pl.DataFrame:
    """Flows with all that each of them tells by itself."""
    ends = [
        pl.concat_str(f"{side}_ip", pl.col(f"{side}_port").cast(_S), separator=" ")
        for side in ("source", "destination")
    ]
    tcp = pl.col("transport") == "tcp"
    return flows.with_columns(
        forward=ends[0] <= ends[1],
        pair=pl.concat_str(
            pl.col("transport"), pl.min_horizontal(ends), pl.max_horizontal(ends), separator=" "
        ),
        s=pl.col("start").dt.epoch("us"),
        e=pl.max_horizontal(pl.col("start"), pl.col("end")).dt.epoch("us"),
        begun=tcp
        & pl.coalesce(pl.col("history").str.starts_with("S"), pl.col("state").is_in(_BEGUN), False),
        closed=tcp & pl.col("state").is_in(_CLOSED).fill_null(value=False),
        refused=tcp & (pl.col("state") == "REJ").fill_null(value=False),
    ).with_columns(a_asked=~pl.col("forward"), b_asked=pl.col("forward"))


def _united(marked: pl.DataFrame, tolerance: int) -> pl.DataFrame:
    """Flows, sorted by pair and begin, with what all witnesses of their connection tell."""
    before = pl.col("e").cum_max().shift().over("pair")
    other = pl.col("witness").ne_missing(pl.col("witness").shift())
    gap = pl.when(other).then(tolerance).otherwise(0)
    fresh = before.is_null() | (pl.col("s") > before + gap)
    united = marked.with_columns(leads=fresh).with_columns(one=pl.col("leads").cum_sum())
    flags = ("begun", "closed", "refused", "a_asked", "b_asked")
    return united.with_columns(
        pl.col("s").min().over("one"),
        pl.col("e").max().over("one"),
        *(pl.col(name).any().over("one") for name in flags),
    )


def ends_of(marked: pl.DataFrame) -> pl.DataFrame:
    """Both ends of each connection: connection, first (which one of the pair), transport,
    local_ip, local_port, peer_ip, peer_port, s, e, begun, closed, refused, asked (a witness has it
    as destination), and of the connections of the same ends before and after: before (end, µs) and
    after (start)."""
    each = marked.filter("leads").with_columns(
        pl.when("forward").then(f"{one}_{what}").otherwise(f"{two}_{what}").alias(name)
        for one, two, side in (("source", "destination", "a"), ("destination", "source", "b"))
        for what, name in (("ip", f"{side}_ip"), ("port", f"{side}_port"))
    )
    never = pl.lit(None, _I)
    each = pl.concat(
        [
            each.filter(~pl.col("again")).with_columns(before=never, after=never),
            each.filter("again").with_columns(
                before=pl.col("e").cum_max().shift().over("pair"),
                after=pl.col("s").shift(-1).over("pair"),
            ),
        ]
    ).sort("connection")
    shared = ("connection", "transport", "s", "e", "begun", "closed", "refused", "before", "after")
    return pl.concat(
        each.select(
            *shared,
            first=pl.lit(first),
            local_ip=f"{local}_ip",
            local_port=f"{local}_port",
            peer_ip=f"{peer}_ip",
            peer_port=f"{peer}_port",
            asked=f"{local}_asked",
        )
        for first, local, peer in ((True, "a", "b"), (False, "b", "a"))
    )
