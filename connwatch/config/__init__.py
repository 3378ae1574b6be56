"""The configuration file: what it may say (`model`), and how it is read and checked (`load`)."""

from __future__ import annotations

from .kinds import BUNDLED, STDIN
from .model import Config, Http, Limits, Log, Retention, SourceConfig

__all__ = [
    "BUNDLED",
    "STDIN",
    "Config",
    "Http",
    "Limits",
    "Log",
    "Retention",
    "SourceConfig",
]
