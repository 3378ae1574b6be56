"""Fields that may have no value where a message, a group or a count needs one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from connwatch.schema import BY_NAME

from ...own import FILLED_IN, OF_LISTS
from ..finding import Finding
from ..subjects import Many, Single, Subjects
from ..theory import Theory

_FILLED: Final = re.compile(r"\{([^{}]+)\}")
_NEVER: Final = BY_NAME["event.id"].null
#: measures that count values
_COUNTING: Final = "value_count"


def check(subjects: Subjects) -> Iterator[Finding]:
    theory = subjects.theory
    for one in subjects.singles:
        if one.key != one.rule.key:
            continue  # the pre-filter of an analytic, which says itself what it groups by
        yield from _message(one, [one], theory)
        for column in one.rule.group_by:
            if _lacking([one], column, theory):
                yield Finding(
                    one.document.where(column, section="group-by"),
                    one.rule.title,
                    "note",
                    "absent",
                    f"group-by: {column} may have no value ({BY_NAME[column].null}); "
                    "records without it share one group",
                    f"if that is not meant, add {column}|exists: true to the condition",
                )
    for many in subjects.many:
        bases = [base for base in many.bases if base is not None]
        if len(bases) == len(many.bases):
            yield from _message(many, bases, theory)
            yield from _taking_part(many, bases, theory)


def _lacking(bases: Sequence[Single], column: str, theory: Theory) -> bool:
    if column not in BY_NAME or BY_NAME[column].null.startswith(_NEVER):
        return False
    return not all(theory.fixed(one.condition, column) for one in bases)


def _message(one: Single | Many, bases: Sequence[Single], theory: Theory) -> Iterator[Finding]:
    rule, document = one.rule, one.document
    group = rule.group_by  # what may be lacking of it is said of the group
    for name in dict.fromkeys(_FILLED.findall(rule.message or "")):
        if name in group:
            continue
        severity, why = "note", ""
        if name in FILLED_IN:
            why = _never_filled(one, name)
            severity = "warning"
        elif _lacking(bases, name, theory):
            why = f"may have no value ({BY_NAME[name].null})"
        if why:
            yield Finding(
                document.where(f"{{{name}}}", section="message"),
                rule.title,
                "warning" if severity == "warning" else "note",
                "absent",
                f"message: {{{name}}} {why}, and is shown as unknown then",
                "leave it out of the message"
                if severity == "warning"
                else f"if that is not meant, add {name}|exists: true to the condition",
            )


def _never_filled(one: Single | Many, name: str) -> str:
    if name == "count":
        return ""
    if name in OF_LISTS:
        looks_up = isinstance(one, Single) and one.listed
        return "" if looks_up else "is for rules that look records up in lists, which this does not"
    if isinstance(one, Single):
        return "is for rules that count, which this is not"
    if name == "counted" and all(w.measure != _COUNTING for w in one.rule.windows.windows):
        return f"is the values that {_COUNTING} counts, which this is not"
    return ""


def _taking_part(many: Many, bases: Sequence[Single], theory: Theory) -> Iterator[Finding]:
    if "correlation" not in many.document.content:
        return
    read = {name for per in many.rule.windows.group_by for name in per}
    read |= {name for window in many.rule.windows.windows for per in window.fields for name in per}
    for column in sorted(read):
        mine = [
            base
            for base, group, window in zip(
                bases, many.rule.windows.group_by, many.rule.windows.windows[0].fields, strict=True
            )
            if column in group or column in window
        ]
        if _lacking(mine, column, theory):
            yield Finding(
                many.where(column),
                many.rule.title,
                "note",
                "absent",
                f"{column} may have no value ({BY_NAME[column].null}); "
                "records without it take no part",
                f"if that is not meant, add {column}|exists: true to the rules that are counted",
            )
