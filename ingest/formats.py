"""The formats that can be read: a new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from connwatch.contracts import Format
from connwatch.errors import UsageError

from .clock import Clock
from .headless import Headless
from .sockets.tables import Netstat, ProcNet, Ss
from .tcpdump.formats import TcpdumpFlows, TcpdumpPackets
from .zeek_json import ZeekJson
from .zeek_tsv import ZeekTsv

#: asked in this order; the first one that knows a file reads it
FORMATS: dict[str, Callable[..., Format[Any]]] = {
    "zeek-tsv": ZeekTsv,
    "zeek-json": ZeekJson,
    "ss": Ss,
    "netstat": Netstat,
    "proc-net": ProcNet,
    "tcpdump": TcpdumpFlows,
    "tcpdump-packets": TcpdumpPackets,
}
#: that are only tried where they are named: another one reads the same files
NAMED: Final = frozenset({"tcpdump-packets"})


def formats(
    sensor: str = "",
    only: str | None = None,
    *,
    clock: Clock | None = None,
) -> tuple[Format[Any], ...]:
    """The formats to try, made with the user's sensor label; `only` names the one to use.
    clock: what the user says of times."""
    if only is not None and only not in FORMATS:
        raise UsageError(
            f"unknown format {only!r}", where="--format", hint=f"known are {', '.join(FORMATS)}"
        )
    names = [only] if only else [name for name in FORMATS if name not in NAMED]
    return tuple(_made(FORMATS[name], sensor, clock or Clock()) for name in names)


def _made(form: Callable[..., Format[Any]], sensor: str, clock: Clock) -> Format[Any]:
    """A headless format may tell times without a date or a zone, and wants to know the user's."""
    headless = isinstance(form, type) and issubclass(form, Headless)
    return form(sensor, clock) if headless else form(sensor)
