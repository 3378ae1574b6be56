"""Rules with a name that nothing counts, and filters that are for no rule."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from ...correlation import references
from ..finding import Finding
from ..subjects import Subjects


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
    yield from _filters(subjects)


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
