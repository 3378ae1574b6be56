"""Parts that nothing uses: detections beside the condition, aliases, names of rules, filters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final

from ...correlation import references
from ..finding import Finding
from ..subjects import Many, Single, Subjects

_WORD: Final = re.compile(r"[\w*?-]+")


def check(subjects: Subjects) -> Iterator[Finding]:
    counting = [one.document for one in subjects.many if "correlation" in one.document.content]
    counted = {name for document in counting for name in references(document)}
    filtered = {name for one in subjects.filters for name in one.rules}
    for document, rule in subjects.rules:
        name = document.content.get("name")
        if name is not None and not counted & {str(name), rule.id} and str(name) not in filtered:
            yield Finding(
                document.where(str(name), section="name"),
                rule.title,
                "note",
                "uncounted",
                f"is called {name!r}, and no correlation counts it: it alerts by itself",
                "name it under rules: of a correlation, or leave name: out",
            )
    for one in subjects.singles:
        yield from _detections(one)
    for many in subjects.many:
        yield from _aliases(many)
    yield from _filters(subjects)


def _detections(one: Single) -> Iterator[Finding]:
    """Selections that the condition does not name; those whose names begin with _ are not meant by
    `them`."""
    detection = one.document.content["detection"]
    written = detection["condition"]
    words = _WORD.findall(" ".join(written if isinstance(written, list) else [written]))
    for name in detection:
        private = name.startswith("_")
        if name in ("condition", "timeframe") or ("them" in words and not private):
            continue
        if not any(fnmatchcase(name, word) for word in words):
            yield Finding(
                one.document.where(name, section="detection"),
                one.rule.title,
                "warning",
                "unused",
                f"the condition does not use {name!r}",
                f"add it, as in: and not {name}, or leave it out",
            )


def _aliases(many: Many) -> Iterator[Finding]:
    correlation = many.document.content.get("correlation", {})
    condition = correlation.get("condition")
    named = condition.get("field") if isinstance(condition, dict) else None
    grouped = correlation.get("group-by")
    used = {name for one in (grouped, named) for name in (one if isinstance(one, list) else [one])}
    for alias in correlation.get("aliases") or ():
        if alias not in used:
            yield Finding(
                many.where(alias),
                many.rule.title,
                "warning",
                "unused",
                f"the alias {alias!r} is used by nothing",
                "name it under group-by or field, or leave it out",
            )


def _filters(subjects: Subjects) -> Iterator[Finding]:
    contents = [document.content for document in subjects.documents]
    known = {str(c[key]) for c in contents for key in ("id", "name") if c.get(key) is not None}
    for one in subjects.filters:
        unknown = [name for name in one.rules if name not in known]
        for name in unknown:
            near = get_close_matches(name, known, n=1)
            yield Finding(
                one.document.where(name, section="filter"),
                one.title,
                "warning",
                "filter",
                f"is for the rule {name!r}, which is not here",
                f"did you mean {near[0]!r}?" if near else "name a rule by its id or its name:",
            )
        if not one.applied and not unknown:
            yield Finding(
                one.document.where("logsource"),
                one.title,
                "warning",
                "filter",
                "is for none of the rules that run here",
                "its logsource must be that of the rules, and rules: must name them, or be any",
            )
