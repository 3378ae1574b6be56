"""Words in texts, in any case, as regular expressions of a server.

These know neither letters nor case beyond ASCII. So there are two: one that is true only where the
words stand for sure, and one that is true wherever they may.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from connwatch.query import conditions
from connwatch.query.conditions import is_word
from connwatch.query.tree import Text
from connwatch.schema import DERIVED, STATES

from .dsl import NONE, Bounds, Dsl, any_of, either, exists, term

#: ASCII characters that are part of no word; and all that may be part of none
_SURELY: Final = "[\\\x00-\\/\\:-\\@\\[-\\^\\`\\{-\x7f]"
_MAYBE: Final = "[^a-zA-Z0-9\\_]"
#: characters beyond ASCII that are these letters in another case
_ALSO: Final = {"k": "\u212a", "s": "\u017f"}
#: characters of a regular expression that a server takes
_MOST: Final = 1_000
#: characters of a value that are looked for when it is too long
_BEGIN: Final = 40
#: what stands in these stands in another field as words too
_ELSEWHERE: Final = frozenset({"event.module", "observer.product", "network.protocol"})
#: all values of fields that are derived from a connection's state, and of those that never differ
_VALUES: Final[dict[str, list[str]]] = {
    "event.action": [action for _, _, action in STATES.values()],
    "event.type": ["connection", "info", *(one for _, each, _ in STATES.values() for one in each)],
    "event.outcome": ["success", "failure", "unknown"],
    "network.type": ["ipv4", "ipv6"],
    "zeek.connection.state_message": [message for message, _, _ in STATES.values()],
    **{
        name: pl.select(pl.concat_list(value).explode()).to_series().to_list()
        for name, value in DERIVED.items()
        if not value.meta.root_names()
    },
}


def words(name: str, value: Text) -> Bounds:
    """Where the value stands in the field as `connwatch.query.conditions.words` means it; nowhere
    in fields that only repeat what another one has."""
    if name in _ELSEWHERE:
        return Bounds.exactly(NONE)
    if name in _VALUES:
        known = pl.Series("known", _VALUES[name], dtype=pl.String).unique(maintain_order=True)
        found = known.to_frame().filter(conditions.words(pl.col("known"), value)).to_series()
        return Bounds.exactly(any_of(term(name, one) for one in found))
    if value.quoted or value.wild:
        return _phrase(name, value.parts)
    each = value.parts[0].split()
    if not each:
        return Bounds.exactly(term(name, value.parts[0]))
    return either(_phrase(name, (one,)) for one in each)


def _phrase(name: str, parts: tuple[str, ...]) -> Bounds:
    if not any(parts):
        return Bounds.exactly(exists(name))
    certain, possible = (_bounded(parts, sure=sure) for sure in (True, False))
    if max(len(certain), len(possible)) > _MOST:
        first = next(part for part in parts if part)[:_BEGIN]
        return Bounds(NONE, _regexp(name, f".*{_pattern((first,), sure=False)}.*"))
    return Bounds(_regexp(name, certain), _regexp(name, possible))


def _bounded(parts: tuple[str, ...], *, sure: bool) -> str:
    edge = _SURELY if sure else _MAYBE
    before = f"(.*{edge})?" if is_word(parts[0][:1]) else ".*"
    after = f"({edge}.*)?" if is_word(parts[-1][-1:]) else ".*"
    return f"{before}{_pattern(parts, sure=sure)}{after}"


def _pattern(parts: tuple[str, ...], *, sure: bool) -> str:
    return ".*".join("".join(_character(c, sure=sure) for c in part) for part in parts)


def _character(character: str, *, sure: bool) -> str:
    lower = character.lower()
    if not character.isascii():
        return character if sure else "."
    if lower.isalpha():
        return f"[{lower}{lower.upper()}{_ALSO.get(lower, '')}]"
    return character if character.isalnum() else f"\\{character}"


def _regexp(name: str, pattern: str) -> Dsl:
    return {"regexp": {name: {"value": pattern, "flags": "NONE"}}}
