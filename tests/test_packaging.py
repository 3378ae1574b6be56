"""The packages that pyproject.toml lists are the folders on disk, and the links lead to them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("ingest", "detectors", "sinks", "rules")

pytestmark = pytest.mark.source


def test_every_package_on_disk_is_listed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(settings["tool"]["setuptools"]["packages"])
    on_disk = set()
    for top in ("connwatch", *FOLDERS):
        prefix = () if top == "connwatch" else ("connwatch",)
        for init in (ROOT / top).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT).parts
            if not (ROOT / parts[0] / parts[1] if len(parts) > 1 else ROOT / top).is_symlink():
                on_disk.add(".".join((*prefix, *parts)))
    assert listed == on_disk


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_link_leads_to_its_folder(folder: str) -> None:
    link = ROOT / "connwatch" / folder
    assert link.is_symlink()
    assert link.readlink() == Path("..") / folder
