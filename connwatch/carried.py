"""What detection carries from batch to batch, as a file that a store keeps and gives back.

A ZIP archive without compression: `about.json`, and one Arrow file a frame. Nothing in it is ever
executed, and what does not fit together is an error, not a guess.
"""

from __future__ import annotations

import io
import json
import zipfile
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, Final

import polars as pl

from connwatch.detection import Detection
from connwatch.detectors.fold import ALERT_SCHEMA, EVIDENCE
from connwatch.detectors.ruleset import Correlation, RuleSet
from connwatch.detectors.sigma.tree import mark
from connwatch.detectors.windows import saved
from connwatch.detectors.witnesses.flows import Flows
from connwatch.errors import StoreDamagedError

_VERSION: Final = 3
#: versions that can be read; before 3 no part of the records was packed
_KNOWN: Final = (2, _VERSION)
_ABOUT: Final = "about.json"
_OPEN: Final = "open"
_FLOWS: Final = "flows"
_ONLY: Final = "only"
#: rows that are packed at once, beside the frame itself
_ROWS: Final = 20_000


def save(detection: Detection, path: Path) -> None:
    """Write a file of which `taken_up` makes the same detection."""
    windows = saved.about(detection.windows, _marks(detection.rules))
    flows, told = detection.flows.saved()
    about = {"version": _VERSION, "windows": windows, _FLOWS: told, _ONLY: detection.only}
    frames = chain(((_OPEN, detection.open), (_FLOWS, flows)), saved.to_frames(detection.windows))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_ABOUT, json.dumps(about))
        for name, frame in frames:
            with archive.open(name, "w", force_zip64=True) as part:
                frame.write_ipc(part, compression="lz4", record_batch_size=_ROWS)


def taken_up(detection: Detection, path: Path) -> None:
    """Go on where `save` wrote a file. What belongs to rules that are gone or count something else
    now is left out. StoreDamagedError when the file is not what `save` writes."""
    frames, about = _unpacked(path)
    try:
        if about["version"] not in _KNOWN:
            raise StoreDamagedError(
                f"the state of detection has version {about['version']}, not {_VERSION}",
                hint="use the version of connwatch that wrote it",
            )
        before = frames.pop(_OPEN).select(list(ALERT_SCHEMA))
        flows = frames.pop(_FLOWS, None)  # versions before did not link
        if flows is not None:
            detection.link_on(Flows.restored(flows, about[_FLOWS]), about.get(_ONLY))
        known = pl.Series(list(detection.rules.foldings), dtype=pl.String)
        detection.open = before.filter(pl.col("rule").is_in(known.implode()))
        detection.windows = saved.from_frames(
            detection.rules.correlated, EVIDENCE, frames, about["windows"], _marks(detection.rules)
        )
    except (KeyError, pl.exceptions.PolarsError) as error:
        raise StoreDamagedError(f"the state of detection cannot be read: {error}") from error


def _unpacked(path: Path) -> tuple[dict[str, pl.DataFrame], dict[str, Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read(_ABOUT))
            names = [name for name in archive.namelist() if name != _ABOUT]
            frames = {name: pl.read_ipc(io.BytesIO(archive.read(name))) for name in names}
    except (zipfile.BadZipFile, KeyError, ValueError, pl.exceptions.PolarsError) as error:
        raise StoreDamagedError(f"the state of detection cannot be read: {error}") from error
    return frames, about


def _marks(rules: RuleSet) -> dict[str, str]:
    """By rule key, what a rule over many records counts and how; another mark, another rule."""
    marks: dict[str, str] = {}
    asked = {rule.key: f"{mark(rule.node)} {sorted(rule.datasets)}" for rule in rules.rules}
    for rule in rules.every:
        if not isinstance(rule, Correlation):
            continue
        fed = [asked.get(base) or marks.get(base, "") for base in rule.windows.bases]
        text = f"{rule.windows.windows!r} {rule.windows.group_by!r} {fed!r}"
        marks[rule.key] = sha256(text.encode()).hexdigest()
    return marks
