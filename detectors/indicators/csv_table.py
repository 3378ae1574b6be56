"""CSV and its kin: a header and one or more indicators a line.

    ip,port,valid_from,valid_until,description,source,confidence
    203.0.113.7,443,2026-01-01T00:00:00Z,2026-02-01T00:00:00Z,C2 of Example,Some CERT,90

Separated by comma, semicolon, tab or bar. The header is the first line that is no comment, or a
comment right before it, as abuse.ch writes it (`# Firstseen,DstIP,DstPort`) and Zeek's intelligence
files do (`#fields  indicator  indicator_type  meta.source`). Cells may stand in double quotes, and
then hold separators, doubled quotes and newlines.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Mapping
from itertools import islice
from typing import Final

import polars as pl

from connwatch.errors import ConfigError

from .table import RAW_SCHEMA, raw_rows, shaped

#: what a column is -> the names that headers give it, in lower case with _ for spaces and hyphens
NAMES: Final[dict[str, tuple[str, ...]]] = {
    "indicator": ("indicator", "ioc", "ioc_value", "indicator_value", "value", "host"),
    "ip": ("ip", "ip_address", "ipaddress", "dst_ip", "dstip", "src_ip", "ipv4", "ipv6", "address"),
    "network": ("network", "cidr", "subnet", "netblock", "prefix"),
    "domain": ("domain", "domain_name", "hostname", "fqdn"),
    "port": ("port", "dst_port", "dstport", "destination_port"),
    "valid_from": ("valid_from",),
    "valid_until": ("valid_until", "valid_to", "expires", "expires_at", "expiration", "expiry"),
    "type": ("type", "indicator_type", "ioc_type"),
    "description": ("description", "desc", "comment", "meta.desc", "malware", "note", "threat"),
    "provider": ("source", "provider", "feed", "meta.source"),
    "reference": ("reference", "link", "meta.url"),
    "confidence": ("confidence", "confidence_level"),
    "id": ("id", "uuid", "ioc_id"),
}  # fmt: skip

#: columns that hold what is looked for -> what it then has to be
_WANT: Final = {"indicator": None, "ip": "address", "network": "address", "domain": "domain"}
_SEPARATORS: Final = (",", ";", "\t", "|")

#: words of a type column -> what the indicator then has to be
_TYPES: Final = {
    **dict.fromkeys(("ip", "ipv4", "ipv6", "ipv4_addr", "ipv6_addr", "cidr"), "address"),
    **dict.fromkeys(("ip_src", "ip_dst", "ip:port", "intel::addr", "intel::subnet"), "address"),
    **dict.fromkeys(("domain", "domain_name", "hostname", "fqdn", "intel::domain"), "domain"),
    "port": "port",
}
#: words of a type column that connection logs have nothing to compare with
_OTHER: Final = (
    *("url", "uri", "email", "email_addr", "md5", "sha1", "sha256", "sha512", "hash"),
    *("md5_hash", "sha1_hash", "sha256_hash", "file", "filename", "file_name", "file_hash"),
    *("mutex", "user_name", "user_agent", "ja3", "ja3s", "intel::url", "intel::software"),
    *("intel::email", "intel::user_name", "intel::file_hash", "intel::file_name"),
    *("intel::cert_hash", "intel::pubkey_hash"),
)
#: bytes of a line of which cells are read together; the csv module takes no cell of 128 KiB
_LONGEST: Final = 100_000
#: lines that one quoted cell may go on for
_LINES: Final = 100


class Header:
    """Which cell is what: `cells` from a name of `NAMES` to its position, `width` cells a line."""

    def __init__(self, separator: str, cells: Mapping[str, int], width: int, line: int) -> None:
        self.separator = separator
        self.cells = cells
        self.width = width
        self.line = line


def header(lines: pl.DataFrame, columns: Mapping[str, str]) -> Header | None:
    """The header of a CSV file; None where the lines are no CSV.

    lines: the first lines of the file. columns: as in `ListOptions`. ConfigError where these name
    something that is not there.
    """
    _check(columns)
    comment: tuple[int, str] | None = None
    for number, text in lines.select("line", "text").iter_rows():
        if text.startswith("#"):
            shown = text.removeprefix("#fields\t")
            if shown != text or comment is None or _header(shown.lstrip("# "), number, columns):
                comment = (number, shown)
        elif text.strip():
            found = _header(text, number, columns)
            if found is None and comment is not None:
                found = _header(comment[1].lstrip("# "), comment[0], columns)
            if found is None and columns:
                raise ConfigError(
                    f"the header has no columns {', '.join(columns.values())}",
                    hint=f"it is {text[:200]!r}",
                )
            return found
    if columns:
        raise ConfigError("no header, but columns are named", hint="the list is empty")
    return None


def _check(columns: Mapping[str, str]) -> None:
    for name in columns:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, 1)
            raise ConfigError(
                f"{name!r} is not a column of a list",
                hint=f"did you mean {near[0]!r}?" if near else f"known: {', '.join(NAMES)}",
            )


def _header(text: str, line: int, columns: Mapping[str, str]) -> Header | None:
    for separator in _SEPARATORS:
        try:
            (cells,) = csv.reader([text], delimiter=separator, skipinitialspace=True)
        except (csv.Error, ValueError):
            continue
        names = [cell.strip().lower().replace(" ", "_").replace("-", "_") for cell in cells]
        if columns:
            plain = [cell.strip() for cell in cells]
            chosen = {what: plain.index(name) for what, name in columns.items() if name in plain}
            if len(chosen) < len(columns):
                continue
        else:
            chosen = {}
        for what, known in NAMES.items():
            found = next((names.index(name) for name in known if name in names), None)
            if what not in chosen and found is not None and found not in chosen.values():
                chosen[what] = found
        if chosen.keys() & {*_WANT, "port"}:
            return Header(separator, chosen, len(cells), line)
    return None


def take(lines: pl.DataFrame, found: Header) -> pl.DataFrame:
    """The entries of a file as `RAW_SCHEMA`; a line that holds several gives several."""
    body = lines.filter(
        (pl.col("line") != found.line)
        & (pl.col("text").str.strip_chars() != "")
        & ~pl.col("text").str.starts_with("#")
    )
    rows, bad = split(body, found)
    parts = [_entries(rows, found, what) for what in _WANT if what in found.cells]
    parts.append(_without(rows, found))
    return pl.concat([*parts, bad]).sort("line", maintain_order=True)


def split(
    body: pl.DataFrame, found: Header, *, exactly: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The cells of each record, as columns named by what they are, and lines that are no record.

    exactly: one record after another even where quotes are simple; the answer is the same.
    """
    if not bool(body["text"].str.contains('"', literal=True).any()):
        return _unquoted(body, found)
    simple = (
        body["text"].str.contains(_simple(found))
        & (body["text"].str.len_bytes() < _LONGEST)
        & (not exactly)
    )
    rows, bad, taken = _records(body, ~simple, found)
    return pl.concat([_simply(body.filter(simple & ~taken), found), rows]).sort("line"), bad


