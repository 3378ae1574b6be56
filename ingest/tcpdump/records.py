"""Lines as records: a packet's first line, and those that continue it.

A record begins with a line that tells a time. What follows it is a line that is indented (`-v`, the
bytes of `-x` and `-X`), an inner packet at the beginning of a line, as VXLAN has them, or the text
of a packet (`-A`), which may hold anything. Without times (`-t`) a record begins with the word for
what it holds.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from .clock import NUMBER, START

#: what tcpdump says beside packets
COMMENT: Final = (
    r"^(?:tcpdump: |listening on |reading from |dropped privs to |\^C|"
    r"[0-9]+ packets? (?:captured|received by filter|dropped by (?:kernel|interface))$|"
    r"Warning: |tcpdump version |libpcap version )"
)
#: that packets are missing
DROPPED: Final = r"^[1-9][0-9]* packets? dropped by (?:kernel|interface)$"
_MAC: Final = r"[0-9A-Fa-f]{1,2}(?::[0-9A-Fa-f]{1,2}){5}"
#: what a record without a time begins with
WORDS: Final = (
    rf"{NUMBER}(?:IP6?[ ,:]|ARP[, ]|RARP[, ]|arp |rarp |{_MAC} [>(]|"
    rf"(?:\S{{1,16}} +)?(?:In|Out|B|M|P) +(?:IP6? |ARP|{_MAC}|ifindex )|"
    r"STP |LLDP|CDPv|DTPv|VTPv|UDLDv|LACPv|EAPOL|EAP |IPX |IS-IS|PPPoE|MPLS |Loopback|802\.|"
    r"AF |family |LLC,|Unknown |BRCM tag|DSA |lldp|[0-9]{1,4}us tsft)"
)
#: bytes of a dump
DUMP: Final = r"^\s+0x[0-9a-f]{4,6}:  "
#: a line that continues a record, and that nobody else prints
_INDENTED: Final = r"^[ \t]+[^\s]"
#: an inner packet at the beginning of a line; "[|" says there that a decoder's text was cut
INNER: Final = rf"^(?:IP6?[ ,]|ARP, |{_MAC} > |STP )"
#: a packet's first bytes as text: version 4 or 6, ARP's hardware type
_LETTERS: Final = r"^(?:[E-O`a-o][\x20-\x7e]|\.[\t\x20-\x7e])"
#: that the inner packet begins on the next line
ENCLOSING: Final = r"(?:VXLAN|VXLAN-GPE|Geneve|NSH|LISP|OTV), [^:\n]{0,200}$"
ORPHAN: Final = "is no packet and continues none"


def grouped(lines: pl.DataFrame, *, times: bool, alone: bool = False) -> pl.DataFrame:
    """With columns begins (first line of a record), record (its number, 0: of none before the
    first) and kind: "" of a record, comment, orphan. lines: raw, line, offset, text.

    times: whether records begin with a time. alone: whether every line is known to be one.
    """
    text = pl.col("text")
    if alone:
        return lines.with_columns(
            begins=pl.lit(value=True),
            record=pl.int_range(1, pl.len() + 1, dtype=pl.UInt32),
            kind=pl.lit(""),
        )
    lines = lines.with_columns(text.str.contains(START if times else WORDS).alias("begins"))
    if not times:
        before = text.shift(1).fill_null("")
        enclosed = before.str.contains(ENCLOSING) & text.str.contains(INNER)
        lines = lines.with_columns(pl.col("begins") & ~enclosed)
    if lines["begins"].all():
        return grouped(lines, times=times, alone=True)
    number = pl.col("begins").cum_sum().cast(pl.UInt32)
    if (
        lines["begins"][0]
        and lines.select(pl.col("begins") | text.str.contains(_INDENTED)).to_series().all()
    ):
        return lines.with_columns(record=number, kind=pl.lit(""))
    comment = text.str.contains(COMMENT) & ~pl.col("begins")
    plain = ~pl.col("begins") & ~comment & ~text.str.contains(r"^\s") & (text != "")
    lines = lines.with_columns(comment=comment, plain=plain, record=number)
    lines = lines.with_columns(text_dump=_text_dump(lines))
    inner = text.str.contains(INNER) | text.str.starts_with("[|")
    blank = text.str.strip_chars() == ""
    kind = (
        pl.when("begins")
        .then(pl.lit(""))
        .when("comment")
        .then(pl.lit("comment"))
        .when("text_dump")
        .then(pl.lit(""))
        .when(blank)
        .then(pl.lit("comment"))
        .when((pl.col("record") == 0) | (pl.col("plain") & ~inner))
        .then(pl.lit("orphan"))
        .otherwise(pl.lit(""))
    )
    return lines.with_columns(kind=kind).drop("comment", "plain", "text_dump")


def _text_dump(lines: pl.DataFrame) -> pl.Series:
    """Whether a line belongs to a packet as text (-A): it or one before it in its record begins
    like the bytes of a packet, and not with an inner packet's word."""
    text = pl.col("text")
    dumped = pl.col("plain") & (pl.col("record") > 0) & text.str.contains(_LETTERS)
    first = lines.select(pl.when(dumped & ~text.str.contains(INNER)).then("record")).to_series()
    if not first.is_not_null().any():
        return pl.repeat(False, lines.height, eager=True)
    # A column, as a range would begin anew with every record.
    lines = lines.with_row_index("row")
    begins = pl.when(dumped).then("row").min().over("record")
    return lines.select((begins <= pl.col("row")).fill_null(value=False)).to_series()


