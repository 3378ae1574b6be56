"""Standard input, named pipes and commands: read as they come, without a position to go back to."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Final

from ..describe import describe
from ..opening import STDIN
from .commands import CommandOutput
from .content import Pipe
from .known import Known
from .look import HEAD, first_line, looked, sniffed
from .piece import Piece
from .wanted import Problem, Wanted

#: whole lines after which a pipe that no format knows is given up
_LINES: Final = 100


class Pipes:
    """The pipes among what is wanted; each becomes a stream when its format is known.

    skipped: path -> reason, of pipes that carry no log that can be read. failed: path -> problem.
    """

    def __init__(self, known: Known, wanted: Sequence[Wanted]) -> None:
        self.skipped: dict[str, str] = {}
        self.failed: dict[str, Problem] = {}
        self._known = known
        self._wanted = wanted
        self._waiting: dict[str, Pipe] = {}
        self._begun: dict[str, Piece] = {}
        self._running: dict[str, CommandOutput] = {}

    @property
    def stdin_ended(self) -> bool:
        """Whether standard input is at its end."""
        pipe = self._waiting.get(STDIN) or (
            self._begun[STDIN].content if STDIN in self._begun else None
        )
        return pipe is None or pipe.ended

    def look(self) -> None:
        """Open what is there, and see what comes out of it."""
        self.failed = {}
        for source, wanted in enumerate(self._wanted):
            path = wanted.path
            if (run := self._running.get(path)) is not None and run.problem is not None:
                self.failed[path] = Problem(path, run.problem)
            if path in self._begun or path in self.skipped:
                continue
            if path not in self._waiting and wanted.command is not None:
                self._waiting[path] = self._running[path] = CommandOutput(wanted.command)
            if path not in self._waiting:
                if path != STDIN and not _is_pipe(path):
                    continue
                try:
                    self._waiting[path] = Pipe(path)
                except OSError as error:
                    self.failed[path] = Problem.of(path, error)
                    continue
            self._begin(path, self._waiting[path], source)

    def _begin(self, path: str, pipe: Pipe, source: int) -> None:
        head = pipe.at(0, HEAD)
        if not head.count(b"\n") and not pipe.ended:
            return
        kind = sniffed(head, path, self._wanted[source]) if head else None
        if kind is None:
            if pipe.ended or len(head) == HEAD or head.count(b"\n") >= _LINES:
                self.skipped[path] = describe(head) if head else "empty"
                self._waiting.pop(path).close()
            return
        one, dataset = kind
        stream = self._known.stream(dataset, one, source, path)
        piece = Piece(path)
        piece.content = self._waiting.pop(path)
        piece.look = looked(head, one, dataset, path)
        piece.look.first = first_line(head)
        piece.placed, piece.resident = True, False
        self._begun[path] = piece
        self._known.owner[piece] = stream
        stream.pieces.append(piece)
        stream.enqueue(piece)

    def close(self) -> None:
        """Close those that were not begun; the others are their pieces' to close."""
        for pipe in self._waiting.values():
            pipe.close()


def _is_pipe(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)  # noqa: PTH116  text
    except OSError:
        return False
