"""The embedded store: Parquet files by event day and one SQLite catalogue, no server."""

from __future__ import annotations

from .lock import writer_of
from .reader import StoreReader
from .resume import Resumed
from .retention import Day, Policy, Retained, retain
from .store import EmbeddedStore, Run
from .unnamed import Asked, Shots, Unnamed

__all__ = [
    "Asked",
    "Day",
    "EmbeddedStore",
    "Policy",
    "Resumed",
    "Retained",
    "Run",
    "Shots",
    "StoreReader",
    "Unnamed",
    "retain",
    "writer_of",
]
