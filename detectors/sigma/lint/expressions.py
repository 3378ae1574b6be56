"""What characters a text must have to match a pattern, read off the pattern.

A *need* is a set of characters of which the text must have one; an alternative is a list of needs,
and a list of alternatives is a need as well. `possible` says whether text in given letters can meet
it. What is not understood is taken to be possible.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

Letters = Callable[[str], bool]
Need: TypeAlias = "frozenset[str] | Alternatives"

#: a need that nothing meets: an anchor where text has gone before, or follows
_NEVER: Final[frozenset[str]] = frozenset()
_KNOWN: Final = {"d": string.digits, "n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_WITHOUT_WIDTH: Final = "bBAzZ"


@dataclass(frozen=True, slots=True)
class Alternatives:
    """One of several lists of needs, each of which must be met wholly."""

    lists: tuple[tuple[Need, ...], ...]


def possible(needs: Sequence[Need], letters: Letters) -> bool:
    """Whether text that has only such letters can meet all needs."""
    return all(
        any(possible(one, letters) for one in need.lists)
        if isinstance(need, Alternatives)
        else any(map(letters, need))
        for need in needs
    )


def of_text(text: str, *, cased: bool) -> list[Need]:
    """The needs of plain text that stands somewhere in a value."""
    return [frozenset({char} if cased else {char.lower(), char.upper()}) for char in text]


def of_expression(pattern: str, flags: str) -> list[Need]:
    """The needs of a regular expression. flags: those of i, s, m that it has."""
    reader = _Reader(pattern, "i" in flags, "m" in flags)
    try:
        found = reader.alternatives()
    except (_UnreadError, IndexError, ValueError):  # of what str.index does not find
        return []
    return [found] if reader.at == len(pattern) else []


class _UnreadError(Exception):
    """Syntax that is not understood here."""


@dataclass(slots=True)
class _Reader:
    pattern: str
    insensitive: bool
    multiline: bool
    at: int = 0

    def alternatives(self) -> Alternatives:
        """Up to the end, or a closing parenthesis."""
        lists = [self._sequence()]
        while self.at < len(self.pattern) and self.pattern[self.at] == "|":
            self.at += 1
            lists.append(self._sequence())
        return Alternatives(tuple(lists))

    def _sequence(self) -> tuple[Need, ...]:
        needs: list[Need] = []
        consumed = ended = False  # text must stand before here; nothing may follow
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            char = self.pattern[self.at]
            if char in "^$":
                self.at += 1
                if not self.multiline:
                    if char == "^" and consumed:
                        needs.append(_NEVER)
                    ended = ended or char == "$"
                continue
            item = self._item(char)
            if item is None or not self._required():
                continue
            wide = char != "(" or any(_has_width(need) for need in item)
            if ended and wide:
                needs.append(_NEVER)
            consumed = consumed or wide
            needs.extend(item)
        return tuple(needs)

    def _item(self, char: str) -> list[Need] | None:
        """The needs of one item; none for any character, None for what has no width."""
        self.at += 1
        if char == "(":
            return self._group()
        if char == "[":
            return self._class()
        if char == ".":
            return []
        if char == "\\":
            return self._escape()
        return [self._cases(char)]

    def _group(self) -> list[Need]:
        if self.pattern[self.at] == "?":
            self.at += 1
            char = self.pattern[self.at]
            if char in "P<":
                self.at = self.pattern.index(">", self.at) + 1
            else:
                self._flags()
                if self.pattern[self.at] == ")":
                    self.at += 1
                    return []
                self.at += 1
        found = self.alternatives()
        self.at += 1  # the parenthesis
        return [found]

    def _flags(self) -> None:
        """Inline flags up to : or ), those that matter here kept."""
        start = self.at
        while self.pattern[self.at] not in ":)":
            self.at += 1
        named = self.pattern[start : self.at]
        if set(named) - set("ims"):
            raise _UnreadError
        self.insensitive = self.insensitive or "i" in named
        self.multiline = self.multiline or "m" in named

    def _class(self) -> list[Need]:
        start = self.at
        end = self.pattern.index("]", start + 1 if self.pattern[start] != "^" else start + 2)
        inside = self.pattern[start:end]
        self.at = end + 1
        if inside.startswith("^") or any(char in inside for char in "\\[&~"):
            if "[" in inside or inside.endswith("\\"):
                raise _UnreadError
            return []
        chars: set[str] = set()
        place = 0
        while place < len(inside):
            if place + 2 < len(inside) and inside[place + 1] == "-":
                first, last = ord(inside[place]), ord(inside[place + 2])
                if last - first > 256:
                    return []
                chars.update(map(chr, range(first, last + 1)))
                place += 3
            else:
                chars.add(inside[place])
                place += 1
        return [frozenset(one for char in chars for one in self._cases(char))]

    def _escape(self) -> list[Need] | None:
        char = self.pattern[self.at]
        self.at += 1
        if char in _WITHOUT_WIDTH:
            return None
        if char in _KNOWN:
            return [frozenset(_KNOWN[char])]
        if char in "xupPUc":
            raise _UnreadError
        return [] if char.isalpha() else [frozenset(char)]

    def _required(self) -> bool:
        """Whether the item before must occur; its quantifier is read."""
        required = True
        while self.at < len(self.pattern) and self.pattern[self.at] in "*+?{":
            char = self.pattern[self.at]
            if char == "{":
                end = self.pattern.index("}", self.at)
                least = self.pattern[self.at + 1 : end].split(",")[0]
                required = required and least.isdecimal() and int(least) > 0
                self.at = end + 1
            else:
                required = required and char == "+"
                self.at += 1
                if self.at < len(self.pattern) and self.pattern[self.at] == "?":
                    self.at += 1  # lazy: as many, in another order
        return required

    def _cases(self, char: str) -> frozenset[str]:
        return frozenset({char.lower(), char.upper()} if self.insensitive else {char})


def _has_width(need: Need) -> bool:
    if isinstance(need, Alternatives):
        return all(any(_has_width(one) for one in needs) for needs in need.lists)
    return True
