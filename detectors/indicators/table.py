"""The tables of threat indicators: what a list holds once it is read, and what could not be used.

A format (`plain`, `csv_table`, `stix`, `misp`) only takes a file apart into `RAW_SCHEMA`, all text;
`values.resolve` gives the text its meaning, so that an address means the same in every format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from connwatch.schema import UTC

_S: Final = pl.String()

#: One indicator.
#: kind: address, network, port or domain. value: its canonical text (a domain in lower case and as
#: ASCII, a network as first/length). version: 4 or 6 of addresses and networks, else null. first,
#: last: bounds of an address or network as numbers, both included; else null. port: the port that
#: an indicator of kind port names; of the others the port that must be seen too, null for any.
#: valid_from, valid_until: valid_from <= time of the event < valid_until; null is open. provider:
#: who says so, never null. reference, description, type (the feed's own word), id (the feed's own):
#: null where not given. confidence: None, Low, Medium, High or Not Specified, as ECS has it.
#: file: the list it stands in. line: from 1, null in JSON. entry: where in JSON, else null.
ENTRY_SCHEMA: Final[dict[str, pl.DataType]] = {
    "kind": _S,
    "value": _S,
    "version": pl.Int8(),
    "first": pl.UInt128(),
    "last": pl.UInt128(),
    "port": pl.Int64(),
    "valid_from": UTC,
    "valid_until": UTC,
    "provider": _S,
    "reference": _S,
    "description": _S,
    "confidence": _S,
    "type": _S,
    "id": _S,
    "file": _S,
    "line": pl.Int64(),
    "entry": _S,
}

#: An entry that is not used. raw: its beginning, `KEPT` characters; hostile text.
REJECT_SCHEMA: Final[dict[str, pl.DataType]] = {
    "file": _S,
    "line": pl.Int64(),
    "entry": _S,
    "reason": _S,
    "raw": _S,
}

#: What a format takes out of a file. want: address, domain or port where the list says what the
#: text is (address is a network too), else null. reason: not null for what the format itself
#: cannot use; the rest of the row but line, entry and text is then not looked at.
RAW_SCHEMA: Final[dict[str, pl.DataType]] = {
    "text": _S,
    "want": _S,
    "port": _S,
    "valid_from": _S,
    "valid_until": _S,
    "provider": _S,
    "reference": _S,
    "description": _S,
    "confidence": _S,
    "type": _S,
    "id": _S,
    "line": pl.Int64(),
    "entry": _S,
    "reason": _S,
}

#: characters of a rejected entry, and of a description, that are kept
KEPT: Final = 200
DESCRIPTION: Final = 1024


@dataclass(frozen=True, slots=True)
class ListOptions:
    """How a list is to be read, where its content does not say.

    provider: who says so, for entries that do not name one; None: the file's name. columns: of
    CSV, from a name of `csv_table.NAMES` to the header's; given, the file is CSV. all_attributes:
    take attributes of MISP without `to_ids` as well.
    """

    provider: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    all_attributes: bool = False


def shaped(frame: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The columns of the schema, in its order and of its types; null where the frame has none."""
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in schema.items()
    )


def raw_rows(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows as `RAW_SCHEMA`, null where a row has no such key."""
    listed = list(rows)
    return pl.DataFrame(
        {
            name: pl.Series(name, [row.get(name) for row in listed], dtype=dtype)
            for name, dtype in RAW_SCHEMA.items()
        }
    )


def clean(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON can hold and no column takes."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shown(value: object) -> str:
    """The beginning of a text, or what else stands where one should: for rejects."""
    return clean(value[:KEPT]) if isinstance(value, str) else f"({type(value).__name__})"
