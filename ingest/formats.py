"""The formats that can be read: a new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from connwatch.contracts import Format
from connwatch.errors import UsageError

from .sockets.tables import Netstat, ProcNet, Ss
from .tcpdump.formats import TcpdumpFlows, TcpdumpPackets
from .zeek_json import ZeekJson
from .zeek_tsv import ZeekTsv

#: asked in this order; the first one that knows a file reads it
FORMATS: dict[str, Callable[[str], Format[Any]]] = {
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
#: that cannot be followed yet: they tell the state of many sockets at once, not one record a line
REPLAYED: Final = frozenset({"ss", "netstat", "proc-net", "tcpdump", "tcpdump-packets"})


def formats(
    sensor: str = "", only: str | None = None, *, followed: bool = False
) -> tuple[Format[Any], ...]:
    """The formats to try, made with the user's sensor label; `only` names the one to use.
    followed: of logs that are read as they are written."""
    if only is not None and only not in FORMATS:
        raise UsageError(
            f"unknown format {only!r}", where="--format", hint=f"known are {', '.join(FORMATS)}"
        )
    if followed and only in REPLAYED:
        raise UsageError(
            f"format {only!r} cannot be followed",
            where="format",
            hint="use connwatch replay for it",
        )
    left_out = NAMED | (REPLAYED if followed else frozenset())
    names = [only] if only else [one for one in FORMATS if one not in left_out]
    return tuple(FORMATS[name](sensor) for name in names)
