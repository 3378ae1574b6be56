"""The embedded store: Parquet files by event day and one SQLite catalogue, no server."""

from __future__ import annotations

from .lock import writer_of
from .reader import StoreReader
from .resume import Resumed
from .retention import Day, Policy, Retained, retain
from .store import EmbeddedStore, Run

__all__ = [
    "Day",
    "EmbeddedStore",
    "Policy",
    "Resumed",
    "Retained",
    "Run",
    "StoreReader",
    "retain",
    "writer_of",
]
