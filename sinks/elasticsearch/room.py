"""Room for shards: what a cluster may have, and what new indices would take.

A cluster refuses an index that would be a shard too many (`cluster.max_shards_per_node`). An
archive of years has a thousand days, so this is looked at before indices are made.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from connwatch.errors import ServerError

from .client import Server, segment
from .layout import Layout
from .retention import JSON

_HEALTH: Final = (
    "/_cluster/health?expand_wildcards=open"
    "&filter_path=active_shards,initializing_shards,unassigned_shards,number_of_data_nodes"
)
_SETTINGS: Final = (
    "/_cluster/settings?include_defaults=true&filter_path=*.cluster.max_shards_per_node"
)
_KINDS: Final = ("active_shards", "initializing_shards", "unassigned_shards")
_MONTHS: Final = (
    "routing: month makes a thirtieth of them (fixed at first use, so under another prefix); or "
)
_ROOM: Final = "remove indices, add nodes, or raise cluster.max_shards_per_node"


@dataclass(frozen=True, slots=True)
class Room:
    """Shards of a cluster: how many it may have open, replicas among them, and how many it has."""

    most: int
    open: int

    @property
    def left(self) -> int:
        return max(0, self.most - self.open)


def room(server: Server) -> Room | None:
    """What is left; None: the server does not tell."""
    health = _told(server, "GET", _HEALTH)
    settings = _told(server, "GET", _SETTINGS)
    try:
        each = next(
            int(settings[kind]["cluster"]["max_shards_per_node"])
            for kind in ("transient", "persistent", "defaults")
            if "cluster" in settings.get(kind, {})
        )
        there = sum(int(health[kind]) for kind in _KINDS)
        return Room(each * int(health["number_of_data_nodes"]), there)
    except (KeyError, TypeError, ValueError, StopIteration):
        return None


def shards(server: Server, index: str, layout: Layout) -> int:
    """Of an index that is yet to be made, copies among them: as its template says, or else the
    layout."""
    path = f"/_index_template/_simulate_index/{segment(index)}"
    told = _told(server, "POST", f"{path}?filter_path=template.settings.index.number_of_*")
    try:
        found = told["template"]["settings"]["index"]
        return int(found["number_of_shards"]) * (1 + int(found["number_of_replicas"]))
    except (KeyError, TypeError, ValueError):
        return layout.shards * (1 + layout.replicas)


def lacking(server: Server, layout: Layout, new: Collection[str]) -> ServerError | None:
    """Why these new indices cannot all be made; None: they can, as far as the server tells."""
    found = room(server) if new else None
    if found is None:
        return None
    needed = len(new) * shards(server, min(new), layout)
    if needed <= found.left:
        return None
    return ServerError(
        f"there is no room for {len(new):,} new indices, from {min(new)} to {max(new)}: they take"
        f" {needed:,} shards, and it has {found.open:,} of the {found.most:,} that it may have",
        where=server.settings.nodes[0],
        hint=f"{_MONTHS if layout.routing == 'day' else ''}{_ROOM}",
    )


def _told(server: Server, method: str, path: str) -> Any:
    """The answer; empty when the server does not give it."""
    answer = server.perform(method, path, headers=JSON)
    return answer.body if answer.ok and isinstance(answer.body, dict) else {}
