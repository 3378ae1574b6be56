"""A rule with another value of one parameter: `half_open.suppress=10m,1h,1d`.

PARAM is a rule (its id or the beginning of it, title, or file name) and a path of keys in its YAML,
joined by dots; the path alone when there is one rule only. `variants` writes the changed rule
files into a folder of their own: the rules that people have are never touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import yaml

from connwatch.errors import RuleError, UsageError

_OPTION: Final = "--sweep"
_HINT: Final = "write RULE.path.in.the.rule=a,b,c, as in half_open_connection.suppress=10m,1h"
#: keys under which a rule need not have the parameter, because it has a default
_OPEN: Final = ("", "analytic", "correlation", "correlation.condition")
_ID: Final = re.compile(r"[0-9a-f-]{4,36}")


@dataclass(frozen=True, slots=True)
class Target:
    """The parameter: a document of a rule file, and the keys (names, positions) that lead to it.

    rule: the rule's title. key: its id, or None. path: the keys as they were written.
    """

    file: Path
    document: int
    rule: str
    key: str | None
    path: str
    keys: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """What to change, and the values to try, as YAML reads them."""

    target: Target
    values: tuple[Any, ...]

    @property
    def name(self) -> str:
        return f"{self.target.rule}: {self.target.path}"


@dataclass(frozen=True, slots=True)
class Variant:
    """The rule files with one value in them. changed: the copy among them."""

    value: Any
    files: tuple[Path, ...]
    changed: Path

    @property
    def text(self) -> str:
        """The value as it was written, but for its spaces."""
        if isinstance(self.value, bool):
            return str(self.value).lower()
        return "null" if self.value is None else str(self.value)


def read_sweep(text: str, files: Sequence[Path]) -> Sweep:
    """What `--sweep` says of the rules in these files. Raises UsageError."""
    param, equals, listed = text.partition("=")
    values = [one.strip() for one in listed.split(",")]
    if not equals or not param.strip() or not all(values):
        raise UsageError(f"{text!r} names no parameter and values", where=_OPTION, hint=_HINT)
    try:
        read = tuple(yaml.safe_load(one) for one in values)
    except (yaml.YAMLError, ValueError) as error:
        reason = str(error).split("\n", 1)[0]
        raise UsageError(f"a value cannot be read: {reason}", where=_OPTION, hint=_HINT) from None
    return Sweep(_target(param.strip(), files), read)


def _target(param: str, files: Sequence[Path]) -> Target:
    every = [one for file in files for one in _rules(file)]
    named = [(rule, rest) for rule in every if (rest := _rest(rule, param)) is not None]
    if not named and len(every) == 1:
        named = [(every[0], param)]
    if len(named) != 1:
        titles = [rule.content["title"] for rule in every]
        near = get_close_matches(param.split(".", 1)[0], map(str, titles), n=1)
        what = f"{len(named)} rules are" if named else "no rule is"
        raise UsageError(
            f"{what} named by the beginning of {param!r}",
            where=_OPTION,
            hint=f"did you mean {near[0]!r}?" if near else _HINT,
        )
    ((rule, rest),) = named
    key = rule.content.get("id")
    return Target(
        file=rule.file,
        document=rule.document,
        rule=str(rule.content["title"]),
        key=None if key is None else str(key).lower(),
        path=rest,
        keys=tuple(_walk(rule.content, rest)),
    )


@dataclass(frozen=True, slots=True)
class _Rule:
    file: Path
    document: int
    alone: bool
    content: dict[str, Any]


def _rules(file: Path) -> Iterator[_Rule]:
    documents = _documents(file)
    titled = [n for n, one in enumerate(documents) if isinstance(one, dict) and "title" in one]
    for number in titled:
        yield _Rule(file, number, len(titled) == 1, documents[number])


def _documents(file: Path) -> list[Any]:
    """The documents of a rule file; none of one that cannot be read: that is said elsewhere."""
    try:
        return list(yaml.safe_load_all(file.read_text(encoding="utf-8-sig")))
    except (yaml.YAMLError, ValueError, OSError, RecursionError):
        return []


def _rest(rule: _Rule, param: str) -> str | None:
    """What follows the rule's name in `param`; None when it is not this rule's name."""
    names = [str(rule.content["title"]), *([rule.file.stem] if rule.alone else [])]
    names += [str(rule.content[key]) for key in ("id", "name") if rule.content.get(key)]
    for name in sorted(names, key=len, reverse=True):
        if param.lower().startswith(f"{name.lower()}."):
            return param[len(name) + 1 :]
    first, _, rest = param.partition(".")
    begins = str(rule.content.get("id", "")).lower().startswith(first.lower())
    return rest if rest and begins and _ID.fullmatch(first.lower()) else None


def _walk(content: Any, path: str) -> Iterator[str | int]:
    """The keys of a path. A key may hold dots itself: the longest that fits is taken."""
    here, rest, walked = content, path, ""
    while rest:
        if isinstance(here, list):
            step, _, rest = rest.partition(".")
            if not (step.isdecimal() and int(step) < len(here)):
                raise _missing(walked, step, [str(n) for n in range(len(here))])
            yield int(step)
            here, walked = here[int(step)], f"{walked}.{step}"
            continue
        keys = [str(key) for key in here] if isinstance(here, dict) else []
        fitting = [key for key in keys if rest == key or rest.startswith(f"{key}.")]
        if not fitting:
            if walked not in _OPEN or "." in rest:
                raise _missing(walked, rest, keys)
            yield rest
            return
        step = max(fitting, key=len)
        yield step
        here, rest = here[_own(here, step)], rest[len(step) + 1 :]
        walked = f"{walked}.{step}".removeprefix(".")


def _missing(walked: str, step: str, keys: Sequence[str]) -> UsageError:
    near = get_close_matches(step, keys, n=1)
    there = f"there are {', '.join(keys)}" if keys else "nothing is below it"
    return UsageError(
        f"{walked or 'the rule'} has no {step!r}",
        where=_OPTION,
        hint=f"did you mean {near[0]!r}?" if near else there,
    )


def variants(sweep: Sweep, files: Sequence[Path], folder: Path) -> Iterator[Variant]:
    """The rule files once for each value; the changed one is written below `folder`.

    Files beside it that it may refer to are linked there. Raises RuleError for a file that cannot
    be read any more.
    """
    target = sweep.target
    documents = _documents(target.file)
    if target.document >= len(documents):
        raise RuleError("cannot be read any more", where=str(target.file))
    for number, value in enumerate(sweep.values):
        place = folder / f"value-{number}"
        place.mkdir()
        for beside in target.file.resolve().parent.iterdir():
            if beside.name != target.file.name:
                (place / beside.name).symlink_to(beside)
        changed = list(documents)
        changed[target.document] = _changed(documents[target.document], target.keys, value)
        copy = place / target.file.name
        text = yaml.safe_dump_all(changed, sort_keys=False, allow_unicode=True)
        copy.write_text(text, encoding="utf-8")
        yield Variant(value, tuple(copy if one == target.file else one for one in files), copy)


def _changed(content: Any, keys: Sequence[str | int], value: Any) -> Any:
    made = deepcopy(content)
    here = made
    for key in keys[:-1]:
        here = here[_own(here, key)]
    here[_own(here, keys[-1])] = value
    return made


def _own(mapping: Any, key: str | int) -> Any:
    """The key as the mapping has it: YAML reads 80 as a number, a path is text."""
    if isinstance(mapping, dict):
        return next((one for one in mapping if str(one) == key), key)
    return key
