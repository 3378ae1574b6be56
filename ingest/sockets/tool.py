"""What the reader of one tool's tables promises."""

from __future__ import annotations

import polars as pl


class Tool:
    """One tool: one file, one line in `tables.TOOLS`. The patterns are matched against lines
    without escapes and without white space at their end; they serve Polars and `re` alike.

    name: of the tool; NAME.socket is the dataset. header: lines of column names. comment: other
    lines that are no sockets. row: lines that can be sockets where no header tells. title: lines
    that stand above a header; "" for none.
    """

    name: str
    header: str
    comment: str
    row: str
    title: str = ""

    def rows(self, lines: pl.DataFrame, header: str, title: str) -> pl.DataFrame:
        """Rows as `rows.ROW` has them, in order, of all lines under one header; every line is part
        of exactly one row, which is a record, or has a fault; a fault of "" makes it a comment.

        lines: columns raw, line, offset, text, shot (the number of their snapshot); no blank lines,
        at least one. header: its text (that of ss with single spaces), and title: the line above
        it; "" where there is none.
        """
        raise NotImplementedError
