"""The configuration of a live run.

kinds      what a single value may be, how it is read and written
setting    what a field of the model is told with
elasticsearch, model      every key with default, unit and meaning
document   a file as YAML nodes that know where they stand
load       from nodes to `Config`, all faults told together
show       `Config` as YAML again, and a first file with every default
page       the tables of docs/configuration.md
"""

from __future__ import annotations

from .elasticsearch import Elasticsearch
from .kinds import BUNDLED, NO_STORE, STDIN
from .load import load, parse
from .model import Config, Http, Limits, Log, Retention, SourceConfig
from .page import markdown
from .show import first_file, plain, to_yaml

__all__ = [
    "BUNDLED",
    "NO_STORE",
    "STDIN",
    "Config",
    "Elasticsearch",
    "Http",
    "Limits",
    "Log",
    "Retention",
    "SourceConfig",
    "first_file",
    "load",
    "markdown",
    "parse",
    "plain",
    "to_yaml",
]
