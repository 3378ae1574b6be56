"""A real `connwatch run` in tests: started, asked, measured, ended, compared."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from live_support import header, start, stored, wait_for
from support import replayed

from connwatch.cli.follow import current
from connwatch.detectors.ruleset import load_rules
from connwatch.errors import StoreError
from connwatch.pipeline import bundled_rules

#: seconds that a state may take on a machine with other work
PATIENCE = 180.0
#: rules that count over windows, and few, so that a start is cheap
RULES = ("scan", "access")


def configured(
    folder: Path, sources: Sequence[str] = ("conn.log",), more: str = "", *, store: str = "store"
) -> Path:
    """A configuration with few rules; settings come before those of `more`."""
    path = folder / "connwatch.yml"
    rules = "".join(f"  - {bundled_rules() / rule}\n" for rule in RULES)
    listed = "".join(f"  - path: {source}\n" for source in sources)
    path.write_text(
        f"store: {store}\nsettle: 0.2\nidle_limit: 0.5\n{more}rules:\n{rules}sources:\n{listed}"
    )
    return path


@contextmanager
def following(config: Path, store: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A run that follows; what it says is in `said` beside its configuration."""
    with (config.parent / "said").open("ab") as said:
        process = start("run", "-c", str(config), *more, stderr=said)
    try:
        wait_for("it runs", lambda: state(store, process) == "running", PATIENCE)
        yield process
    finally:
        process.kill()
        process.wait(60)


def state(store: Path, process: subprocess.Popen[bytes]) -> str:
    """What `connwatch status` says of it; "" before it has said anything."""
    assert process.poll() is None, f"it ended with {process.returncode}"
    found = status(store)
    return str(found["state"]) if found.get("pid") == process.pid else ""


def status(store: Path) -> dict[str, Any]:
    try:
        return current(store)
    except StoreError:
        return {}


def said(config: Path) -> str:
    """What runs with this configuration wrote to standard error."""
    return (config.parent / "said").read_text()


def until_read(store: Path, records: int) -> None:
    """Wait until so many records are counted, and told."""

    def counted() -> bool:
        return bool(status(store).get("totals", {}).get("events", 0) >= records)

    wait_for(f"{records} records are read", counted, PATIENCE)


def ended(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
    """Its exit code after a signal."""
    process.send_signal(number)
    return process.wait(PATIENCE)


def memory(process: subprocess.Popen[bytes]) -> int:
    """Bytes that it holds."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in text.splitlines() if "VmRSS" in line)


def is_as_replayed(store: Path, made: Sequence[bytes], folder: Path) -> None:
    """The store holds what a replay of these lines, in one file, comes to."""
    whole = folder / "whole" / "conn.log"
    whole.parent.mkdir()
    whole.write_bytes(header() + b"".join(made))
    replayed([whole], folder / "replayed", load_rules([bundled_rules() / one for one in RULES]))
    wanted, wanted_alerts = stored(folder / "replayed")
    found, alerts = stored(store)
    assert len(found) == len(made)
    assert found == wanted
    assert alerts == wanted_alerts
