"""Small files read together: their lines one after the other, and what was made of them parted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

#: where a frame of events and one of rejects have line and offset
_PLACES = ("event.sequence", "log.offset"), ("line", "log.offset")


@dataclass(slots=True)
class Joint:
    """Runs of lines of several files, as if they were one text.

    gap: numbers that are left out between the lines of one run and the next. lines: how many there
    are in all. paths: of the files.
    """

    gap: int = 0
    lines: int = 0
    paths: list[str] = field(default_factory=list)
    _parts: list[bytes] = field(default_factory=list)
    #: of each run: number and offset of its first line here, and in its file
    _here: list[tuple[int, int]] = field(default_factory=list)
    _there: list[tuple[int, int]] = field(default_factory=list)
    _counts: list[int] = field(default_factory=list)
    _size: int = 0

    def add(self, path: str, data: bytes, line: int, offset: int) -> None:
        """One more run. line, offset: of its first line in its file."""
        ended = data if data.endswith(b"\n") else data + b"\n"
        count = ended.count(b"\n")
        first = 1 + self.lines + self.gap * len(self.paths)
        self._here.append((first, self._size))
        self._there.append((line, offset))
        self.paths.append(path)
        self._parts.append(ended)
        self._counts.append(count)
        self.lines += count
        self._size += len(ended)

    def data(self) -> bytes:
        """All lines, the last one of every run ended."""
        return b"".join(self._parts)

    def rows(self) -> list[tuple[int, int]]:
        """Of each run the place of its first line among all, and of that behind it."""
        ends = np.cumsum(self._counts).tolist()
        return list(zip([0, *ends[:-1]], ends, strict=True))

    def numbered(self, lines: pl.DataFrame) -> pl.DataFrame:
        """The lines as `split_lines` gives them of `data`, numbered with gaps."""
        more = np.repeat(np.arange(len(self._counts)) * self.gap, self._counts)
        return lines.with_columns(pl.col("line") + pl.Series(more))

    def run_of(self, lines: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The run that each of these numbers of lines is of."""
        starts = np.array([first for first, _ in self._here], dtype=np.int64)
        return np.searchsorted(starts, lines.to_numpy(), "right") - 1

    def parted(
        self, events: pl.DataFrame, rejects: pl.DataFrame
    ) -> Sequence[tuple[pl.DataFrame, pl.DataFrame]]:
        """Events and rejects of each run, their places and paths those of its file. Both are in the
        order of their lines."""
        made = [
            self._placed(frame, *at) for frame, at in zip((events, rejects), _PLACES, strict=True)
        ]
        return list(zip(*made, strict=True))

    def _placed(self, frame: pl.DataFrame, line: str, offset: str) -> list[pl.DataFrame]:
        if frame.is_empty():
            return [frame] * len(self.paths)
        run = self.run_of(frame[line])
        moved = np.array(self._there, dtype=np.int64) - np.array(self._here, dtype=np.int64)
        paths = pl.Series(self.paths, dtype=pl.String)
        frame = frame.with_columns(
            pl.col(line) + pl.Series(moved[run, 0]),
            pl.col(offset) + pl.Series(moved[run, 1]),
            paths.gather(pl.Series(run)).alias("log.file.path"),
        )
        counts = np.bincount(run, minlength=len(self.paths))
        starts = np.cumsum(counts) - counts
        return [frame.slice(*one) for one in zip(starts.tolist(), counts.tolist(), strict=True)]