def records(lines: pl.DataFrame) -> pl.DataFrame:
    """One row per record, of lines that belong to one (kind ""): line, offset of the first line;
    lines; raw; text, the first line's; more, the other lines but those with bytes, null: none;
    dump, the lines with bytes, null: none; record, its number."""
    if lines["begins"].all():
        none = pl.lit(None, pl.String)
        return lines.select(
            "line", "offset", "raw", "text", "record",
            lines=pl.lit(1, pl.Int64), more=none, dump=none,
        )  # fmt: skip
    count = (
        lines["begins"].arg_true().cast(pl.Int64).extend(pl.Series([lines.height], dtype=pl.Int64))
    )
    count = count.diff(null_behavior="drop")
    if count.max() == 2:
        return _pairs(lines, count)
    rest = ~pl.col("begins")
    bytes_ = rest & pl.col("text").str.contains(DUMP)
    lines = lines.with_columns(_bytes=bytes_, _more=rest & ~bytes_)
    text = pl.col("text")
    return lines.group_by("record", maintain_order=True).agg(
        pl.col("line").first(),
        pl.col("offset").first(),
        pl.col("raw").str.join("\n"),
        text.first(),
        lines=pl.len().cast(pl.Int64),
        more=pl.when(pl.col("_more").any()).then(text.filter("_more").str.join("\n")),
        dump=pl.when(pl.col("_bytes").any()).then(text.filter("_bytes").str.join("\n")),
    )


def _pairs(lines: pl.DataFrame, count: pl.Series) -> pl.DataFrame:
    """The same of records with one line or two. count: of lines, per record."""
    text, second = pl.col("text"), pl.col("_text")
    two = pl.col("lines") == 2
    bytes_ = second.str.contains(DUMP)
    return (
        lines.with_columns(_text=text.shift(-1), _raw=pl.col("raw").shift(-1))
        .filter("begins")
        .with_columns(count.alias("lines"))
        .select(
            "record",
            "line",
            "offset",
            pl.when(two)
            .then(pl.concat_str("raw", pl.lit("\n"), "_raw"))
            .otherwise("raw")
            .alias("raw"),
            "text",
            "lines",
            more=pl.when(two & ~bytes_).then(second),
            dump=pl.when(two & bytes_).then(second),
        )
    )
