"""The page on how good the bundled rules are is what the rules do now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = [pytest.mark.source, pytest.mark.slow]


def test_the_page_is_what_the_rules_do(data: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "benchmarks.quality", str(data)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    written = (ROOT / "docs" / "detection-quality.md").read_text(encoding="utf-8")
    assert made.stdout == written, "run python -m benchmarks.quality"
