"""STIX 2.1 bundles (and TAXII envelopes): the indicators whose patterns compare one thing.

    {"type": "bundle", "id": "bundle--…", "objects": [{"type": "indicator", "id": "indicator--…",
     "pattern": "[ipv4-addr:value = '203.0.113.7'] OR [domain-name:value = 'bad.example']",
     "pattern_type": "stix", "valid_from": "2026-01-01T00:00:00Z"}]}

Comparisons of `PATHS` with =, IN and ISSUBSET, joined by OR. Whatever else a pattern asks for (AND,
FOLLOWEDBY, NOT, WITHIN …) is not used, and said. https://docs.oasis-open.org/cti/stix/v2.1/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import polars as pl

from .table import ListOptions, clean, raw_rows, shown

#: object paths that a connection log can be compared with -> what their values are
PATHS: Final = {
    "ipv4-addr:value": "address",
    "ipv6-addr:value": "address",
    "network-traffic:src_ref.value": "address",
    "network-traffic:dst_ref.value": "address",
    "domain-name:value": "domain",
    "network-traffic:dst_port": "port",
}
_EQUAL: Final = ("=", "==", "IN", "ISSUBSET")
_OPERATORS: Final = frozenset(
    (*_EQUAL, "!=", "<>", "<", ">", "<=", ">=", "ISSUPERSET", "LIKE", "MATCHES", "NOT", "EXISTS")
)
#: characters of a pattern that are looked at
_LONGEST: Final = 65_536
_PIECE: Final = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\]|\\.)*')|(?P<word>[A-Za-z0-9_.:-]+)|(?P<sign>[!<>=]+|\S))",
    re.DOTALL,
)
#: what most patterns are: one comparison with one text
_SINGLE: Final = re.compile(r"\[\s*([a-z0-9:_.-]+)\s*=\s*'([^'\\]*)'\s*\]\Z")


class _UnusableError(Exception):
    """A pattern, or one comparison of it, that is not used; the message says why."""


def take(document: Mapping[str, Any], _options: ListOptions) -> pl.DataFrame:
    """The entries of a bundle as `RAW_SCHEMA`."""
    objects = document.get("objects")
    listed = objects if isinstance(objects, list) else []
    names = {
        _text(one, "id"): _text(one, "name")
        for one in listed
        if isinstance(one, dict) and one.get("type") == "identity"
    }
    return raw_rows(row for at, one in enumerate(listed) for row in _rows(at, one, names))


def _rows(at: int, one: object, names: Mapping[str | None, str | None]) -> Iterator[dict[str, Any]]:
    where = {"entry": f"objects[{at}]"}
    if not isinstance(one, dict):
        yield {**where, "text": shown(one), "reason": "not an object"}
        return
    if one.get("type") != "indicator":
        return
    pattern = _text(one, "pattern") or ""
    common = {
        **where,
        "valid_from": _text(one, "valid_from"),
        "valid_until": _text(one, "valid_until"),
        "provider": names.get(_text(one, "created_by_ref")),
        "reference": _reference(one),
        "description": _text(one, "description") or _text(one, "name"),
        "confidence": _text(one, "confidence"),
        "id": _text(one, "id"),
    }
    reason = _unused(one, pattern)
    if reason is not None:
        yield {**common, "text": pattern, "reason": reason}
        return
    try:
        for path, text, why in comparisons(pattern):
            found = {**common, "type": path.partition(":")[0], "want": PATHS.get(path)}
            yield {**found, "text": text, "reason": why}
    except _UnusableError as error:
        yield {**common, "text": pattern, "reason": str(error)}


def _unused(one: Mapping[str, Any], pattern: str) -> str | None:
    """Why the indicator as a whole is not used; None where it is."""
    if one.get("revoked") is True:
        return "revoked"
    language = one.get("pattern_type", "stix")
    if language != "stix":
        return f"pattern_type {shown(language)} is not read"
    for name in ("valid_from", "valid_until"):
        if one.get(name) is not None and not isinstance(one[name], str):
            return f"{name} is not a text"
    if not pattern:
        return "no pattern"
    return "a pattern that is too long" if len(pattern) > _LONGEST else None


def _text(one: Mapping[str, Any], key: str) -> str | None:
    value = one.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return clean(str(value))


def _reference(one: Mapping[str, Any]) -> str | None:
    listed = one.get("external_references")
    for reference in listed if isinstance(listed, list) else ():
        if isinstance(reference, dict) and (url := _text(reference, "url")):
            return url
    return None


def comparisons(pattern: str) -> list[tuple[str, str, str | None]]:
    """Object path, literal and why it is not used (None: it is) of every comparison of a pattern
    that joins them by OR; raises `_UnusableError` for any other pattern."""
    single = _SINGLE.match(pattern)
    if single is not None and single[1] in PATHS:
        return [(single[1], single[2], None)]
    return _Pattern(pattern).observations()


class _Pattern:
    """The pieces of one pattern, read from left to right; no recursion, so depth costs nothing."""

    def __init__(self, pattern: str) -> None:
        self._pieces = [found.group().strip() for found in _PIECE.finditer(pattern)]
        self._at = 0

    def observations(self) -> list[tuple[str, str, str | None]]:
        """[comparison OR comparison] OR [comparison] …, in any brackets."""
        found: list[tuple[str, str, str | None]] = []
        inside = False
        while True:
            while (piece := self._next()) in ("[", "("):
                inside = inside or piece == "["
            if not inside:
                raise _UnusableError("a pattern that cannot be read")
            found += self._comparison(piece)
            while (piece := self._next()) in ("]", ")"):
                inside = inside and piece != "]"
            if not piece and not inside:
                return found
            if not piece:
                raise _UnusableError("a pattern that cannot be read")
            if piece.upper() != "OR":
                raise _UnusableError(f"{piece[:40]} in a pattern is not matched, only OR")

    def _next(self) -> str:
        self._at += 1
        return self._pieces[self._at - 1] if self._at <= len(self._pieces) else ""

    def _comparison(self, path: str) -> list[tuple[str, str, str | None]]:
        while (operator := self._next().upper()) not in _OPERATORS:
            if not operator:
                raise _UnusableError("a pattern that cannot be read")
            path += operator
        if operator in ("NOT", "EXISTS"):
            raise _UnusableError(f"{operator} in a pattern is not matched")
        literals = self._set() if operator == "IN" else [self._literal(self._next())]
        why = None
        if path not in PATHS:
            why = f"{path[:60]} is not in connection logs"
        elif operator not in _EQUAL:
            why = f"{operator} in a pattern is not matched"
        return [(path, literal, why) for literal in literals]

    def _set(self) -> list[str]:
        if self._next() != "(":
            raise _UnusableError("a pattern that cannot be read")
        found = []
        while True:
            found.append(self._literal(self._next()))
            piece = self._next()
            if piece == ")":
                return found
            if piece != ",":
                raise _UnusableError("a pattern that cannot be read")

    def _literal(self, piece: str) -> str:
        if len(piece) >= 2 and piece[0] == piece[-1] == "'":
            return re.sub(r"\\(.)", r"\1", piece[1:-1], flags=re.DOTALL)
        if piece and (piece[0].isalnum() or piece[0] == "-"):
            return piece
        raise _UnusableError("a pattern that cannot be read")
