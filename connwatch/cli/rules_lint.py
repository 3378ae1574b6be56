"""`connwatch rules lint`: what is probably wrong with rules that load."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import click

from connwatch.cli.common import out
from connwatch.detectors.sigma.lint.finding import SEVERITIES, Finding, Severity
from connwatch.detectors.sigma.lint.lint import lint as find
from connwatch.pipeline import bundled_rules
from connwatch.render import safe, to_json


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
@click.option("--notes/--no-notes", default=True, show_default=True, help="Show notes too.")
def lint(paths: tuple[str, ...], form: Literal["table", "json"], notes: bool) -> int:
    """Look for what is probably wrong with rules (the bundled ones without PATH).

    Each finding says where, which rule, what, and what to do; docs/rules.md explains them. Exit 1
    when there is an error or a warning.
    """
    chosen = [bundled_rules() if one == "bundled" else Path(one) for one in paths or ["bundled"]]
    found = find(chosen)
    counts = Counter(finding.severity for finding in found)
    shown = [finding for finding in found if notes or finding.severity != "note"]
    if form == "json":
        out(to_json([asdict(finding) for finding in shown], indent=2))
    else:
        _table(shown, counts)
    return 1 if counts["error"] or counts["warning"] else 0


def _table(shown: Sequence[Finding], counts: Counter[Severity]) -> None:
    for finding in shown:
        rule = f"{finding.rule}: " if finding.rule else ""
        out(safe(f"{finding.where}: {finding.severity}: {rule}{finding.what} [{finding.check}]"))
        out(safe(f"  hint: {finding.advice}"))
    words = {"error": "errors", "warning": "warnings", "note": "notes"}
    out(", ".join(f"{counts[severity]} {words[severity]}" for severity in SEVERITIES))
