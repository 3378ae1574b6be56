"""What the tests of `connwatch copy` share: copies by command, and all that a store has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from elastic import Elastic

from connwatch.cli import run

SAMPLE = ROOT / "sample_logs" / "incident" / "conn.log"


def config_of(folder: Path, server: Elastic, url: str | None = None) -> Path:
    """A configuration that names the server, with the prefix of the test."""
    path = folder / "copy.yml"
    path.write_text(
        "sources: [{path: conn.log}]\n"
        f"elasticsearch: {{nodes: [{url or server.url}], prefix: {server.prefix}, replicas: 0}}\n"
    )
    return path


class Copying:
    """Commands on a server, with what they print."""

    def __init__(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config, self.capsys = config, capsys
        self.said = ""

    def out(self, *words: object, code: int = 0) -> str:
        """Standard output of a command; standard error is `said`."""
        self.capsys.readouterr()
        found = run([str(one) for one in words])
        told = self.capsys.readouterr()
        self.said = told.err
        assert found == code, told
        return told.out

    def on_server(self, *words: object, code: int = 0) -> str:
        return self.out(*words, "-c", self.config, code=code)

    def there(self, store: Path, *more: object, code: int = 0) -> dict[str, Any]:
        """What a copy to the server says."""
        return self._copied("to-elasticsearch", store, *more, code=code)

    def back(self, store: Path, *more: object, code: int = 0) -> dict[str, Any]:
        """What a copy to a store says."""
        return self._copied("to-store", store, *more, code=code)

    def _copied(self, way: str, store: Path, *more: object, code: int) -> dict[str, Any]:
        words = ("copy", way, "--store", store, "--json", *more)
        found: dict[str, Any] = json.loads(self.on_server(*words, code=code))
        return found

    def replayed(self, store: Path, *more: object) -> Path:
        self.out("replay", SAMPLE, "--store", store, *more)
        return store

    def shown(self, store: Path | None) -> list[str]:
        """All events and alerts as they are printed, and the digest; None: of the server."""
        place = ("-c", self.config) if store is None else ("--store", store)
        return [
            self.out("search", "--limit", 0, "--format", "ndjson", *place),
            self.out("alerts", "--format", "ndjson", *place),
            self.out("alerts", "--digest", *place),
        ]


def fates(told: dict[str, Any], kind: str) -> dict[str, int]:
    """Without what is 0."""
    return {name: count for name, count in told[kind].items() if count}
