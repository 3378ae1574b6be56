"""`connwatch rules lint`: what is probably wrong with rules that load."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import click
import polars as pl

from connwatch.cli.common import out
from connwatch.detectors.sigma.lint.finding import SEVERITIES, Finding, Severity
from connwatch.detectors.sigma.lint.lint import lint as find
from connwatch.ingest.enrich import enrich
from connwatch.ingest.files import discover
from connwatch.ingest.formats import formats
from connwatch.ingest.merge import merged
from connwatch.ingest.streams import streams
from connwatch.pipeline import bundled_rules
from connwatch.render import safe, to_json
from connwatch.schema import COLUMNS, DERIVED


@click.command()
@click.argument("paths", nargs=-1)
@click.option(
    "--format",
    "form",
    type=click.Choice(("table", "json")),
    default="table",
    show_default=True,
    help="Lines for people, or one JSON array.",
)
@click.option(
    "--log",
    "logs",
    multiple=True,
    metavar="PATH",
    help="Also name the fields that these logs never fill; may be given several times.",
)
@click.option("--notes/--no-notes", default=True, show_default=True, help="Show notes too.")
def lint(
    paths: tuple[str, ...], form: Literal["table", "json"], logs: tuple[str, ...], notes: bool
) -> int:
    """Look for what is probably wrong with rules (the bundled ones without PATH).

    Each finding says where, which rule, what, and what to do; docs/rules.md explains them. Exit 1
    when there is an error or a warning.
    """
    chosen = [bundled_rules() if one == "bundled" else Path(one) for one in paths or ["bundled"]]
    found = find(chosen, _filled(logs) if logs else None)
    counts = Counter(finding.severity for finding in found)
    shown = [finding for finding in found if notes or finding.severity != "note"]
    if form == "json":
        out(to_json([asdict(finding) for finding in shown], indent=2))
    else:
        _table(shown, counts)
    return 1 if counts["error"] or counts["warning"] else 0


def _filled(logs: Sequence[str]) -> frozenset[str]:
    """The columns that have a value in any record of the logs."""
    found: set[str] = set()

    def failed(_source: object, error: Exception) -> None:
        raise error

    sources = discover(logs, formats(), strict=True).sources
    for frame in merged(streams(sources)[0], lambda *_: None, failed):
        waiting = [column.name for column in COLUMNS if column.name not in found]
        nulls = enrich(frame, None).select(
            DERIVED.get(name, pl.col(name)).is_not_null().any().alias(name) for name in waiting
        )
        found.update(name for name, filled in nulls.row(0, named=True).items() if filled)
    return frozenset(found)


def _table(shown: Sequence[Finding], counts: Counter[Severity]) -> None:
    for finding in shown:
        rule = f"{finding.rule}: " if finding.rule else ""
        out(safe(f"{finding.where}: {finding.severity}: {rule}{finding.what} [{finding.check}]"))
        out(safe(f"  hint: {finding.advice}"))
    words = {"error": "errors", "warning": "warnings", "note": "notes"}
    out(", ".join(f"{counts[severity]} {words[severity]}" for severity in SEVERITIES))