def _simple(found: Header) -> str:
    """An expression for lines of `width` cells, each quoted as a whole without a quote in it, or
    not at all."""
    separator = re.escape(found.separator)
    cell = f'(?: *"[^"]*"|[^"{separator}]*)'
    return f"^{cell}(?:{separator}{cell}){{{found.width - 1}}}$"


def _unquoted(body: pl.DataFrame, found: Header) -> tuple[pl.DataFrame, pl.DataFrame]:
    cells = body.with_columns(pl.col("text").str.split(found.separator).alias("cells"))
    length = pl.col("cells").list.len()
    rows = cells.filter(length == found.width).select(
        "line", *(pl.col("cells").list.get(at).alias(name) for name, at in found.cells.items())
    )
    reason = pl.format("{} cells, the header has {}", length, found.width)
    bad = cells.filter(length != found.width).select("line", "text", reason.alias("reason"))
    return rows, shaped(bad, RAW_SCHEMA)


def _simply(body: pl.DataFrame, found: Header) -> pl.DataFrame:
    """The cells of lines for which `_simple` holds."""
    separator = re.escape(found.separator)
    text = body["text"].str.replace_all(f'(^|{separator}) +"', '${1}"')
    cells = pl.read_csv(
        text.str.join("\n").item().encode(),
        has_header=False,
        separator=found.separator,
        schema={f"{at}": pl.String for at in range(found.width)},
        empty_string_is_null=False,
        raise_if_empty=False,
    )
    return pl.DataFrame(
        [body["line"], *(cells[f"{at}"].alias(name) for name, at in found.cells.items())]
    )


