"""What is remembered of flows from batch to batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ..windows.arrays import Hashes, Positions
from ..windows.spec import Flags

#: flows that are remembered; of more, those go of which nothing came for longest, and are counted
CAP: Final = 250_000
#: µs of log time without news after which a flow is forgotten
HOLD: Final = 24 * 3_600_000_000
#: one flow in so many has to be too old before the others are moved
_SHARE: Final = 8
#: columns with one number of each flow
_PLAIN: Final = ("key", "start", "end", "slack", "seen", "told")


@dataclass(frozen=True, slots=True)
class Flows:
    """What is remembered of flows, by Community ID and then in the order in which they began.

    key: hash of the Community ID. start, end: µs, by all witnesses. slack: µs by which that may be
    too short: of what socket tables alone tell. seen: log time of the latest.
    told: by bit, which witnesses told of it. counted: by bit, in which place (`places`) it was
    counted, one row a flow. numbers: by place that adds up, what was counted of it: -1 nothing, the
    largest number where that was final. witnesses: their names. forgotten: how many flows were let
    go of though they might have been told again.
    """

    key: Hashes = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    start: Positions = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    end: Positions = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    slack: Positions = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    seen: Positions = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    told: Hashes = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    counted: npt.NDArray[np.uint64] = field(
        default_factory=lambda: np.empty((0, 0), dtype=np.uint64)
    )
    numbers: Mapping[str, Positions] = field(default_factory=dict)
    places: tuple[str, ...] = ()
    witnesses: tuple[str, ...] = ()
    forgotten: int = 0

    def __len__(self) -> int:
        return len(self.key)

    def saved(self) -> tuple[pl.DataFrame, dict[str, Any]]:
        """All of it as a frame, and JSON values that belong to that."""
        columns: dict[str, npt.NDArray[Any]] = {name: getattr(self, name) for name in _PLAIN}
        columns |= {f"counted{n}": word for n, word in enumerate(self.counted.T)}
        columns |= {f"number{n}": one for n, one in enumerate(self.numbers.values())}
        about = {
            "numbers": list(self.numbers),
            "places": list(self.places),
            "witnesses": list(self.witnesses),
            "forgotten": self.forgotten,
        }
        return pl.DataFrame(columns), about

    @classmethod
    def restored(cls, frame: pl.DataFrame, about: Mapping[str, Any]) -> Flows:
        """The same again."""
        words = sum(name.startswith("counted") for name in frame.columns)
        counted = np.empty((frame.height, words), dtype=np.uint64)
        for number in range(words):
            counted[:, number] = frame[f"counted{number}"].to_numpy()
        numbers = {
            place: frame[f"number{number}"].to_numpy().copy()
            for number, place in enumerate(about["numbers"])
        }
        return cls(
            counted=counted,
            numbers=numbers,
            places=tuple(about["places"]),
            witnesses=tuple(about["witnesses"]),
            forgotten=about["forgotten"],
            **{name: frame[name].to_numpy().copy() for name in _PLAIN},
        )


def kept(seen: Positions, now: int, cap: int) -> tuple[Flags | None, int]:
    """Which flows a later record may belong to (None: all), and how many others the cap took away.

    seen: log time of each. now: log time, µs.
    """
    old = seen < now - HOLD
    aged = int(np.count_nonzero(old))
    if len(seen) - aged <= cap:
        return (None if aged * _SHARE <= len(seen) else ~old), 0
    least = np.partition(seen, len(seen) - cap)[len(seen) - cap]
    found: Flags = seen > least
    ties = np.flatnonzero(seen == least)
    found[ties[len(ties) - cap + np.count_nonzero(found) :]] = True
    return found, len(seen) - aged - cap
