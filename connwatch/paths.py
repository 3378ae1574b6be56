"""Where things are when nobody says otherwise."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def default_store(environment: Mapping[str, str] = os.environ) -> Path:
    """`CONNWATCH_STORE`, else the folder `connwatch` in the platform's data folder."""
    if chosen := environment.get("CONNWATCH_STORE"):
        return Path(chosen)
    home = Path.home()
    if sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    elif sys.platform == "win32":
        base = Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        base = Path(environment.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "connwatch"
