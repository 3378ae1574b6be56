"""`connwatch evaluate`: how good the rules are, on logs whose answers are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import polars as pl

from connwatch import pipeline
from connwatch.alert import SEVERITY, Document
from connwatch.cli.common import (
    chosen_rules,
    complain,
    moment,
    now,
    out,
    rules_option,
    say,
    span_options,
    warn_of_rules,
)
from connwatch.detectors.ruleset import RuleSet, load_rules
from connwatch.detectors.sigma.documents import rule_files
from connwatch.errors import ConnwatchError, InputError, RuleError, UsageError
from connwatch.evaluate import plot
from connwatch.evaluate.label_files import by_file
from connwatch.evaluate.labels import Labeller, Meaning, by_column, labelled
from connwatch.evaluate.page import page
from connwatch.evaluate.report import Point, Section, Swept, as_json, sections
from connwatch.evaluate.score import Evaluation
from connwatch.evaluate.score import evaluate as scored
from connwatch.evaluate.sweep import Sweep, Variant, read_sweep, variants
from connwatch.ingest.enrich import HomeNetworks
from connwatch.ingest.files import discover
from connwatch.ingest.formats import formats
from connwatch.render import console, safe, table
from connwatch.sinks.embedded import EmbeddedStore, StoreReader

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="LOGS...")
@click.option(
    "--labels",
    "label_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Labels that are not in the log: a CSV of flows, or a YAML of rules by host, port, time.",
)
@click.option(
    "--label-column",
    metavar="NAME",
    help="Column of the log that holds the label. [default: label, else detailed-label]",
)
@click.option(
    "--benign",
    multiple=True,
    metavar="LABEL",
    help="A label that means benign; * stands for any text; may be repeated. "
    "[default: benign, normal, background, empty]",
)
@click.option(
    "--malicious",
    multiple=True,
    metavar="LABEL",
    help="A label that means malicious, instead of all that are not benign; may be repeated.",
)
@click.option("--rest", metavar="LABEL", help="Label of events that nothing in --labels fits.")
@click.option(
    "--slack",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How far the times of a CSV may be off.",
)
@rules_option
@click.option(
    "--level",
    type=click.Choice(tuple(SEVERITY)),
    default="medium",
    show_default=True,
    help="An event is flagged when an alert of this level or above lists it.",
)
@click.option(
    "--sweep",
    "sweep_text",
    metavar="PARAM=A,B,C",
    help="Try each value of a rule's parameter: RULE.path.in.its.yaml, where RULE is an id, title "
    "or file name; the path alone when there is one rule.",
)
@click.option(
    "--plot",
    "plots",
    type=_FILE,
    multiple=True,
    metavar="FILE",
    help="Draw the curve of --sweep as .png or .svg (needs connwatch[plots]); may be repeated.",
)
@click.option("--html", type=_FILE, metavar="FILE", help="Write the report as one HTML page.")
@click.option(
    "--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True
)
@span_options
@click.option(
    "--home", multiple=True, metavar="NETWORK", help="A network of yours; may be repeated."
)  # fmt: skip
def evaluate(
    paths: tuple[str, ...],
    label_file: Path | None,
    label_column: str | None,
    benign: tuple[str, ...],
    malicious: tuple[str, ...],
    rest: str | None,
    slack: float,
    rule_paths: tuple[str, ...],
    level: str,
    sweep_text: str | None,
    plots: tuple[Path, ...],
    html: Path | None,
    form: str,
    start: str | None,
    end: str | None,
    home: tuple[str, ...],
) -> int:
    """Measure the rules on labelled logs: precision, recall, F1, false positives, delay.

    Replays LOGS into a store of its own, which is gone afterwards, and compares what was flagged
    with the labels: by flow, by originator and hour, and by alert; in all and rule by rule. Events
    without a label (- or none) are left out and counted.

    \b
    connwatch evaluate conn.log.labeled
    connwatch evaluate conn.log --labels flows.csv --rest benign --level low
    connwatch evaluate conn.log --labels attacks.yml --rules my_rules --html report.html
    connwatch evaluate conn.log.labeled --rules scan.yml \\
        --sweep correlation.condition.gte=5,10,20,50 --plot scan.svg

    Exit codes: 0 done; 2 wrong use, or a rule that cannot be used; 3 an input failed.
    """
    labeller = _labeller(label_file, label_column, rest, slack)
    options = pipeline.Options(
        moment(start, "--from"), moment(end, "--to"), HomeNetworks.parse(home) if home else None
    )
    _check_outputs(plots, html, sweep_text)
    rules = chosen_rules(rule_paths)
    warn_of_rules(rules)
    trials = _Trials(paths, options, labeller, Meaning(benign, malicious), level)
    with _loaded(sweep_text, rule_paths, paths) as (sweep, changed):
        first = trials.run(rules, complete=True)
        swept = None if sweep is None else trials.swept(sweep, changed)
    shown = list(sections(first, swept))
    if html is not None:
        html.write_text(_page(paths, shown, swept), encoding="utf-8")
    for path in plots:
        if swept is not None:
            plot.draw(swept.sweep.name, swept.curve, path)
    _print(first, swept, shown, form)
    for error in trials.failed:
        complain(error)
    if trials.failed:
        return 3
    return 2 if rules.errors else 0


def _labeller(path: Path | None, column: str | None, rest: str | None, slack: float) -> Labeller:
    if path is not None and column is not None:
        raise UsageError("--labels and --label-column exclude one another", where="evaluate")
    if path is None and rest is not None:
        raise UsageError("--rest goes with --labels", where="evaluate")
    return by_column(column) if path is None else by_file(path, now=now(), slack=slack, rest=rest)


def _check_outputs(plots: Sequence[Path], html: Path | None, sweep: str | None) -> None:
    """What cannot be written is said before anything is read."""
    for path in plots:
        plot.check(path)
    if plots and sweep is None:
        raise UsageError("--plot draws the curve of --sweep", where=f"--plot {plots[0]}")
    for path in (*plots, *(() if html is None else (html,))):
        if not path.absolute().parent.is_dir():
            raise UsageError("no such folder", where=str(path), hint="nothing was read")


@dataclass(frozen=True, slots=True)
class _Changed:
    """A value of a sweep, with the rules that have it. key: of the changed rule."""

    variant: Variant
    rules: RuleSet
    key: str


@contextmanager
def _loaded(
    text: str | None, rule_paths: Sequence[str], logs: Sequence[str]
) -> Iterator[tuple[Sweep | None, list[_Changed]]]:
    """The sweep and its rules, all of them loaded before any log is read."""
    if text is None:
        yield None, []
        return
    if "-" in logs:
        raise UsageError("standard input can be read once only", where="--sweep")
    named = [pipeline.bundled_rules() if one == "bundled" else Path(one) for one in rule_paths]
    files = rule_files(named or [pipeline.bundled_rules()])
    sweep = read_sweep(text, files)
    with TemporaryDirectory(prefix="connwatch-") as folder:
        yield sweep, [_change(sweep, one) for one in variants(sweep, files, Path(folder))]


def _change(sweep: Sweep, variant: Variant) -> _Changed:
    rules = load_rules(variant.files)
    here = f"{sweep.target.file} with {sweep.target.path} {variant.text}"
    for error in rules.errors:
        if (error.where or "").startswith(str(variant.changed)):
            raise RuleError(error.message, where=here, hint=error.hint)
    for unfed in rules.unfed:
        if unfed.where.startswith(str(variant.changed)) and unfed.title == sweep.target.rule:
            raise RuleError(unfed.reason, where=here)
    for rule in (*rules.rules, *rules.disabled):
        if rule.where.startswith(str(variant.changed)) and rule.title == sweep.target.rule:
            return _Changed(variant, rules, rule.key)
    raise RuleError("is not among the rules that were loaded", where=here)


class _Trials:
    """Replays of the same logs with different rules; each in a store of its own."""

    def __init__(
        self,
        paths: Sequence[str],
        options: pipeline.Options,
        labeller: Labeller,
        meaning: Meaning,
        level: str,
    ) -> None:
        self.failed: list[ConnwatchError] = []
        self._paths, self._options, self._level = paths, options, level
        self._labeller, self._meaning = labeller, meaning
        self._events: pl.DataFrame | None = None

    def run(self, rules: RuleSet, *, complete: bool = False) -> Evaluation:
        """Replay with these rules, and score. complete: the first time, when what is wrong with
        the logs is noted and the labels are read."""
        found = discover(self._paths, formats())
        with TemporaryDirectory(prefix="connwatch-") as folder:
            alerts: list[Document] = []
            with EmbeddedStore(Path(folder)) as store:
                outcome = pipeline.replay(found, rules, store, self._options)
            with StoreReader(Path(folder)) as reader:
                if self._events is None:
                    self._events = self._labelled(reader)
                hits, alerts = reader.hits().collect(), reader.alerts()
        if complete:
            for note in outcome.notes:
                say(note)
            for one in found.skipped:
                if one.failed:
                    self.failed.append(InputError(one.reason, where=one.path))
                else:
                    say(f"skipped {one.path}: {one.reason}")
            self.failed.extend(outcome.failed)
        ran = {rule.key: (rule.title, rule.level) for rule in rules.rules}
        return scored(self._events, hits, alerts, self._level, ran)

    def _labelled(self, reader: StoreReader) -> pl.DataFrame:
        events = labelled(reader.events(), self._labeller, self._meaning)
        if events["malicious"].is_null().all():
            raise UsageError(
                f"none of {events.height:,} events has a label",
                where="evaluate",
                hint="name a file with --labels, or the log's column with --label-column",
            )
        return events

    def swept(self, sweep: Sweep, changed: Sequence[_Changed]) -> Swept:
        points = []
        for one in changed:
            gave = self.run(one.rules)
            own = next((rule for rule in gave.rules if rule.key == one.key), None)
            points.append(Point(one.variant.value, one.variant.text, gave.overall, own))
        return Swept(sweep, tuple(points))


def _page(paths: Sequence[str], shown: Sequence[Section], swept: Swept | None) -> str:
    curve = None
    if swept is not None:
        if plot.available():
            curve = plot.svg(swept.sweep.name, swept.curve)
        else:
            say("the page has no curve: pip install 'connwatch[plots]'")
    names = ", ".join(Path(path).name for path in paths[:3]) + (", …" if len(paths) > 3 else "")
    return page(f"connwatch evaluate {names}", shown, curve)


def _print(
    evaluation: Evaluation, swept: Swept | None, shown: Sequence[Section], form: str
) -> None:
    if form == "json":
        out(as_json(evaluation, swept))
        return
    for number, section in enumerate(shown):
        if number:
            out(f"\n{safe(section.heading)}")
        for note in section.notes:
            out(safe(note))
        if not number:
            out("")
        console().print(table(section.columns, section.rows, right=section.numbers))
