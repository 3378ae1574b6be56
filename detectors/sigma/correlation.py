"""Sigma correlations: rules over what other rules match, compiled into sliding windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, cast

from sigma.correlations import (
    CorrelationConditionAND,
    CorrelationConditionNOT,
    CorrelationConditionOR,
    SigmaCorrelationRule,
    SigmaExtendedCorrelationCondition,
    SigmaRuleReference,
)

from connwatch.errors import RuleError
from connwatch.schema import BY_NAME, STRINGS

from ..ruleset import Correlation, Rule, Unfed
from ..windows.held import Correlated
from ..windows.spec import METRICS, Measure, Presence, Threshold, Window
from .documents import RuleDocument
from .faults import check_keys, check_nested, read_by_pysigma
from .fields import FieldMap, Target
from .own import described, field_of, quiet_period

_KEYS: Final = (
    "type", "rules", "generate", "timespan", "group-by", "aliases", "condition",
)  # fmt: skip
_SECOND: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Known:
    """Rules that a correlation may name: by id or name, and why others cannot be used."""

    rules: Mapping[str, Rule | Correlation]
    unusable: Mapping[str, str]


def references(document: RuleDocument) -> list[str]:
    """The ids and names of the rules that a correlation counts; RuleError for what is none."""
    return [one.reference for one in _references(_parsed(document), document)]


def correlation(document: RuleDocument, known: Known) -> Correlation | Unfed:
    """One correlation, ready to run; RuleError says what is wrong with it."""
    parsed = _parsed(document)
    named = _references(parsed, document)
    bases: list[Rule | Correlation] = []
    for one in named:
        found = known.rules.get(one.reference)
        if found is not None:
            bases.append(found)
        elif one.reference in known.unusable:
            reason = f"the rule {one.reference!r} cannot run: {known.unusable[one.reference]}"
            return Unfed(parsed.title, document.where(one.reference), reason)
        else:
            near = get_close_matches(one.reference, known.rules, n=1)
            raise RuleError(
                f"there is no rule with the id or name {one.reference!r}",
                where=document.where(one.reference),
                hint=f"did you mean {near[0]!r}?" if near else "a rule's name: can be referred to",
            )
    reading = _Reading(document, parsed, tuple(one.reference for one in named), tuple(bases))
    window = reading.window()
    group, group_by = reading.group()
    base = described(document, parsed, group, quiet_period(document, window.timespan))
    return Correlation(
        **base,
        needs=window.columns.union(*(one.needs for one in bases)),
        datasets=frozenset().union(*(one.datasets for one in bases)),
        fields=bases[0].fields,
        windows=Correlated(
            base["key"],
            tuple(one.key for one in bases),
            (window,),
            group,
            group_by,
            names=reading.names,
        ),
    )


def _parsed(document: RuleDocument) -> SigmaCorrelationRule:
    check_keys(document)
    check_nested(document, "correlation", _KEYS)
    with read_by_pysigma(document):
        return SigmaCorrelationRule.from_dict(document.content)


def _references(parsed: SigmaCorrelationRule, document: RuleDocument) -> list[SigmaRuleReference]:
    named = parsed.rules
    if named is None:
        condition = cast(SigmaExtendedCorrelationCondition, parsed.condition)
        return [SigmaRuleReference(one) for one in condition.get_referenced_rules()]
    if not named:
        raise RuleError("names no rules", where=document.where("rules", "correlation"))
    if len({one.reference for one in named}) < len(named):
        raise RuleError("names a rule twice", where=document.where("rules"))
    return list(named)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A correlation on its way to a window. names: how the rule refers to its bases."""

    document: RuleDocument
    parsed: SigmaCorrelationRule
    names: tuple[str, ...]
    bases: tuple[Rule | Correlation, ...]

    def window(self) -> Window:
        """What the correlation counts, and when that is worth an alert."""
        parsed = self.parsed
        measure = cast(Measure, parsed.type.name.lower())
        timespan = parsed.timespan.seconds * _SECOND
        condition: Threshold | Presence
        fields: tuple[tuple[str, ...], ...] = ((),) * len(self.bases)
        percentile = 50.0
        if isinstance(parsed.condition, SigmaExtendedCorrelationCondition):
            condition = self._presence(parsed.condition.parsed)
        else:
            number: float = parsed.condition.count
            named = parsed.condition.fieldref
            if measure.startswith("value_"):
                targets = [
                    self._targets(name)
                    for name in ([named] if isinstance(named, str) else named or [])
                ]
                fields = tuple(zip(*((t.column for t in per) for per in targets), strict=True))
                if measure in METRICS:
                    number = self._measured(targets).own(number)
            elif named:
                raise RuleError(
                    f"{measure} counts records, not the values of a field",
                    where=self.document.where("field"),
                    hint="value_count counts the different values of a field",
                )
            if parsed.condition.percentile is not None:
                percentile = float(parsed.condition.percentile)
            if measure == "value_percentile" and not 0 < percentile < 100:
                raise RuleError(
                    "a percentile lies between 1 and 99", where=self.document.where("percentile")
                )
            condition = Threshold(parsed.condition.op.name.lower(), float(number))
        groups = [self._targets(name) for name in parsed.group_by or ()]
        return Window(
            measure,
            timespan,
            condition,
            tuple(tuple(per[base].column for per in groups) for base in range(len(self.bases))),
            fields,
            percentile,
        )

    def group(self) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        """The names of the group's fields in alerts, and their columns by base rule."""
        names = []
        groups = [self._targets(name) for name in self.parsed.group_by or ()]
        for name, per in zip(self.parsed.group_by or (), groups, strict=True):
            columns = {target.column for target in per}
            names.append(columns.pop() if len(columns) == 1 else name)
        if len(set(names)) < len(names):
            raise RuleError("group-by names a field twice", where=self.document.where("group-by"))
        return tuple(names), tuple(
            tuple(per[base].column for per in groups) for base in range(len(self.bases))
        )

    def _targets(self, name: str) -> list[Target]:
        """What a field, or an alias, is in each of the base rules."""
        alias = self.parsed.aliases.aliases.get(name)
        meant = {one.reference: field for one, field in alias.mapping.items()} if alias else {}
        for reference in meant:
            if reference not in self.names:
                raise RuleError(
                    f"the alias {name!r} is for {reference!r}, which is not counted here",
                    where=self.document.where(reference),
                )
        found = []
        for reference, base in zip(self.names, self.bases, strict=True):
            if alias and reference not in meant:
                raise RuleError(
                    f"the alias {name!r} says nothing of the rule {reference!r}",
                    where=self.document.where(name),
                )
            found.append(self._target(meant.get(reference, name), base.fields))
        return found

    def _target(self, field: str, fields: FieldMap) -> Target:
        target = field_of(self.document, fields, field)
        if BY_NAME[target.column].dtype == STRINGS:
            raise RuleError(
                f"the field {field!r} holds several values", where=self.document.where(field)
            )
        return target

    def _measured(self, targets: Sequence[Sequence[Target]]) -> Target:
        """What is measured, in the unit that it has in every rule."""
        if len(targets) != 1:
            raise RuleError("one field can be measured", where=self.document.where("field"))
        scales = {target.scale for target in targets[0]}
        for target in targets[0]:
            if not BY_NAME[target.column].dtype.is_integer():
                raise RuleError(
                    f"the field {target.column!r} holds no numbers",
                    where=self.document.where("field"),
                )
        if len(scales) > 1:
            raise RuleError(
                "the field has different units in the rules", where=self.document.where("field")
            )
        return targets[0][0]

    def _presence(self, node: Any) -> Presence:
        if isinstance(node, SigmaRuleReference):
            return Presence("rule", base=self.names.index(node.reference))
        kinds = {
            CorrelationConditionAND: "and",
            CorrelationConditionOR: "or",
            CorrelationConditionNOT: "not",
        }
        return Presence(cast(Any, kinds[type(node)]), tuple(self._presence(a) for a in node.args))
