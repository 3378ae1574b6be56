"""Zeek connection logs of any size, made up but shaped like real ones, always the same for a seed.

Distributions (share of states, services, ports, sizes, durations) follow what the connection logs
of small office networks show: a third DNS, a third TLS, many unanswered attempts, few long flows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl
import polars_hash as plh

START: Final = 1_700_000_000
FIELDS: Final = [
    "ts",
    "uid",
    "id.orig_h",
    "id.orig_p",
    "id.resp_h",
    "id.resp_p",
    "proto",
    "service",
    "duration",
    "orig_bytes",
    "resp_bytes",
    "conn_state",
    "local_orig",
    "local_resp",
    "missed_bytes",
    "history",
    "orig_pkts",
    "orig_ip_bytes",
    "resp_pkts",
    "resp_ip_bytes",
    "tunnel_parents",
]
TYPES: Final = [
    "time",
    "string",
    "addr",
    "port",
    "addr",
    "port",
    "enum",
    "string",
    "interval",
    "count",
    "count",
    "string",
    "bool",
    "bool",
    "count",
    "string",
    "count",
    "count",
    "count",
    "count",
    "set[string]",
]
HEADER: Final = (
    "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n"
    "#open\t2023-11-14-22-13-20\n"
    f"#fields\t{chr(9).join(FIELDS)}\n#types\t{chr(9).join(TYPES)}\n"
)

#: weight of 100, port, proto, service, conn_state, history
KINDS: Final = (
    (34, 53, "udp", "dns", "SF", "Dd"),
    (30, 443, "tcp", "ssl", "SF", "ShADadFf"),
    (9, 80, "tcp", "http", "SF", "ShADadfF"),
    (7, 445, "tcp", None, "S0", "S"),
    (5, 22, "tcp", "ssh", "RSTO", "ShADadR"),
    (5, 123, "udp", "ntp", "SF", "Dd"),
    (4, 8080, "tcp", None, "REJ", "Sr"),
    (3, 443, "tcp", "ssl", "RSTR", "ShADadr"),
    (2, 5353, "udp", "dns", "S0", "D"),
    (1, 8443, "tcp", None, "OTH", "Cc"),
)


def _mix(seed: int) -> pl.Expr:
    """64 pseudo-random bits of the row number `i`; the same with every version of Polars."""
    return plh.col("i").cast(pl.String).nchash.xxh3_64(seed=seed)


def records(rows: int, *, first: int = 0, per_second: int = 500, seed: int = 1) -> pl.DataFrame:
    """Rows `first` to `first + rows` of the log as strings, columns `FIELDS`, null where unset."""
    frame = pl.select(i=pl.int_range(first, first + rows, dtype=pl.Int64))

    def draw(salt: int, below: int) -> pl.Expr:
        return (_mix(seed + salt) % below).cast(pl.Int64)

    steps = [kind for kind, k in enumerate(KINDS) for _ in range(k[0])]
    frame = frame.with_columns(
        kind=draw(1, 100).replace_strict(list(range(100)), steps, return_dtype=pl.Int64),
        size=(draw(2, 1000) ** 2) // 40 + 40,
        micros=pl.col("i") * (1_000_000 // per_second) + draw(3, 1_000_000 // per_second),
        host=draw(4, 250),
        peer=draw(5, 60_000),
    )

    def kind(column: int) -> pl.Expr:
        values = [k[column] for k in KINDS]
        dtype = pl.Int64 if column == 1 else pl.String
        return pl.col("kind").replace_strict(list(range(len(KINDS))), values, return_dtype=dtype)

    one_sided = kind(4).is_in(["S0", "REJ"])
    # Questions and clock readings are small; what looks for SMB shares looks inside.
    small, inside = kind(2) == "udp", kind(1) == 445
    size = pl.when(small).then(pl.col("size") % 160 + 30).otherwise(pl.col("size"))
    answer = pl.when(small).then(size * 2).otherwise(size * 7)
    peer = pl.col("peer")
    seconds = START + pl.col("micros") // 1_000_000
    text = pl.String
    return frame.select(
        pl.format("{}.{}", seconds, (pl.col("micros") % 1_000_000).cast(text).str.zfill(6)).alias(
            "ts"
        ),
        pl.format("C{}", _mix(seed).cast(text)).alias("uid"),
        pl.format("192.168.{}.{}", pl.col("host") // 125, pl.col("host") % 125 + 2).alias(
            "id.orig_h"
        ),
        (draw(6, 28_000) + 32_768).cast(text).alias("id.orig_p"),
        pl.when(inside)
        .then(pl.format("192.168.3.{}", peer % 250 + 2))
        .otherwise(
            pl.format("{}.{}.{}.{}", peer % 90 + 23, peer // 251 % 251, peer % 251, peer % 97 + 1)
        )
        .alias("id.resp_h"),
        kind(1).cast(text).alias("id.resp_p"),
        kind(2).alias("proto"),
        kind(3).alias("service"),
        pl.when(~one_sided)
        .then(pl.format("{}.{}", draw(7, 60) // 20, (draw(8, 1_000_000)).cast(text).str.zfill(6)))
        .alias("duration"),
        pl.when(~one_sided).then(size).cast(text).alias("orig_bytes"),
        pl.when(~one_sided).then(answer).cast(text).alias("resp_bytes"),
        kind(4).alias("conn_state"),
        pl.lit("T").alias("local_orig"),
        pl.when(inside).then(pl.lit("T")).otherwise(pl.lit("F")).alias("local_resp"),
        pl.lit("0").alias("missed_bytes"),
        kind(5).alias("history"),
        (size // 700 + 1).cast(text).alias("orig_pkts"),
        (size + 40 * (size // 700 + 1)).cast(text).alias("orig_ip_bytes"),
        pl.when(one_sided).then(0).otherwise(size // 100 + 1).cast(text).alias("resp_pkts"),
        pl.when(one_sided)
        .then(0)
        .otherwise(answer + 40 * (size // 100 + 1))
        .cast(text)
        .alias("resp_ip_bytes"),
        pl.lit(None, text).alias("tunnel_parents"),
    )


def write_tsv(path: Path, rows: int, *, seed: int = 1) -> None:
    """Write a conn.log of `rows` records, a million at a time."""
    with path.open("wb") as file:
        file.write(HEADER.encode())
        for first in range(0, rows, 1_000_000):
            records(min(1_000_000, rows - first), first=first, seed=seed).write_csv(
                file, include_header=False, separator="\t", null_value="-", quote_style="never"
            )
        file.write(b"#close\t2023-11-15-22-13-20\n")


def write_json(path: Path, rows: int, *, seed: int = 1) -> None:
    """Write the same records as Zeek's JSON: numbers as numbers, unset keys absent."""
    numbers = {"ts": pl.Float64, "duration": pl.Float64}
    counts = [f for f, t in zip(FIELDS, TYPES, strict=True) if t in ("count", "port")]
    with path.open("wb") as file:
        for first in range(0, rows, 250_000):
            frame = records(min(250_000, rows - first), first=first, seed=seed).with_columns(
                *(pl.col(name).cast(dtype) for name, dtype in numbers.items()),
                *(pl.col(name).cast(pl.Int64) for name in counts),
                local_orig=pl.lit(value=True),
                local_resp=pl.col("local_resp") == "T",
            )
            text = frame.drop("tunnel_parents").write_ndjson()
            for key in ("service", "duration", "orig_bytes", "resp_bytes"):
                text = text.replace(f'"{key}":null,', "")
            file.write(text.encode())
