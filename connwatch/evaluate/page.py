"""The report as one HTML page: no script, no font, no picture from outside.

Labels and titles are other people's text: all of it is escaped, and a content policy forbids the
page to load anything should that ever fail.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

from connwatch.render import safe

from .report import Section

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; }
p { margin: .2rem 0; white-space: pre-wrap; font-variant-numeric: tabular-nums; }
div { overflow-x: auto; } table { border-collapse: collapse; margin-top: .6rem; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #ddd;
  vertical-align: top; overflow-wrap: anywhere; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
svg { max-width: 100%; height: auto; } footer { margin-top: 2rem; color: #555; }
"""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_FOOT: Final = (
    "Intervals are Wilson's at 95 %, and take flows for independent, which those of one attack are "
    "not. Of alerts, missed are originators of malicious flows that no alert found, quiet are "
    "innocent addresses that no alert blames."
)


def page(title: str, sections: Iterable[Section], curve: str | None) -> str:
    """The whole document. curve: an <svg> element of ours, or None."""
    body = [f"<h1>{_text(title)}</h1>", *map(_section, sections)]
    if curve is not None:
        body.append(f"<h2>Curve</h2>\n<div>{curve}</div>")
    body.append(f"<footer>{_text(_FOOT)}</footer>")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    numbers = [name in section.numbers for name in section.columns]
    head = "".join(
        _cell("th", name, number=number)
        for name, number in zip(section.columns, numbers, strict=True)
    )
    rows = "\n".join(
        "<tr>" + "".join(
            _cell("td", cell, number=number) for cell, number in zip(row, numbers, strict=True)
        ) + "</tr>"
        for row in section.rows
    )  # fmt: skip
    notes = "".join(f"<p>{_text(note)}</p>\n" for note in section.notes)
    return (
        f"<h2>{_text(section.heading)}</h2>\n{notes}<div><table>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>"
    )


def _cell(tag: str, text: str, *, number: bool) -> str:
    kind = ' class="number"' if number else ""
    return f"<{tag}{kind}>{_text(text)}</{tag}>"


def _text(text: str) -> str:
    return escape(safe(text))
