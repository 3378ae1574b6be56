"""Waiting until files change: inotify through watchdog, or polling where that does not work."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Final, Literal

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.observers.polling import PollingObserver

from ..opening import STDIN

#: events that can mean that there is something to read
_EVENTS: Final[list[type[FileSystemEvent]]] = [
    FileModifiedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
]
#: file systems on which another machine's writes make no event here
_REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre"})
#: folders beyond which each costs a thread too many; the rest are polled together
_MOST: Final = 256


#: seconds between two looks at inotify's queue, where the kernel makes one event of many meanwhile:
#: a file written to 20,000 times a second would otherwise cost a third of a core
_CALM: Final = 0.01


class _Handler(FileSystemEventHandler):
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def on_any_event(self, event: FileSystemEvent) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it wakes already
            os.write(self._descriptor, b"!")


def _native() -> BaseObserver:
    """The system's own way of telling changes; on Linux, inotify."""
    if sys.platform != "linux":
        return Observer()
    from watchdog.observers.inotify import InotifyEmitter
    from watchdog.observers.inotify_c import InotifyEvent, InotifyFD

    class Calm(InotifyFD):
        def read_events(self, **options: int) -> list[InotifyEvent]:
            events = super().read_events(**options)
            time.sleep(_CALM)
            return events

    class CalmObserver(BaseObserver):
        def __init__(self) -> None:
            self._calm = Calm()
            self._calm.start()
            super().__init__(InotifyEmitter, inotify_fd=self._calm)

        def on_thread_stop(self) -> None:
            super().on_thread_stop()
            self._calm.stop()
            self._calm.join()

    return CalmObserver()


class Wake:
    """Sleeps until something happened to a watched path.

    mode: inotify, polling, or what works (auto). poll: seconds between two looks when polling.
    note: what the user should know (inotify's limit is reached, a network file system: polling
    instead), with the remedy; None: nothing.
    """

    def __init__(self, mode: Literal["auto", "inotify", "polling"], poll: float = 1.0) -> None:
        self.note: str | None = None
        self._mode = mode
        self._poll = poll
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._handler = _Handler(self._writer)
        self._native: BaseObserver | None = None
        self._polling: BaseObserver | None = None
        self._watched: dict[str, tuple[BaseObserver, ObservedWatch]] = {}
        self._stdin: int | None = None

    def watch(self, paths: Sequence[str]) -> None:
        """Watch these, and nothing else."""
        self._stdin = sys.stdin.fileno() if STDIN in paths else None
        wanted = {path for path in paths if path != STDIN}
        for path in self._watched.keys() - wanted:
            observer, watch = self._watched.pop(path)
            observer.unschedule(watch)
        remote = _remote(wanted) if self._mode == "auto" else {}
        for path in sorted(wanted):
            watched = self._watched.get(path)
            if watched is not None and not _alive(*watched):
                watched[0].unschedule(watched[1])
                del self._watched[path]
                watched = None
            if watched is None and Path(path).exists():
                self._add(path, remote.get(path))

    def _add(self, path: str, remote: str | None) -> None:
        if self._mode != "polling" and remote is None and len(self._watched) < _MOST:
            try:
                if self._native is None:
                    self._native = _native()
                    self._native.start()
                self._schedule(self._native, path)
                return
            except FileNotFoundError:
                return
            except OSError as error:
                self.note = (
                    f"inotify cannot watch {path} ({error.strerror or error}): looking every "
                    f"{self._poll:g} s instead; raise fs.inotify.max_user_watches and "
                    "fs.inotify.max_user_instances (sysctl)"
                )
        elif remote is not None:
            self.note = (
                f"{path} is on a network file system ({remote}), where writes elsewhere are not "
                f"told: looking every {self._poll:g} s instead"
            )
        if self._polling is None:
            self._polling = PollingObserver(timeout=self._poll)
            self._polling.start()
        try:
            self._schedule(self._polling, path)
        except OSError as error:
            self.note = f"cannot watch {path}: {error.strerror or error}"

    def _schedule(self, observer: BaseObserver, path: str) -> None:
        watch = observer.schedule(self._handler, path, event_filter=_EVENTS, follow_symlink=True)
        self._watched[path] = observer, watch

    def wait(self, timeout: float) -> bool:
        """Whether something happened since the last call; waits up to `timeout` seconds for it."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        if self._stdin is not None:
            poll.register(self._stdin, select.POLLIN)
        if not poll.poll(max(timeout, 0.0) * 1000):
            return False
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 1 << 16)
        return True

    def close(self) -> None:
        """Stop watching."""
        for observer in (self._native, self._polling):
            if observer is not None:
                observer.stop()
                observer.join()
        self._native = self._polling = None
        self._watched.clear()
        os.close(self._reader)
        os.close(self._writer)


def _alive(observer: BaseObserver, watch: ObservedWatch) -> bool:
    """Whether a watch still works: it ends when its folder is deleted."""
    return any(emitter.watch == watch and emitter.is_alive() for emitter in observer.emitters)


def _remote(paths: set[str]) -> dict[str, str]:
    """Those of the paths that lie on a network file system, with its kind."""
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return {}
    kinds: dict[PurePath, str] = {}
    for mount in mounts:
        _, place, kind, *_ = mount.split(" ")
        kinds[PurePath(place.replace("\\040", " "))] = kind
    found = {}
    for path in paths:
        real = Path(path).resolve()
        kind = next((kinds[above] for above in (real, *real.parents) if above in kinds), "")
        if kind in _REMOTE or kind.startswith("fuse."):
            found[path] = kind
    return found
