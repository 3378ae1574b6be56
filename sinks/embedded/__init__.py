"""The embedded store: Parquet files by event day and one SQLite catalogue, no server."""

from __future__ import annotations

from .reader import StoreReader
from .store import EmbeddedStore, Run

__all__ = ["EmbeddedStore", "Run", "StoreReader"]
