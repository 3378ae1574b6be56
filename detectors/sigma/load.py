"""Rule files become rules; what cannot be used is named with file, line, reason and a hint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeAlias

from sigma.filters import SigmaFilter

from connwatch.errors import RuleError

from ..ruleset import Correlation, Rule, RuleSet, Unfed
from . import indicators
from .analytic import analytic
from .correlation import Known, correlation, references
from .documents import RuleDocument, read, rule_files
from .faults import check_types, read_by_pysigma
from .single import Context, single

_Usable: TypeAlias = Rule | Correlation


def load(paths: Sequence[Path]) -> RuleSet:
    """See `ruleset.load_rules`."""
    documents: list[RuleDocument] = []
    errors: list[RuleError] = []
    for path in rule_files(paths):
        good, bad = read(path)
        documents.extend(good)
        errors.extend(bad)
    placeholders, documents, wrong = read_placeholders(documents)
    errors.extend(wrong)
    filters, documents, wrong = read_filters(documents)
    errors.extend(wrong)
    loading = _Loading(Context(filters, placeholders), errors)
    for document in documents:
        if not isinstance(document.content, dict):
            reason = "a rule is a mapping of keys to values"
            errors.append(RuleError(reason, where=document.where()))
        elif "correlation" not in document.content:
            loading.single(document)
    loading.correlations([d for d in documents if _is_correlation(d)])
    return loading.done()


def _reader(
    content: Mapping[str, Any],
) -> Callable[[RuleDocument, Context], _Usable | Unfed]:
    """What makes a rule of a document that does not count others."""
    if "analytic" not in content:
        return single
    block = content["analytic"]
    lists = isinstance(block, dict) and block.get("type") == indicators.TYPE
    return indicators.indicators if lists else analytic


def _is_correlation(document: RuleDocument) -> bool:
    return isinstance(document.content, dict) and "correlation" in document.content


class _Loading:
    """Rules on their way into a set: by key, and by the names that others refer to them by."""

    def __init__(self, context: Context, errors: list[RuleError]) -> None:
        self._context = context
        self._errors = errors
        self._rules: dict[str, _Usable] = {}
        self._named: dict[str, _Usable] = {}
        self._unfed: list[Unfed] = []
        self._unusable: dict[str, str] = {}
        #: rules that correlations count: those that alert all the same, and all
        self._generated: set[str] = set()
        self._counted: set[str] = set()

    def single(self, document: RuleDocument) -> None:
        """Take in a rule that does not count others."""
        try:
            self._add(document, _reader(document.content)(document, self._context))
        except RuleError as error:
            self._refuse(document, error)

    def correlations(self, documents: Sequence[RuleDocument]) -> None:
        """Take in all correlations, those that others count first."""
        waiting = [(document, self._asked(document)) for document in documents]
        while waiting:
            names = {name for document, _ in waiting for name in _names(document)}
            ready = [(d, asked) for d, asked in waiting if not names & set(asked)]
            if not ready:
                for document, _ in waiting:
                    reason = "correlations count one another in a circle"
                    self._refuse(document, RuleError(reason, where=document.where("rules")))
                return
            for document, _ in ready:
                self._correlation(document)
            waiting = [one for one in waiting if one not in ready]

    def _asked(self, document: RuleDocument) -> list[str]:
        try:
            return references(document)
        except RuleError:
            return []  # said when its turn comes

    def _correlation(self, document: RuleDocument) -> None:
        try:
            made = correlation(document, Known(self._named, self._unusable))
        except RuleError as error:
            self._refuse(document, error)
            return
        self._add(document, made)
        if isinstance(made, Correlation):
            self._counted.update(made.windows.bases)
            if document.content["correlation"].get("generate"):
                self._generated.update(made.windows.bases)

    def _add(self, document: RuleDocument, rule: _Usable | Unfed) -> None:
        if isinstance(rule, Unfed):
            self._unfed.append(rule)
            self._unusable.update(dict.fromkeys(_names(document), rule.reason))
        elif rule.key in self._rules:
            other = self._rules[rule.key].where
            self._errors.append(
                RuleError(
                    f"the rule {rule.title!r} has the id of the rule at {other}",
                    where=document.where(rule.id or rule.title),
                    hint="give each rule an id of its own",
                )
            )
        else:
            self._rules[rule.key] = rule
            self._named.update(dict.fromkeys(_names(document), rule))

    def _refuse(self, document: RuleDocument, error: RuleError) -> None:
        self._errors.append(error)
        reason = f"{error.where}: {error.message}"
        self._unusable.update(dict.fromkeys(_names(document), reason))

    def done(self) -> RuleSet:
        """The set: what can be used, and what of it alerts."""
        silent = self._counted - self._generated
        # Correlations stand behind all others, in the order in which they count one another.
        singles = sorted(key for key, rule in self._rules.items() if isinstance(rule, Rule))
        others = [key for key, rule in self._rules.items() if isinstance(rule, Correlation)]
        every = tuple(self._rules[key] for key in (*singles, *others))
        alerting = frozenset(r.key for r in every if r.enabled and r.key not in silent)
        return RuleSet(every, alerting, tuple(self._errors), tuple(self._unfed))


def _names(document: RuleDocument) -> list[str]:
    """What others may call a rule."""
    content = document.content
    return [str(content[key]) for key in ("id", "name") if content.get(key) is not None]


def read_placeholders(
    documents: list[RuleDocument],
) -> tuple[dict[str, list[str]], list[RuleDocument], list[RuleError]]:
    """Values of placeholders, from documents that are nothing but `placeholders:`."""
    values: dict[str, list[str]] = {}
    rest, errors = [], []
    for document in documents:
        content = document.content
        if not (isinstance(content, dict) and set(content) == {"placeholders"}):
            rest.append(document)
            continue
        named = content["placeholders"] or {}
        if not isinstance(named, dict):
            where = document.where("placeholders")
            errors.append(RuleError("placeholders is a mapping of names to values", where=where))
            continue
        for name, words in named.items():
            values[str(name)] = [str(w) for w in (words if isinstance(words, list) else [words])]
    return values, rest, errors


def read_filters(
    documents: list[RuleDocument],
) -> tuple[list[SigmaFilter], list[RuleDocument], list[RuleError]]:
    filters, rest, errors = [], [], []
    for document in documents:
        if not (isinstance(document.content, dict) and "filter" in document.content):
            rest.append(document)
            continue
        try:
            check_types(document)
            with read_by_pysigma(document):
                one = SigmaFilter.from_dict(document.content)
                for condition in deepcopy(one.filter).parsed_condition:
                    _ = condition.parsed  # a filter is to blame itself, not each rule it is for
            filters.append(one)
        except RuleError as error:
            errors.append(error)
    return filters, rest, errors
