"""Fields of a Zeek text log that the schema does not know, as its JSON writer would write them."""

from __future__ import annotations

from typing import Final

import polars as pl

from .extra import member
from .zeek_header import Header, set_items, unescaped

_NUMBERS: Final[dict[str, type[pl.DataType]]] = {
    "count": pl.Int64,
    "int": pl.Int64,
    "port": pl.Int64,
    "double": pl.Float64,
    "time": pl.Float64,
    "interval": pl.Float64,
}


def unknown_member(column: pl.Expr, name: str, declared: str, header: Header) -> pl.Expr:
    """`"name":value` by the type that the header declares; as text where it does not hold that."""
    if declared.partition("[")[0] in ("set", "vector", "table"):
        return member(set_items(column, header), name)
    text = unescaped(column.replace({header.empty: ""}))
    if declared == "bool":
        typed = column.replace_strict({"T": True, "F": False}, default=None)
    elif declared in _NUMBERS:
        typed = column.cast(_NUMBERS[declared], strict=False)
        if _NUMBERS[declared] is pl.Float64:
            typed = pl.when(typed.is_finite()).then(typed)
    else:
        return member(text, name)
    return pl.coalesce(member(typed, name), member(text, name))
