"""What the tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How fast a machine is says nothing about what is tested.
settings.register_profile("connwatch", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("connwatch")

# What a shell starts in the background ignores Ctrl-C, and so would the processes of tests.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real inputs with known answers; without it the test skips and says so."""
    folder = Path(os.environ.get("CONNWATCH_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no conformance data at {folder} (set CONNWATCH_DATA)")
    return folder
