"""A few threads for requests, which the end of the program does not wait for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Threads(Generic[Result]):
    """They begin when there is something to do. most: how many there are at most."""

    def __init__(self, most: int, name: str) -> None:
        self.most = most
        self.name = name
        self._tasks: queue.SimpleQueue[tuple[Callable[[], Result], Future[Result]] | None]
        self._tasks = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, task: Callable[[], Result]) -> Future[Result]:
        """What comes of the task: its result, or what it raised."""
        future: Future[Result] = Future()
        self._tasks.put((task, future))
        if len(self._threads) < self.most:
            # Daemons: a server that never answers must not keep the program from ending.
            thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def _run(self) -> None:
        while (one := self._tasks.get()) is not None:
            task, future = one
            try:
                result = task()
            except BaseException as error:  # noqa: BLE001  whoever waits for it raises it
                future.set_exception(error)
            else:
                future.set_result(result)
            # Nothing is held while there is nothing to do.
            del one, task, future

    def close(self) -> None:
        """They end when what they are doing has ended."""
        for _ in self._threads:
            self._tasks.put(None)
        self._threads = []
