"""One writer at a time; the second one is told who the first is."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from connwatch.errors import StoreBusyError

NAME: Final = "writer.lock"


class WriterLock:
    """Held from construction to `release`, or until the process ends."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _holder(os.pread(self._descriptor, 4096, 0))
            os.close(self._descriptor)
            raise StoreBusyError(
                f"{holder} is writing to this store",
                where=str(folder),
                hint="wait for it, stop it, or use another store with --store",
            ) from None
        held = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(held).encode(), 0)
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        os.close(self._descriptor)


def writer_of(folder: Path) -> int | None:
    """The process that writes to a store now; None: nobody does, or one that cannot be told."""
    try:
        descriptor = os.open(folder / NAME, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        try:
            return int(json.loads(os.pread(descriptor, 4096, 0))["pid"])
        except (ValueError, KeyError, TypeError):
            return None
    else:
        return None
    finally:
        os.close(descriptor)


def _holder(text: bytes) -> str:
    try:
        held = json.loads(text)
        return f"process {held['pid']} on {held['host']} (since {held['since']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
