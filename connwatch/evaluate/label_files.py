"""Labels that stand beside the log: a CSV of labelled flows, or a YAML of rules.

    start,end,source.ip,source.port,destination.ip,destination.port,network.transport,label,detail
    2026-11-21 07:26:30,2026-11-21 07:26:35,192.168.56.10,,192.168.56.20,,tcp,malicious,scan

    labels:
      - {label: malicious, detail: scan, source: 192.168.56.10, port: 1-1024, to: 2026-11-21 07:30}
      - {label: benign, host: 192.168.56.0/24}
    default: benign

In both the first that fits an event gives it its label. Which events fit is in docs/evaluate.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from functools import reduce
from operator import and_, or_
from pathlib import Path
from typing import Any, Final

import polars as pl
import yaml

from connwatch.errors import ConfigError, InputError, QueryError
from connwatch.query import compile_query, parse, parse_span
from connwatch.query.addresses import Network, read_network, within

from .flows import flow_labels
from .labels import Labeller, by_rules

_KEYS: Final = (
    "label", "detail", "host", "source", "destination", "port", "source-port", "protocol",
    "from", "to", "where",
)  # fmt: skip
_RANGE: Final = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
_YAML: Final = (".yml", ".yaml")


def by_file(path: Path, *, now: datetime, slack: float, rest: str | None) -> Labeller:
    """Labels from a file: YAML of rules by its name, else CSV of flows.

    now: what relative times refer to. slack: seconds by which a flow's times may differ. rest:
    label of the events that nothing in the file fits; None: they have none. Raises ConfigError
    for what cannot be read, with the line; InputError when the file cannot be opened.
    """
    try:
        if path.suffix.lower() in _YAML:
            return _rules(path, path.read_text(encoding="utf-8-sig"), now, rest)
        return flow_labels(path, path.read_bytes(), now, slack, rest)
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text", where=str(path)) from None
    except OSError as error:
        raise InputError(error.strerror or str(error), where=str(path)) from None


def _rules(path: Path, text: str, now: datetime, rest: str | None) -> Labeller:
    try:
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"is not YAML: {error.problem}", where=where) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"is not YAML: {error}", where=str(path)) from None
    if not isinstance(content, dict) or not isinstance(content.get("labels"), list):
        raise ConfigError(
            "holds no list 'labels'", where=str(path), hint="docs/evaluate.md shows the form"
        )
    _refuse_unknown(content, ("labels", "default"), str(path))
    default = rest if content.get("default") is None else str(content["default"])
    made = []
    for number, rule in enumerate(content["labels"], 1):
        made.append(_rule(rule, f"{path}: rule {number}", now))
    return by_rules(made, default)


def _refuse_unknown(given: Mapping[Any, Any], known: Sequence[str], where: str) -> None:
    for key in given:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            raise ConfigError(
                f"unknown key {key!r}",
                where=where,
                hint=f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}",
            )


def _rule(rule: Any, where: str, now: datetime) -> tuple[pl.Expr, str, str | None]:
    """Condition, label and detail of one rule."""
    if not isinstance(rule, dict):
        raise ConfigError("is not a mapping of keys to values", where=where)
    _refuse_unknown(rule, _KEYS, where)
    if rule.get("label") is None:
        raise ConfigError("has no label", where=where)
    conditions = [
        _condition(str(key), value, where, now)
        for key, value in rule.items()
        if key not in ("label", "detail") and value is not None
    ]
    fits = reduce(and_, conditions, pl.lit(value=True)).fill_null(value=False)
    detail = rule.get("detail")
    return fits, str(rule["label"]), None if detail is None else str(detail)


def _condition(key: str, value: Any, where: str, now: datetime) -> pl.Expr:
    values = [str(one) for one in (value if isinstance(value, list) else [value])]
    try:
        if key in ("host", "source", "destination"):
            sides = ("source", "destination") if key == "host" else (key,)
            networks = [_network(one) for one in values]
            return _any(within(pl.col(f"{side}.ip"), one) for side in sides for one in networks)
        if key in ("port", "source-port"):
            column = pl.col("destination.port" if key == "port" else "source.port")
            return _any(column.is_between(*_ports(one)) for one in values)
        if key == "protocol":
            return pl.col("network.transport").is_in([one.lower() for one in values])
        if key == "where":
            return _any(compile_query(parse(one), now=now) for one in values)
        begin, _ = parse_span(values[0], now)
    except QueryError as error:
        raise ConfigError(f"{key}: {error.message}", where=where, hint=error.hint) from None
    except ValueError as error:
        raise ConfigError(f"{key}: {error}", where=where) from None
    time = pl.col("@timestamp")
    return time >= begin if key == "from" else time < begin


def _network(text: str) -> Network:
    try:
        return read_network(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an address or network") from None


def _ports(text: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(text.replace(" ", ""))
    if found is None:
        raise ValueError(f"{text!r} is not a port or a range of ports, as in 8000-8100")
    first, last = int(found[1]), int(found[2] or found[1])
    if first > last or last > 65535:
        raise ValueError(f"{text!r} is not a range of ports")
    return first, last


def _any(conditions: Iterable[pl.Expr]) -> pl.Expr:
    return reduce(or_, conditions, pl.lit(value=False))
