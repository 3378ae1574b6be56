"""Rules with `analytic: {type: indicators}`: a filter as in any rule, and lists that decide.

analytic:
  type: indicators
  lists: [feeds/bad.txt, feeds/botnets.csv]   # beside the rule file
  entries: [203.0.113.7, {indicator: 198.51.100.0/24, valid_until: 2026-12-01}]
  allow: [feeds/ours.txt]
  provider: Example CERT                      # for entries that do not name one
  columns: {ip: Adresse}                      # of CSV
  match: [addresses, ports, names]
  by: [source.ip, destination.ip]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Final

from connwatch.errors import ConnwatchError, RuleError
from connwatch.schema import STORED

from ..indicators import Fields, IndicatorList, ListOptions, Lists, inline
from ..listed import Listed
from ..ruleset import Rule, Unfed
from .documents import RuleDocument
from .faults import check_nested
from .single import Context, single

TYPE: Final = "indicators"
_KEYS: Final = (
    "type", "lists", "entries", "allow", "provider", "columns", "match", "by",
)  # fmt: skip
_BY: Final = ["source.ip", "destination.ip"]
#: columns in which indicators are looked for; those that no record has yet are left out
_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "addresses": ("source.ip", "destination.ip"),
    "ports": ("destination.port",),
    "names": ("dns.question.name", "tls.client.server_name", "url.domain"),
}
_SECTION: Final = "analytic"


def indicators(document: RuleDocument, context: Context) -> Rule | Unfed:
    """A rule with lists, ready to run; RuleError says what is wrong with it, or with a list."""
    check_nested(document, _SECTION, _KEYS)
    block = document.content[_SECTION]
    if "group-by" in document.content:
        raise RuleError(
            "group-by has no meaning beside an analytic",
            where=document.where("group-by"),
            hint="analytic: by: says what alerts are grouped by",
        )
    kept = {key: value for key, value in document.content.items() if key != _SECTION}
    kept.setdefault("detection", {"every": {"event.dataset": "*"}, "condition": "every"})
    kept["group-by"] = block.get("by", _BY)
    base = single(replace(document, content=kept), context)
    if isinstance(base, Unfed):
        return base
    listed = _listed(document, block, context)
    return replace(base, needs=base.needs.union(listed.columns), listed=listed)


def _listed(document: RuleDocument, block: Mapping[str, Any], context: Context) -> Listed:
    fields = _fields(document, block)
    options = ListOptions(_provider(document, block), _csv_columns(document, block))
    named = _files(document, block, "lists")
    entries = _entries(document, block, options)
    if not named and entries is None:
        raise RuleError(
            "an analytic of the type indicators has lists or entries",
            where=document.where("type", _SECTION, section=_SECTION),
            hint="lists: [FILE, …] are paths beside the rule file",
        )
    allowed = _files(document, block, "allow")
    return Listed(
        _read(document, named, options, context, entries),
        fields,
        _read(document, allowed, ListOptions(), context) if allowed else None,
    )


def _fields(document: RuleDocument, block: Mapping[str, Any]) -> Fields:
    chosen = _texts(document, block, "match") or list(_COLUMNS)
    for one in chosen:
        if one not in _COLUMNS:
            raise RuleError(
                f"match: there is no {one!r}",
                where=document.where(one, section=_SECTION),
                hint=f"there are {', '.join(_COLUMNS)}",
            )
    found = {
        kind: tuple(name for name in names if name in STORED) if kind in chosen else ()
        for kind, names in _COLUMNS.items()
    }
    if not any(found.values()):
        raise RuleError(
            f"match: no record here has {' or '.join(chosen)}",
            where=document.where("match", section=_SECTION),
        )
    return Fields(**found)


def _provider(document: RuleDocument, block: Mapping[str, Any]) -> str | None:
    value = block.get("provider")
    if value is not None and not isinstance(value, str):
        raise RuleError("provider must be text", where=document.where("provider", section=_SECTION))
    return value


def _csv_columns(document: RuleDocument, block: Mapping[str, Any]) -> dict[str, str]:
    value = block.get("columns", {})
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise RuleError(
            "columns is a mapping of what a column holds to its name in the header",
            where=document.where("columns", section=_SECTION),
            hint="such as {ip: Adresse}; docs/indicators.md lists what a column can hold",
        )
    return {str(name): one for name, one in value.items()}


def _files(document: RuleDocument, block: Mapping[str, Any], key: str) -> dict[str, Path]:
    """Paths by the text that named them."""
    folder = Path(document.path).parent
    return {name: folder / name for name in _texts(document, block, key)}


def _texts(document: RuleDocument, block: Mapping[str, Any], key: str) -> list[str]:
    value = block.get(key, [])
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise RuleError(f"{key} is a list of texts", where=document.where(key, section=_SECTION))
    return listed


def _read(
    document: RuleDocument,
    files: Mapping[str, Path],
    options: ListOptions,
    context: Context,
    given: IndicatorList | None = None,
) -> Lists:
    """The lists; rules that name the same ones in the same way share them."""
    key = (tuple(files.values()), options.provider, tuple(sorted(options.columns.items())))
    if given is None and key in context.lists:
        return context.lists[key]
    try:
        made = Lists(list(files.values()), options, () if given is None else (given,))
    except ConnwatchError as error:
        about = next((name for name, path in files.items() if str(path) == error.where), "lists")
        raise RuleError(
            f"the list {error.where} cannot be used: {error.message}",
            where=document.where(about, "lists", section=_SECTION),
            hint=error.hint,
        ) from error
    if given is None:
        context.lists[key] = made
    return made


def _entries(
    document: RuleDocument, block: Mapping[str, Any], options: ListOptions
) -> IndicatorList | None:
    """Those that stand in the rule itself; each must be right."""
    value = block.get("entries")
    if value is None:
        return None
    if not isinstance(value, list):
        raise RuleError("entries is a list", where=document.where("entries", section=_SECTION))
    rows = []
    for one in value:
        row = one if isinstance(one, dict) else {"indicator": one}
        texts = {str(key): _text(cell) for key, cell in row.items() if cell is not None}
        where = document.where(texts.get("indicator", "entries"), "entries", section=_SECTION)
        rows.append({**texts, "line": int(where.rpartition(":")[2])})
    try:
        read = inline(rows, document.path, options.provider or Path(document.path).stem)
    except ConnwatchError as error:
        where = document.where("entries", section=_SECTION)
        raise RuleError(f"entries: {error.message}", where=where, hint=error.hint) from error
    if read.rejects.height:
        line, raw, reason = read.rejects.select("line", "raw", "reason").row(0)
        raise RuleError(f"the entry {raw!r}: {reason}", where=f"{document.path}:{line}")
    return read


def _text(value: object) -> str:
    """YAML makes dates and numbers of what a list holds as text."""
    return value.isoformat() if isinstance(value, date) else str(value)
