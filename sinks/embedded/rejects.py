"""Lines that could not be read, each once; of too many, their number."""

from __future__ import annotations

import sqlite3
from typing import Final

import polars as pl
import polars_hash as plh

from connwatch.contracts import REJECT_SCHEMA

#: rejects that are kept; more are counted, not stored
CAP: Final = 1_000_000


def keep(database: sqlite3.Connection, rejects: pl.DataFrame, most: int) -> None:
    """In a transaction: keep rejects (`REJECT_SCHEMA`), until there are so many."""
    if rejects.is_empty():
        return
    ids = rejects.select(
        plh.concat_str(
            pl.col("format"), pl.col("reason"), pl.col("raw"), separator="\x00"
        ).nchash.xxh3_128(return_binary=True, byte_order="big")
    ).to_series()
    found = rejects.with_columns(ids.alias("id"))
    room = most - int(database.execute("SELECT count(*) FROM rejects").fetchone()[0])
    if found.height > room:
        found = _within_cap(database, found, max(room, 0))
    database.executemany(
        "INSERT OR IGNORE INTO rejects VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        found.select("id", *REJECT_SCHEMA).iter_rows(),
    )


def _within_cap(database: sqlite3.Connection, found: pl.DataFrame, room: int) -> pl.DataFrame:
    """What there is room for of the rejects that are not there yet; the others are counted."""
    there = [
        identity
        for identity in found["id"]  # near the cap only, and of one commit
        if database.execute("SELECT 1 FROM rejects WHERE id = ?", (identity,)).fetchone()
    ]
    missing = found.unique("id", keep="first", maintain_order=True).filter(
        ~pl.col("id").is_in(there)
    )
    over = missing.height - room
    if over > 0:
        database.execute(
            "INSERT INTO meta VALUES ('rejects_over_cap', ?1)"
            " ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + ?1",
            (over,),
        )
    return missing.head(room)
