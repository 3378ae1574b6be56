"""What these tests need of the machine. Where it is missing they skip and say so; in CI they fail."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from crash.lane import logrotate


def missing(what: str) -> None:
    """Skip, or fail where everything has to be there."""
    if os.environ.get("CONNWATCH_CI"):
        pytest.fail(what)
    pytest.skip(what)


def need_logrotate() -> None:
    if logrotate() is None:
        missing("logrotate is not installed (apt-get install logrotate)")


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system in memory of so many bytes; needs root."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        missing(f"a small disk cannot be made (root may mount one): {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
