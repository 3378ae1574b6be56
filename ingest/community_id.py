"""Community ID v1 (seed 0): one identifier for both directions of a flow, the same in every tool.

    "1:" + base64(sha1(seed . ip . ip . protocol . 0 . port . port)), the smaller end first

Source: the Community ID specification, v1. ICMP's type stands where a port would, beside the type
of its answer; types without an answer have their code there and keep their direction.
"""

from __future__ import annotations

import socket
from functools import cache
from typing import Final

import numpy as np
import polars as pl
import polars_hash as plh

#: ICMP types that ask or answer -> the type on the other side
_ICMP: Final = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 10: 9, 9: 10, 17: 18, 18: 17}
_ICMP6: Final = {
    128: 129, 129: 128, 133: 134, 134: 133, 135: 136, 136: 135,
    130: 131, 131: 130, 144: 145, 145: 144, 139: 140, 140: 139,
}  # fmt: skip
_WITH_PORTS: Final = (6, 17, 132)
#: rows from which on it is worth while to share the work
_MANY: Final = 5_000


def community_ids(events: pl.DataFrame, numbers: pl.DataFrame) -> pl.Series:
    """The Community ID of each event of the schema; null where the protocol has no number.

    numbers: the events' addresses as `addresses.numbers` gives them.
    """
    frame = events.select(
        "source.port",
        "destination.port",
        pl.col("network.iana_number").cast(pl.UInt16, strict=False).alias("protocol"),
        kind="zeek.connection.icmp.type",
        code="zeek.connection.icmp.code",
        _source="source.ip",
        _destination="destination.ip",
        s=numbers["source.ip"],
        d=numbers["destination.ip"],
    ).with_columns(_ports())
    v4 = frame["s"].is_not_null() & frame["d"].is_not_null()
    if v4.all():
        return _finish(frame, _ends_v4())
    both = frame.with_row_index("_row")
    parts = [
        pl.DataFrame({"_row": part["_row"], "id": _finish(part, ends)})
        for part, ends in (
            (both.filter(v4), _ends_v4()),
            (_packed(both.filter(~v4)), _first() + _second()),
        )
    ]
    return pl.concat(parts).sort("_row")["id"]


@cache
def _ports() -> list[pl.Expr]:
    """What stands where ports do (p of the source, q of the destination), and `fixed` direction."""
    protocol, kind, code = pl.col("protocol"), pl.col("kind"), pl.col("code")
    answer = (
        pl.when(protocol == 1)
        .then(kind.replace_strict(_ICMP, default=None, return_dtype=pl.Int64))
        .when(protocol == 58)
        .then(kind.replace_strict(_ICMP6, default=None, return_dtype=pl.Int64))
    )
    icmp = protocol.is_in([1, 58])
    ported = protocol.is_in(_WITH_PORTS)
    first = pl.when(icmp).then(kind).when(ported).then("source.port")
    second = pl.when(icmp).then(pl.coalesce(answer, code)).when(ported).then("destination.port")
    return [
        first.cast(pl.UInt32).alias("p"),
        second.cast(pl.UInt32).alias("q"),
        (icmp & answer.is_null()).fill_null(value=False).alias("fixed"),
    ]


def _keeps() -> pl.Expr:
    """Whether the source's end comes first."""
    s, d, p, q = pl.col("s"), pl.col("d"), pl.col("p").fill_null(0), pl.col("q").fill_null(0)
    return pl.col("fixed") | (s < d) | ((s == d) & (p <= q))


def _first() -> pl.Expr:
    return pl.when("keeps").then("s").otherwise("d")


def _second() -> pl.Expr:
    return pl.when("keeps").then("d").otherwise("s")


def _ends_v4() -> pl.Expr:
    return _bytes(_first().cast(pl.UInt64) * 2**32 + _second())


def _bytes(number: pl.Expr) -> pl.Expr:
    """An unsigned number's bytes in network order, as many as its type has."""
    return plh.BytesNameSpace(number).to_be()


def _packed(frame: pl.DataFrame) -> pl.DataFrame:
    """Addresses as bytes, as long as they are; one different address at a time."""
    texts = pl.concat([frame["_source"], frame["_destination"]]).unique().drop_nulls()
    packed = pl.Series(
        [
            socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
            for text in texts
        ],
        dtype=pl.Binary,
    )
    return frame.with_columns(
        pl.col(name).replace_strict(texts, packed, default=None).alias(target)
        for name, target in (("_source", "s"), ("_destination", "d"))
    )


def _finish(frame: pl.DataFrame, ends: pl.Expr) -> pl.Series:
    p = pl.when("keeps").then("p").otherwise("q")
    q = pl.when("keeps").then("q").otherwise("p")
    # Protocols without ports end after the padding byte.
    tail = _bytes(p * 65536 + q).fill_null(b"")
    flow = pl.lit(b"\0\0") + ends + _bytes(pl.col("protocol") * 256) + tail
    # The streaming engine works on both halves of a column at once; the expression is one chain.
    # Of few rows, it takes longer to start than to compute.
    digests = (
        frame.lazy()
        .with_columns(keeps=_keeps())
        .select(x=flow)
        .select(x=plh.col("x").nchash.sha1())
        .collect(engine="streaming" if frame.height >= _MANY else "in-memory")
    )
    return digests.select(
        id=pl.when(pl.col("x").is_not_null()).then(
            pl.concat_str(pl.lit("1:"), pl.lit(_unhexed(digests["x"])).bin.encode("base64"))
        )
    ).to_series()


def _unhexed(digests: pl.Series) -> pl.Series:
    """SHA-1 in hex digits as bytes, null as zeros. Polars decodes one text at a time, which takes
    three times as long."""
    digits = digests.fill_null("0" * 40).str.join("").item()
    whole = np.frombuffer(bytes.fromhex(digits), np.uint8).reshape(-1, 20)
    return pl.Series(whole).cast(pl.List(pl.UInt8)).cast(pl.Binary)
