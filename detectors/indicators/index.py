"""The index over a list's networks and addresses: which of them hold a number, by binary search.

Networks in CIDR notation lie beside one another or inside one another, never across. So they fall
into disjoint pieces, each with the narrowest network around it (`narrowest`), and every network has
the next wider one around it (`around`): what holds a number is found by one binary search and then
by going outwards, at most 32 steps in IPv4 and 128 in IPv6. An address is a network of one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from connwatch.schema import UTC

_ID: Final = pl.UInt32()
_BOUNDS: Final = ["first", "last"]
#: entries alike in these say the same; the first of them is matched, and speaks for the others
SAME: Final = ("kind", "value", "port", "valid_from", "valid_until", "provider")


@dataclass(frozen=True, slots=True)
class Spans:
    """Networks of one IP version.

    starts: where the pieces begin, ascending. narrowest: of each piece the narrowest network
    around it, null for none. around: of each network the next wider one, null for none. members:
    of each network the indicators with these bounds, as a list.
    """

    starts: pl.Series
    narrowest: pl.Series
    around: pl.Series
    members: pl.Series

    @classmethod
    def of(cls, bounds: pl.DataFrame) -> Spans:
        """bounds: different first and last (both included, of one unsigned type), and indicator,
        a list."""
        networks = bounds.sort(_BOUNDS, descending=[False, True]).with_row_index("network")
        highest = networks.schema["first"].max()  # type: ignore[attr-defined]
        opens = networks.select(at="first", opens=pl.lit(value=True), network="network")
        # What ends at the highest number has nothing behind it.
        closes = networks.filter(pl.col("last") < highest).select(
            at=pl.col("last") + 1,
            opens=pl.lit(value=False),
            network=pl.lit(None, _ID),
        )
        # Stable: at one number first what ends, then what begins, the wider before the narrower.
        steps = (
            pl.concat([closes, opens])
            .sort("at", maintain_order=True)
            .with_columns(depth=pl.when("opens").then(1).otherwise(-1).cum_sum())
        )
        # Nested as brackets are: after a step to depth d, what is open at d is the last that
        # was opened at d.
        top = pl.col("network").forward_fill().over("depth")
        steps = steps.with_columns(top=pl.when(pl.col("depth") > 0).then(top))
        around = steps.with_columns(before=pl.col("top").shift(1)).filter("opens").sort("network")
        pieces = steps.filter((pl.col("at") != pl.col("at").shift(-1)).fill_null(value=True))
        return cls(pieces["at"], pieces["top"], around["before"], networks["indicator"])

    def holding(self, numbers: pl.Series) -> pl.DataFrame:
        """number and indicator: every indicator that holds each of these different numbers."""
        found: list[pl.DataFrame] = []
        at = self.starts.search_sorted(numbers.sort(), side="right").cast(pl.Int64) - 1
        step = pl.DataFrame(
            {
                "number": numbers.sort(),
                "network": self.narrowest.gather(pl.select(pl.when(at >= 0).then(at)).to_series()),
            }
        ).drop_nulls()
        while step.height:
            found.append(
                step.select(
                    "number", indicator=pl.lit(self.members.gather(step["network"]))
                ).explode("indicator")
            )
            step = step.with_columns(network=self.around.gather(step["network"])).drop_nulls()
        schema = {"number": numbers.dtype, "indicator": _ID}
        return pl.concat(found) if found else pl.DataFrame(schema=schema)


@dataclass(frozen=True, slots=True)
class Index:
    """All that `match` looks things up in; see `Indicators`.

    v4, v6: over UInt32 and UInt128. names, ports: what is looked for, ascending, with the
    indicators of each as a list. required: the port that must be seen too, or null; valid_from,
    valid_until: each by indicator; None where no indicator has one.
    """

    v4: Spans
    v6: Spans
    names: pl.DataFrame
    ports: pl.DataFrame
    required: pl.Series | None
    valid_from: pl.Series | None
    valid_until: pl.Series | None

    @classmethod
    def of(cls, entries: pl.DataFrame) -> Index:
        rows = entries.select(*SAME, "version", "first", "last").with_row_index("indicator")

        def spans(version: int, dtype: pl.DataType) -> Spans:
            own = rows.filter(pl.col("version") == version)
            return Spans.of(
                _grouped(own.with_columns(pl.col("first", "last").cast(dtype)), _BOUNDS)
            )

        def keys(kind: str, by: str) -> pl.DataFrame:
            own = rows.filter(pl.col("kind") == kind)
            return _grouped(own, [by]).select("indicator", key=by).sort("key")

        def given(name: str, dtype: pl.DataType) -> pl.Series | None:
            return rows[name].cast(dtype) if rows[name].null_count() < rows.height else None

        return cls(
            v4=spans(4, pl.UInt32()),
            v6=spans(6, pl.UInt128()),
            names=keys("domain", "value"),
            ports=keys("port", "port"),
            required=given("port", pl.Int64()),
            valid_from=given("valid_from", UTC),
            valid_until=given("valid_until", UTC),
        )


def _grouped(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """The keys and, as a list, the indicators that have them; once what is the same."""
    groups = rows.group_by(keys).agg("indicator")
    alone = groups["indicator"].list.len() == 1
    if bool(alone.all()):
        return groups
    crowd = groups.filter(~alone).select("indicator").explode("indicator")
    once = rows.join(crowd, on="indicator", how="semi").sort("indicator")
    once = once.unique(SAME, keep="first", maintain_order=True)
    return pl.concat([groups.filter(alone), once.group_by(keys).agg("indicator")])
