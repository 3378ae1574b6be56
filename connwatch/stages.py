"""Threads beside the main one, so that reading, computing and writing overlap.

`ahead` lets an iterator run in front of its consumer, `Behind` lets a consumer run behind its
producer; both hold a bounded number of items, and none that is done with, and an error on the
other side is raised on this one.
`Handed` lets a producer wait for its consumer. `side_by_side` lets several work on one thing.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

#: parts that one thing is worked on in: half of the cores are for what goes on beside it
WORKERS: Final = min(4, max(1, (os.cpu_count() or 1) // 2))


class _StoppedError(Exception):
    """The consumer went away."""


def ahead(
    items: Iterator[Item], size: int, patience: float | None = None
) -> Generator[Item, None, None]:
    """The same items, made up to `size` ahead by a thread of their own. patience: seconds for which
    `close` waits for the item in hand; None: until it is made."""
    made: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(size)
    stop = threading.Event()

    def put(item: Item | None, error: BaseException | None) -> None:
        while not stop.is_set():
            try:
                made.put((item, error), timeout=0.1)
            except queue.Full:
                continue
            return
        raise _StoppedError

    def run() -> None:
        try:
            for item in items:
                put(item, None)
                del item
            put(None, StopIteration())
        except _StoppedError:
            return
        except BaseException as error:  # noqa: BLE001  handed over, and raised by the consumer
            with suppress(_StoppedError):
                put(None, error)

    thread = threading.Thread(target=run, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = made.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
            del item
    finally:
        stop.set()
        thread.join(patience)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, WORKERS - 1), "beside")


def side_by_side(work: Callable[[Item], Made], items: Sequence[Item]) -> list[Made]:
    """What `work` makes of each item, in their order: of the first one here, of others in threads.
    It may not call this in turn."""
    others = [_pool().submit(work, one) for one in items[1:]]
    return [*map(work, items[:1]), *(one.result() for one in others)]


class Handed:
    """Tells a producer when its consumer is done with what it was given. After `end` it always is:
    the consumer wants no more."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._left = 0
        self._ended = False

    def given(self) -> None:
        """By the producer: one item more."""
        with self._changed:
            self._left += 1

    def done(self) -> None:
        """By the consumer: one item less."""
        with self._changed:
            self._left -= 1
            self._changed.notify_all()

    def end(self) -> None:
        """By the consumer."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait(self, left: int, timeout: float) -> bool:
        """By the producer: whether at most so many are left, within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ended or self._left <= left, timeout)


class Behind(Generic[Item]):
    """Gives items to `consume` in a thread of its own, in order, at most `size` waiting."""

    def __init__(self, consume: Callable[[Item], None], size: int) -> None:
        self._consume = consume
        self._waiting: queue.Queue[Item | None] = queue.Queue(size)
        self._taken = threading.Condition()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="behind", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Items that nobody consumes yet."""
        return self._waiting.qsize()

    def put(self, item: Item, *, taken: bool = False) -> None:
        """Hand over one item; raises what an earlier one raised. taken: return when it does not
        wait any more, so that no more than two large ones are in memory: this one, and the next."""
        while True:
            self.check()
            try:
                self._waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            break
        with self._taken:
            while taken and not self._taken.wait_for(self._waiting.empty, 0.1):
                self.check()

    def close(self) -> None:
        """Wait until everything is consumed; raises what went wrong."""
        self._finish()
        self.check()

    def abandon(self) -> None:
        """End after the item in hand; what waits is dropped."""
        while True:
            try:
                self._waiting.get_nowait()
            except queue.Empty:
                break
        self._finish()

    def _finish(self) -> None:
        while self._thread.is_alive():
            try:
                self._waiting.put(None, timeout=0.1)
            except queue.Full:
                continue
            break
        self._thread.join()

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            with self._taken:
                self._taken.notify_all()
            try:
                self._consume(item)
            except BaseException as error:  # noqa: BLE001  handed over, and raised by the producer
                self._error = error
                return
            del item

    def check(self) -> None:
        """Raise what an earlier item raised."""
        if self._error is not None:
            raise self._error
