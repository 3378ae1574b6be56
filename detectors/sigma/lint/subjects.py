"""What checks look at: the rules that were loaded, beside the documents that they stand in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sigma.filters import SigmaFilter
from sigma.rule import SigmaRule
from sigma.types import (
    SigmaBool,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
)

from ...ruleset import Correlation, Described, Rule, RuleSet, load_rules
from ..documents import RuleDocument, read, rule_files
from ..faults import read_by_pysigma
from ..fields import FieldMap
from ..load import read_filters, read_placeholders
from ..single import Context, fill_in
from .formula import Comparison, Formula
from .formula import read as read_formula
from .theory import Theory


@dataclass(frozen=True, slots=True)
class Single:
    """A rule about one record. rule: what it says of itself; of an analytic, whose pre-filter this
    is, the whole. key: what those that count it call it. condition: with its filters."""

    document: RuleDocument
    rule: Described
    key: str
    fields: FieldMap
    condition: Formula

    @property
    def listed(self) -> bool:
        """Whether lists say more of its records than the condition."""
        return isinstance(self.rule, Rule) and self.rule.listed is not None

    def where(self, comparison: Comparison) -> str:
        """`file:line` of a comparison's value; of its field, or of the rule, where that is not
        found (a filter's comparison)."""
        return _place(self.document, comparison)


@dataclass(frozen=True, slots=True)
class Many:
    """A rule about many records. bases: the rules that it counts, None for correlations."""

    document: RuleDocument
    rule: Correlation
    bases: tuple[Single | None, ...]

    def where(self, key: str) -> str:
        """`file:line` of a key of the correlation."""
        return self.document.where(key, section="correlation")


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter. applied: whether it is for any of the rules that were loaded."""

    document: RuleDocument
    title: str
    rules: tuple[str, ...]
    applied: bool


@dataclass(frozen=True)
class Subjects:
    """All that was loaded. documents: those of rules, whether these could be loaded or not.
    emitted: columns that have a value in the logs at hand; None where no logs are."""

    found: RuleSet
    documents: tuple[RuleDocument, ...]
    singles: tuple[Single, ...]
    many: tuple[Many, ...]
    filters: tuple[Filter, ...]
    emitted: frozenset[str] | None = None

    @cached_property
    def theory(self) -> Theory:
        return Theory(one.condition for one in self.singles)

    @cached_property
    def rules(self) -> tuple[tuple[RuleDocument, Described], ...]:
        """Every rule that can be used, with its document."""
        loaded = {rule.where: rule for rule in self.found.every}
        places = [(document, loaded.get(document.where())) for document in self.documents]
        return tuple((document, rule) for document, rule in places if rule is not None)


def gather(paths: Sequence[Path], emitted: frozenset[str] | None = None) -> Subjects:
    """The rules in these files and folders. RuleError for a path that does not exist."""
    found = load_rules(paths)
    documents = [document for path in rule_files(paths) for document in read(path)[0]]
    placeholders, documents, _ = read_placeholders(documents)
    documents = [one for one in documents if isinstance(one.content, dict)]
    rest = [one for one in documents if "filter" not in one.content]
    filters = [(d, f) for d in documents if "filter" in d.content for f in read_filters([d])[0]]
    reader = _Reader(found, Context([one for _, one in filters], placeholders))
    singles = [single for one in rest if (single := reader.single(one))]
    many = [correlation for one in rest if (correlation := reader.many(one, singles))]
    return Subjects(
        found,
        tuple(rest),
        tuple(singles),
        tuple(many),
        tuple(_filter(d, f, id(f) in reader.applied) for d, f in filters),
        emitted,
    )


class _Reader:
    """Reads rules again, into formulas. applied: ids of the filters that were for any of them."""

    def __init__(self, found: RuleSet, context: Context) -> None:
        self._loaded: Mapping[str, Rule | Correlation] = {r.where: r for r in found.every}
        self._context = context
        self.applied: set[int] = set()

    def single(self, document: RuleDocument) -> Single | None:
        """The rule of a document about one record; None when it has no condition or cannot run."""
        rule = self._loaded.get(document.where())
        if rule is None or "detection" not in document.content:
            return None
        own = rule.own if isinstance(rule, Correlation) else rule
        with read_by_pysigma(document):
            parsed = SigmaRule.from_dict(document.content)
            for one in self._context.filters:
                before = list(parsed.detection.condition)
                one.apply_on_rule(parsed)
                if parsed.detection.condition != before:
                    self.applied.add(id(one))
            fill_in(parsed, self._context.placeholders)
            conditions = [one.parsed for one in parsed.detection.parsed_condition]
        key = own.key if own is not None else rule.key
        return Single(document, rule, key, rule.fields, read_formula(conditions, rule.fields))

    def many(self, document: RuleDocument, singles: Sequence[Single]) -> Many | None:
        rule = self._loaded.get(document.where())
        if not isinstance(rule, Correlation):
            return None
        known = {one.key: one for one in singles}
        return Many(document, rule, tuple(known.get(key) for key in rule.windows.bases))


def _filter(document: RuleDocument, parsed: SigmaFilter, applied: bool) -> Filter:
    named = parsed.filter.rules
    rules = () if isinstance(named, str) else tuple(one.reference for one in named)
    return Filter(document, parsed.title, rules, applied)


def _place(document: RuleDocument, comparison: Comparison) -> str:
    nodes = [node for node in document.nodes if node[2] == "detection"]
    fields = [place for place, node in enumerate(nodes) if node[0].split("|")[0] == comparison.name]
    written = set(_written(comparison))
    near: tuple[int, int] | None = None
    for field in fields if comparison.name else [0]:
        for distance, (value, line, _) in enumerate(nodes[field + 1 :]):
            if value in written and (near is None or distance < near[0]):
                near = (distance, line)
                break
    if near is not None:
        return f"{document.path}:{near[1]}"
    if fields and comparison.name:
        return f"{document.path}:{nodes[fields[0]][1]}"
    return document.where("condition", section="detection")


def _written(comparison: Comparison) -> Iterator[str]:
    """How the value of a comparison may be written in a rule."""
    value = comparison.value
    if isinstance(value, SigmaCompareExpression):
        value = value.number
    if isinstance(value, SigmaNumber):
        yield str(value.number)
    elif isinstance(value, SigmaCIDRExpression):
        yield value.cidr
    elif isinstance(value, SigmaBool):
        yield from (str(value.boolean), str(value.boolean).lower())
    elif isinstance(value, SigmaString | SigmaRegularExpression):
        text = value.to_plain()
        yield from (text, text.strip("*"), text.removeprefix("*"), text.removesuffix("*"))
