"""Community ID v1 (seed 0): one identifier for both directions of a flow, the same in every tool.

    "1:" + base64(sha1(seed . ip . ip . protocol . 0 . port . port)), the smaller end first

Source: the Community ID specification, v1. ICMP's type stands where a port would, beside the type
of its answer; types without an answer have their code there and keep their direction.
"""

from __future__ import annotations

import binascii
import socket
from functools import cache
from typing import Final

import numpy as np
import polars as pl
import polars_hash as plh
from numpy.typing import NDArray

#: ICMP types that ask or answer -> the type on the other side
_ICMP: Final = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 10: 9, 9: 10, 17: 18, 18: 17}
_ICMP6: Final = {
    128: 129, 129: 128, 133: 134, 134: 133, 135: 136, 136: 135,
    130: 131, 131: 130, 144: 145, 145: 144, 139: 140, 140: 139,
}  # fmt: skip
_WITH_PORTS: Final = (6, 17, 132)
#: of a flow between IPv4 addresses with ports: its 16 bytes are two numbers
_V4: Final = ("s", "d", "p", "q", "protocol")
#: bytes of a SHA-1, and what base64 makes of them
_DIGEST, _TEXT = 20, 28


def community_ids(events: pl.DataFrame, numbers: pl.DataFrame) -> pl.Series:
    """The Community ID of each event of the schema; null where the protocol has no number.

    numbers: the events' addresses as `addresses.numbers` gives them.
    """
    frame = events.select_seq(
        "source.port",
        "destination.port",
        pl.col("network.iana_number").cast(pl.UInt16, strict=False).alias("protocol"),
        kind="zeek.connection.icmp.type",
        code="zeek.connection.icmp.code",
        _source="source.ip",
        _destination="destination.ip",
        s=numbers["source.ip"],
        d=numbers["destination.ip"],
    ).with_columns_seq(_ports())
    plain = frame.select_seq(pl.all_horizontal(pl.col(_V4).is_not_null())).to_series()
    if plain.all():
        return _ids(_plain_flows(frame))
    both = frame.with_row_index("_row")
    parts = [
        pl.DataFrame({"_row": part["_row"], "id": _ids(flows(part))})
        for part, flows in ((both.filter(plain), _plain_flows), (both.filter(~plain), _flows))
        if part.height
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


def _plain_flows(frame: pl.DataFrame) -> pl.Series:
    """The bytes to be hashed where `_V4` are set."""
    s, d, p, q = (pl.col(name).cast(pl.UInt64) for name in ("s", "d", "p", "q"))
    keeps = pl.col("keeps")
    first, second = pl.when(keeps).then(s).otherwise(d), pl.when(keeps).then(d).otherwise(s)
    port, other = pl.when(keeps).then(p).otherwise(q), pl.when(keeps).then(q).otherwise(p)
    protocol = pl.col("protocol").cast(pl.UInt64) % 256
    halves = frame.with_columns_seq(keeps=_keeps()).select_seq(
        first * 2**16 + second // 2**16,
        (second % 2**16) * 2**48 + protocol * 2**40 + port * 2**16 + other,
    )
    flows = np.empty((frame.height, 2), ">u8")
    for place, half in enumerate(halves):
        flows[:, place] = half.to_numpy()
    return _rows(flows.view(np.uint8))


def _rows(matrix: NDArray[np.uint8]) -> pl.Series:
    """Each row of a matrix as a binary value."""
    return pl.Series(matrix).cast(pl.List(pl.UInt8)).cast(pl.Binary)


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


def _flows(frame: pl.DataFrame) -> pl.Series:
    """The bytes to be hashed, of any flow; null where the protocol has no number."""
    packed = _packed(frame).with_columns_seq(keeps=_keeps())
    first, second = pl.when("keeps").then("s"), pl.when("keeps").then("d")
    p = pl.when("keeps").then("p").otherwise("q")
    q = pl.when("keeps").then("q").otherwise("p")
    # Protocols without ports end after the padding byte.
    tail = _bytes(p * 65536 + q).fill_null(b"")
    ends = first.otherwise("d") + second.otherwise("s")
    flow = pl.lit(b"\0\0") + ends + _bytes(pl.col("protocol") * 256) + tail
    return packed.select_seq(flow=flow).to_series()


def _ids(flows: pl.Series) -> pl.Series:
    """The Community IDs of flows; null for null."""
    digests = flows.to_frame("x").select_seq(plh.col("x").nchash.sha1()).to_series()
    # Of all at once: Polars decodes and encodes one text at a time, which takes twice as long.
    digits = digests.fill_null("0" * 2 * _DIGEST).str.join("").item()
    padded = np.zeros((len(flows), _DIGEST + 1), np.uint8)
    padded[:, :_DIGEST] = np.frombuffer(bytes.fromhex(digits), np.uint8).reshape(-1, _DIGEST)
    encoded = np.frombuffer(binascii.b2a_base64(padded.data, newline=False), np.uint8)
    texts = np.empty((len(flows), 2 + _TEXT), np.uint8)
    texts[:, :2] = np.frombuffer(b"1:", np.uint8)
    texts[:, 2:] = encoded.reshape(-1, _TEXT)
    texts[:, -1] = ord("=")  # where base64 has put the byte too many
    ids = _rows(texts).cast(pl.String)
    return ids.zip_with(digests.is_not_null(), _NO_ID) if digests.has_nulls() else ids


_NO_ID: Final = pl.Series([None], dtype=pl.String)
