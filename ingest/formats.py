"""The formats that can be read: a new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connwatch.contracts import Format
from connwatch.errors import UsageError

from .zeek_json import ZeekJson
from .zeek_tsv import ZeekTsv

#: asked in this order; the first one that knows a file reads it
FORMATS: dict[str, Callable[[str], Format[Any]]] = {
    "zeek-tsv": ZeekTsv,
    "zeek-json": ZeekJson,
}


def formats(sensor: str = "", only: str | None = None) -> tuple[Format[Any], ...]:
    """The formats to try, made with the user's sensor label; `only` names the one to use."""
    if only is not None and only not in FORMATS:
        raise UsageError(
            f"unknown format {only!r}", where="--format", hint=f"known are {', '.join(FORMATS)}"
        )
    chosen = [FORMATS[only]] if only else list(FORMATS.values())
    return tuple(kind(sensor) for kind in chosen)