def _records(
    body: pl.DataFrame, todo: pl.Series, found: Header
) -> tuple[pl.DataFrame, pl.DataFrame, pl.Series]:
    """The records that begin on the lines marked in `todo`, one at a time, as `split` has them,
    and a mark on every line that is part of one."""
    texts, numbers = body["text"].to_list(), body["line"].to_list()
    rows: list[list[str]] = []
    lines: list[int] = []
    taken: list[int] = []
    bad: list[dict[str, object]] = []
    behind = 0
    for at in todo.arg_true():
        if at < behind:
            continue
        cells, behind = _record(texts, at, found.separator)
        taken.extend(range(at, behind))
        if cells is not None and len(cells) == found.width:
            rows.append(cells)
            lines.append(numbers[at])
            continue
        reason = "a quote that is not closed, or not at the ends of its cell"
        if cells is not None:
            reason = f"{len(cells)} cells, the header has {found.width}"
        bad.append({"line": numbers[at], "text": texts[at], "reason": reason})
    columns = {
        name: pl.Series([row[i] for row in rows], dtype=pl.String)
        for name, i in found.cells.items()
    }
    every = pl.int_range(len(texts), dtype=pl.Int64, eager=True)
    marks = every.is_in(pl.Series(taken, dtype=pl.Int64).implode())
    frame = pl.DataFrame({"line": pl.Series(lines, dtype=pl.Int64), **columns})
    return frame, raw_rows(bad), marks


def _record(texts: list[str], at: int, separator: str) -> tuple[list[str] | None, int]:
    """The cells of the record that begins on a line, and the line behind it. None where its quotes
    are wrong: then that line alone is lost, for the quote may not be meant as one."""
    following = (f"{text}\n" for text in islice(texts, at, at + _LINES))
    reader = csv.reader(following, delimiter=separator, strict=True, skipinitialspace=True)
    try:
        return next(reader), at + reader.line_num
    except csv.Error:
        return None, at + 1


def _entries(rows: pl.DataFrame, found: Header, what: str) -> pl.DataFrame:
    """The entries that stand in the column `what`, with the rest of their lines."""
    want: pl.Expr = pl.lit(_WANT[what], pl.String)
    reason: pl.Expr = pl.lit(None, pl.String)
    if what == "indicator" and "type" in found.cells:
        word = pl.col("type").str.strip_chars().str.to_lowercase().str.replace_all("[- ]", "_")
        want = word.replace_strict(_TYPES, default=None, return_dtype=pl.String)
        reason = pl.when(word.is_in(_OTHER)).then(
            pl.format("type {} is not in connection logs", pl.col("type").str.slice(0, 40))
        )
    present = pl.col(what).str.strip_chars() != ""
    return shaped(
        rows.filter(present).with_columns(
            pl.col(what).alias("text"), want.alias("want"), reason.alias("reason")
        ),
        RAW_SCHEMA,
    )


def _without(rows: pl.DataFrame, found: Header) -> pl.DataFrame:
    """Lines that name no address, network or domain: their port, or nothing."""
    empty = pl.lit(value=True)
    for what in _WANT:
        if what in found.cells:
            empty &= pl.col(what).str.strip_chars() == ""
    text = pl.col("port") if "port" in found.cells else pl.lit("")
    bare = rows.filter(empty).with_columns(text.alias("text"), pl.lit("port").alias("want"))
    return shaped(bare, RAW_SCHEMA)
