"""KQL text to a tree. Mistakes are QueryErrors that point at the character."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Any, Final

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from rich.cells import cell_len

from connwatch.errors import QueryError

from .tree import And, Compare, Everything, Match, Nested, Node, Not, Or, Query, Text, levels

MAX_LENGTH: Final = 100_000  # characters
MAX_DEPTH: Final = 100  # levels of the tree

_ESCAPE: Final = re.compile(
    r"\\(?:u(?P<code>[0-9a-fA-F]{4})"
    r"|(?P<keyword>(?i:and|or|not))(?![^\\():<>\"{} \t\r\n\u00a0])"
    r"|(?P<blank>[trn])|(?P<word>(?i:and|or))|(?P<special>[\\():<>\"*{}]))"
    r"|(?P<wildcard>\*)"
)
_QUOTED_ESCAPE: Final = re.compile(
    r"\\(?:u(?P<code>[0-9a-fA-F]{4})|(?P<blank>[trn])|(?P<special>[\\\"]))"
)
_BLANKS: Final = {"t": "\t", "r": "\r", "n": "\n"}


def parse(text: str) -> Query:
    """Read a KQL query; the empty query matches everything.

    Raises QueryError with the place of the mistake and, where one can be guessed, the way out.
    """
    if len(text) > MAX_LENGTH:
        raise QueryError(f"the query is longer than {MAX_LENGTH:,} characters")
    if not text.isascii():
        _check_unicode(text)
    try:
        root = _parser().parse(text)
    except UnexpectedInput as error:
        raise _explain(text, error) from None
    except _LoneSurrogateError as error:
        raise pointed(text, error.args[0], "half of a surrogate pair in \\u escapes") from None
    query = Query(root, text)  # type: ignore[arg-type]  # the transformer's start() gives a Node
    if sum(1 for _ in levels(query.root)) > MAX_DEPTH:
        raise QueryError(f"the query is nested more than {MAX_DEPTH} levels deep")
    return query


def pointed(source: str, at: int, message: str, hint: str | None = None) -> QueryError:
    """An error about the character of `source` at `at` (from 0), with a caret below it."""
    start = source.rfind("\n", 0, at) + 1
    end = source.find("\n", at)
    line = source[start : len(source) if end < 0 else end]
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    caret = " " * cell_len(shown[: at - start]) + "^"
    return QueryError(
        f"{message}\n    {shown}\n    {caret}", where=f"query, character {at + 1}", hint=hint
    )


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise pointed(text, error.start, "this character is not valid Unicode") from None


@cache
def _parser() -> Lark:
    grammar = resources.files(__package__).joinpath("kql.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer="basic", transformer=_Builder())


class _Values:
    """What stands behind `field:` until the field is known: a tree of values."""

    def __init__(self, shape: type[And] | type[Or] | type[Not] | None, items: list[Any]) -> None:
        self.shape = shape
        self.items = items

    def of(self, field: Text) -> Node:
        if self.shape is None:
            return Match(field, self.items[0])
        if self.shape is Not:
            return Not(self.items[0].of(field))
        joined = And if self.shape is And else Or
        return joined(tuple(item.of(field) for item in self.items))


class _Builder(Transformer[Token, Node]):
    """One method per alias of the grammar; runs while parsing, so depth costs no recursion."""

    def start(self, found: list[Node]) -> Node:
        return found[0] if found else Everything()

    def any_of(self, items: list[Any]) -> Any:
        return _Values(Or, items) if isinstance(items[0], _Values) else Or(tuple(items))

    def all_of(self, items: list[Any]) -> Any:
        return _Values(And, items) if isinstance(items[0], _Values) else And(tuple(items))

    def negation(self, items: list[Any]) -> Any:
        return _Values(Not, items) if isinstance(items[0], _Values) else Not(items[0])

    def value(self, items: list[Text]) -> _Values:
        return _Values(None, items)

    def match(self, items: list[Any]) -> Node:
        field, values = items
        return values.of(field)  # type: ignore[no-any-return]

    def anywhere(self, items: list[Text]) -> Node:
        return Match(None, items[0])

    def compare(self, items: list[Any]) -> Node:
        field, operator, value = items
        return Compare(field, str(operator), value)

    def nested(self, items: list[Any]) -> Node:
        return Nested(*items)

    def quoted(self, items: list[Token]) -> Text:
        at = items[0].start_pos or 0
        return Text((_paired(_QUOTED_ESCAPE.sub(_decode, items[0][1:-1]), at),), True, at)

    def words(self, items: list[Token]) -> Text:
        at = items[0].start_pos or 0
        parts, end = [""], 0
        for found in _ESCAPE.finditer(items[0]):
            parts[-1] += items[0][end : found.start()]
            end = found.end()
            if found["wildcard"]:
                parts.append("")
            else:
                parts[-1] += _decode(found)
        parts[-1] += items[0][end:]
        return Text(tuple(_paired(part, at) for part in parts), False, at)


def _decode(found: re.Match[str]) -> str:
    groups = found.groupdict()
    if groups["code"]:
        return chr(int(groups["code"], 16))
    if groups["blank"]:
        return _BLANKS[groups["blank"]]
    return groups.get("keyword") or groups.get("word") or str(groups["special"])


class _LoneSurrogateError(Exception):
    """Half of a character beyond U+FFFF, written as one escape; `args[0]` is where."""


def _paired(text: str, at: int) -> str:
    """Join characters written as two \\uXXXX escapes."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        raise _LoneSurrogateError(at) from None


