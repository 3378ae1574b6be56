"""The formats that can be read: a new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from connwatch.contracts import Format
from connwatch.errors import UsageError

from .clock import Clock
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
#: whose times may lack a date or a zone: they are made with a `Clock` too
TIMED: Final = frozenset({"ss", "netstat", "proc-net", "tcpdump", "tcpdump-packets"})
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
    timed = clock or Clock()
    return tuple(FORMATS[n](sensor, timed) if n in TIMED else FORMATS[n](sensor) for n in names)
