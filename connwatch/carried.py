"""What detection carries from batch to batch, as bytes that a store keeps and gives back.

A ZIP archive without compression: `about.json`, and one Arrow file a frame. Nothing in it is ever
executed, and what does not fit together is an error, not a guess.
"""

from __future__ import annotations

import io
import json
import zipfile
from hashlib import sha256
from typing import Any, Final

import polars as pl

from connwatch.detection import Detection
from connwatch.detectors.fold import ALERT_SCHEMA, EVIDENCE
from connwatch.detectors.ruleset import Correlation, RuleSet
from connwatch.detectors.sigma.tree import Atom, Node
from connwatch.detectors.windows.saved import from_frames, to_frames
from connwatch.errors import StoreDamagedError

_VERSION: Final = 1
_ABOUT: Final = "about.json"
_OPEN: Final = "open"


def saved(detection: Detection) -> bytes:
    """What `taken_up` makes the same detection of."""
    frames, windows = to_frames(detection.windows, _marks(detection.rules))
    about = {"version": _VERSION, "windows": windows}
    return packed({_OPEN: detection.open, **frames}, about)


def taken_up(detection: Detection, data: bytes) -> None:
    """Go on where `saved` was made. What belongs to rules that are gone or count something else
    now is left out. StoreDamagedError when the bytes are not what `saved` makes."""
    frames, about = unpacked(data)
    try:
        if about["version"] != _VERSION:
            raise StoreDamagedError(
                f"the state of detection has version {about['version']}, not {_VERSION}",
                hint="use the version of connwatch that wrote it",
            )
        before = frames.pop(_OPEN).select(list(ALERT_SCHEMA))
        known = pl.Series(list(detection.rules.foldings), dtype=pl.String)
        detection.open = before.filter(pl.col("rule").is_in(known.implode()))
        detection.windows = from_frames(
            detection.rules.correlated, EVIDENCE, frames, about["windows"], _marks(detection.rules)
        )
    except (KeyError, pl.exceptions.PolarsError) as error:
        raise StoreDamagedError(f"the state of detection cannot be read: {error}") from error


def packed(frames: dict[str, pl.DataFrame], about: dict[str, Any]) -> bytes:
    """Frames and JSON values as bytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_ABOUT, json.dumps(about))
        for name, frame in frames.items():
            part = io.BytesIO()
            frame.write_ipc(part, compression="lz4")
            archive.writestr(name, part.getvalue())
    return made.getvalue()


def unpacked(data: bytes) -> tuple[dict[str, pl.DataFrame], dict[str, Any]]:
    """The frames and JSON values of `packed`."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            about = json.loads(archive.read(_ABOUT))
            names = [name for name in archive.namelist() if name != _ABOUT]
            frames = {name: pl.read_ipc(io.BytesIO(archive.read(name))) for name in names}
    except (zipfile.BadZipFile, KeyError, ValueError, pl.exceptions.PolarsError) as error:
        raise StoreDamagedError(f"the state of detection cannot be read: {error}") from error
    return frames, about


def _marks(rules: RuleSet) -> dict[str, str]:
    """By rule key, what a rule over many records counts and how; another mark, another rule."""
    marks: dict[str, str] = {}
    asked = {rule.key: f"{_condition(rule.node)} {sorted(rule.datasets)}" for rule in rules.rules}
    for rule in rules.every:
        if not isinstance(rule, Correlation):
            continue
        fed = [asked.get(base) or marks.get(base, "") for base in rule.windows.bases]
        text = f"{rule.windows.windows!r} {rule.windows.group_by!r} {fed!r}"
        marks[rule.key] = sha256(text.encode()).hexdigest()
    return marks


def _condition(node: Node) -> str:
    if isinstance(node, Atom):
        return sha256(node.key).hexdigest()
    return f"{node.kind}({' '.join(_condition(child) for child in node.children)})"