_ENDS: Final = {
    "RPAR": "a ')' without its '('",
    "RBRACE": "a '}' without its '{'",
    "_AND": "'and' needs something on both sides",
    "_OR": "'or' needs something on both sides",
    "_NOT": "'not' cannot stand here",
    "RANGE": "a comparison needs a field before it",
}
_KEYWORD_HINT: Final = "to search for the word itself, escape it (\\{0}) or quote it"


def _explain(source: str, error: UnexpectedInput) -> QueryError:
    if isinstance(error, UnexpectedCharacters):
        return _bad_character(source, error.pos_in_stream or 0)
    if isinstance(error, UnexpectedToken):
        if error.token.type == "$END":
            return _unfinished(source, error)
        return _misplaced(source, error)
    return pointed(source, error.pos_in_stream or 0, "the query cannot be read here")


def _bad_character(source: str, at: int) -> QueryError:
    if source[at] == '"':
        return pointed(source, at, "this quote is not closed", 'a " inside quotes is written \\"')
    if source[at] == "\\":
        return pointed(
            source,
            at,
            "a backslash must escape something",
            'write \\\\ for a backslash; the escapes are \\( \\) \\: \\< \\> \\" \\* \\{ \\} '
            "\\t \\r \\n \\uXXXX \\and \\or \\not",
        )
    return pointed(source, at, f"{source[at]!r} cannot stand here")


def _unfinished(source: str, error: UnexpectedToken) -> QueryError:
    end = len(source.rstrip())
    if opened := _unclosed(source):
        at, closing = opened
        if closing in (error.accepts or error.expected):
            name = {"RPAR": "parenthesis", "RBRACE": "brace"}[closing]
            return pointed(source, at, f"this {name} is not closed")
    return pointed(source, end, "the query ends too early", _before(source, end))


def _misplaced(source: str, error: UnexpectedToken) -> QueryError:
    token = error.token
    at = token.start_pos or 0
    before = source[:at].rstrip()
    previous = before[-1:]
    if token.type == "COLON":
        return pointed(
            source,
            at,
            "':' cannot stand here",
            "quote a value that holds ':' (an IPv6 address, a time), "
            'as in source.ip: "2001:db8::1"; join conditions with and / or',
        )
    if token.type in ("WORDS", "QUOTED", "LPAR") and previous not in ("", "(", "{", ":"):
        return pointed(source, at, "something is missing before this", "join with and / or")
    if token.type == "RANGE" and previous == ":":
        return pointed(source, at, "a comparison takes no ':'", "write field > 5")
    if token.type in ("LBRACE", "LPAR"):
        return pointed(source, at, f"{token.value!r} cannot stand here")
    if token.type == "_NOT":
        hint = "write not field: value, or field: (not value)"
        return pointed(source, at, _ENDS[token.type], f"{hint}; {_KEYWORD_HINT.format('not')}")
    if token.type in ("_AND", "_OR"):
        return pointed(source, at, _ENDS[token.type], _KEYWORD_HINT.format(token.value))
    if token.type in ("RPAR", "RBRACE") and token.type in _closings(source, at):
        return pointed(source, at, f"something is missing before {token.value!r}")
    return pointed(source, at, _ENDS.get(token.type, f"{token.value!r} cannot stand here"))


def _before(source: str, end: int) -> str | None:
    word = re.search(r"(?i)(?:^|[\s()])(and|or|not)$", source[:end])
    return _KEYWORD_HINT.format(word[1]) if word else None


def _open(source: str, end: int) -> list[tuple[int, str]]:
    """Where brackets stand that are open at `end`, each with the terminal that closes it."""
    found: list[tuple[int, str]] = []
    skip = re.compile(r'\\[\s\S]|"(?:\\[\s\S]|[^"\\])*"|[(){}]')
    for bracket in skip.finditer(source, 0, end):
        if bracket[0] in "({":
            found.append((bracket.start(), "RPAR" if bracket[0] == "(" else "RBRACE"))
        elif bracket[0] in ")}" and found:
            found.pop()
    return found


def _unclosed(source: str) -> tuple[int, str] | None:
    found = _open(source, len(source))
    return found[-1] if found else None


def _closings(source: str, at: int) -> set[str]:
    found = _open(source, at)
    return {found[-1][1]} if found else set()
