"""Which process stands behind a flow: sockets of tables joined with flows of any source.

rows of socket tables -> observations, one per socket and snapshot   sockets.py
flows of any source   -> connections, each seen by some witnesses    flows.py
both                  -> a verdict per end of a connection           join.py, verdict.py
                         and how far clocks are apart                clock.py
a store, or a server  -> the two frames that a question needs        places.py, stored.py
alerts of a store     -> with the processes behind them              naming.py, alerts.py
"""

from __future__ import annotations

from .clock import Offset, measured
from .flows import FLOWS
from .join import ATTRIBUTION, Settings, attribute, best
from .sockets import SOCKETS

__all__ = [
    "ATTRIBUTION",
    "FLOWS",
    "SOCKETS",
    "Offset",
    "Settings",
    "attribute",
    "best",
    "measured",
]
