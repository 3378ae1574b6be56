"""How an event meets a rule about one record: alone, or with other records of its connection."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import polars as pl

from connwatch.behind import ORDER, Records
from connwatch.cli.explain_records import facts_of, part_facts
from connwatch.detectors.ruleset import Rule
from connwatch.detectors.witnesses.counting import Counting
from connwatch.detectors.witnesses.explained import explain_together
from connwatch.detectors.witnesses.flows import HOLD, Flows
from connwatch.detectors.witnesses.united import whole
from connwatch.schema import STORED

#: what is said of a record that a part is told of
_SHOWN: Final = ("event.id", "event.dataset", "observer.name", "log.file.path", "event.sequence")
_HOLD: Final = timedelta(microseconds=HOLD)
_MICROSECOND: Final = timedelta(microseconds=1)


def hit_parts(source: Records, rule: Rule, event: pl.DataFrame) -> list[dict[str, Any]]:
    """The parts of a rule's condition for an event that it hit (a frame of one row). Where it meets
    the rule with what was told of its connection before, and not alone, `by` names who says what.
    """
    alone = part_facts(rule, event)
    joint = whole(rule)
    if joint is None or all(part["outcome"] for part in alone if not part["depth"]):
        return alone
    records = _connection(source, event)
    told = explain_together(joint, records)
    if not told[0].part.outcome:
        return alone
    shown = records.select(_SHOWN).to_dicts()
    who = [{name: value for name, value in one.items() if value is not None} for one in shown]
    return [facts_of(one.part) | ({} if one.by is None else {"by": who[one.by]}) for one in told]


def _connection(source: Records, event: pl.DataFrame) -> pl.DataFrame:
    """The stored records of an event's connection up to its log time, in the order of a replay."""
    time, community, own = event.select(
        "connwatch.log_time", "network.community_id", "event.id"
    ).row(0)
    if community is None:
        return event
    near = source.read(
        list(STORED),
        ((("network.community_id", community),),),
        (time - _HOLD, time + _MICROSECOND),
    ).sort(ORDER, maintain_order=True)
    here = near["event.id"].index_of(own)
    if here is None:
        return event
    flow = pl.Series("flow", Counting(near, Flows()).flows)
    return near.filter(flow == flow[here])
