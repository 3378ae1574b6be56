"""What a format knows of the lines of each piece of a stream, such as the columns of its header.

Pieces are read side by side for a while: one that was rotated away may still grow when the next one
has begun. A piece without a header is read as the newest one before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from connwatch.contracts import Format

#: states from which on those of pieces that are gone are dropped
_MANY: Final = 16

Saved = Mapping[str, Any]


class PieceStates:
    """States of one stream's pieces; a piece is `stream#order`."""

    def __init__(self, form: Format[Any], dataset: str) -> None:
        self._form = form
        self._newest = 0, form.begin(dataset)
        self._own: dict[str, Any] = {}

    def of(self, piece: str) -> Any:
        """What the next lines of a piece are read with."""
        return self._own.get(piece, self._newest[1])

    def chained(self, pieces: Iterable[str]) -> int:
        """How many of these pieces, from the first one on, begin with what the one before them
        leaves: nothing was read of them, and each is newer than all before it."""
        newest, count = self._newest[0], 0
        for piece in pieces:
            if piece in self._own or _order(piece) <= newest:
                break
            newest, count = _order(piece), count + 1
        return count

    def set(self, piece: str, state: Any) -> None:
        """What comes after lines that were read."""
        self._own[piece] = state
        if _order(piece) >= self._newest[0]:
            self._newest = _order(piece), state

    def keep(self, pieces: Iterable[str]) -> None:
        """No others are read on."""
        if len(self._own) > _MANY:
            wanted = set(pieces)
            self._own = {piece: state for piece, state in self._own.items() if piece in wanted}

    def resume(self, saved: Saved) -> None:
        """Go on with what `saved` gave."""
        self._newest = saved.get("newest", 0), self._form.restored(saved["state"])
        own: Mapping[str, Saved | None] = saved.get("states", {})
        self._own = {
            piece: self._form.restored(saved["state"] if state is None else state)
            for piece, state in own.items()
        }

    def saved(self, again: Mapping[str, Any]) -> dict[str, Any]:
        """JSON values: the newest state, of which piece it is, and those of the pieces that may be
        read on (null: the newest one, which it is mostly). again: by piece, the state before lines
        that will be read again."""
        number, newest = self._newest
        said = next((state for one, state in again.items() if _order(one) == number), newest)
        told = self._form.saved(said)
        states: dict[str, Any] = {}
        for piece, state in {**self._own, **again}.items():
            one = told if state is said else self._form.saved(state)
            states[piece] = None if one == told else one
        return {"state": told, "newest": number, "states": states}


def _order(piece: str) -> int:
    return int(piece.rpartition("#")[2])
