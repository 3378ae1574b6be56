"""What a rule leaves its reader to guess."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..finding import Finding
from ..subjects import Subjects

_WHY: Final = {
    "id": "alerts keep their identity when the title changes",
    "level": "it counts as medium",
    "description": "whoever reads the alert must know what was found",
    "tags": "attack.tNNNN says which technique it is about",
    "falsepositives": "whoever reads the alert must know what else looks like this",
}


def check(subjects: Subjects) -> Iterator[Finding]:
    for document, rule in subjects.rules:
        lacking = [key for key in _WHY if not document.content.get(key)]
        if lacking:
            yield Finding(
                document.where(),
                rule.title,
                "note",
                "undescribed",
                f"has no {' and no '.join(lacking)}",
                "; ".join(f"{key}: {_WHY[key]}" for key in lacking),
            )
