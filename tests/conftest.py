"""What the tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real inputs with known answers; without it the test skips and says so."""
    folder = Path(os.environ.get("CONNWATCH_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no conformance data at {folder} (set CONNWATCH_DATA)")
    return folder
