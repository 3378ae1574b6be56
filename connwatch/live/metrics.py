"""The status of a live run as Prometheus metrics, made when somebody asks.

Counters count what this process has done: what it found from earlier runs is taken off, and a
batch that is taken back because the disk is full does not make one smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .progress import STATES, Status

#: media type of what `Metrics.text` gives
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

#: per source: count in `SourceStatus` -> name and meaning
_SOURCE_COUNTS: Final = {
    "lines": ("connwatch_lines", "Lines read."),
    "records": ("connwatch_records", "Records read."),
    "rejects": ("connwatch_rejects", "Lines that could not be read as records."),
    "comments": ("connwatch_comments", "Lines that hold no record, such as headers."),
    "late": ("connwatch_late_records", "Records too late for windows."),
    "future": ("connwatch_future_records", "Records with a time that cannot be."),
    "past": ("connwatch_past_records", "Records far behind those written before them."),
}
#: of the whole run: key of `Status.totals` -> name and meaning
_TOTALS: Final = {
    "events": ("connwatch_events", "Records without duplicates."),
    "stored": ("connwatch_stored_events", "Events that the store did not have."),
    "duplicates": ("connwatch_duplicates", "Records that were there already."),
    "allowed": (
        "connwatch_allowed_events",
        "Events on an allow-list.",
    ),
    "alerts": ("connwatch_alerts", "Alerts opened."),
    "closed_early": ("connwatch_alerts_closed_early", "Alerts closed because too many were open."),
    "commits": ("connwatch_commits", "Commits to the store."),
}
#: of the store: key of `Status.store` -> name and meaning
_STORE: Final = {
    "bytes": ("connwatch_store_bytes", "Bytes of the store's files."),
    "files": ("connwatch_store_files", "Files of the store."),
    "small_parts": ("connwatch_store_small_parts", "Small commits that wait for compaction."),
    "fits": ("connwatch_store_fits", "0 while the store is larger than `retention.max_size`."),
}


class Metrics:
    """What `/metrics` answers. latest: gives the status, None before there is one."""

    def __init__(self, latest: Callable[[], Status | None]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Live(latest))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _Live(Collector):
    def __init__(self, latest: Callable[[], Status | None]) -> None:
        self._latest = latest
        self._highest: dict[tuple[str, ...], float] = {}

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names depend on what runs."""
        return ()

    def collect(self) -> Iterator[Metric]:
        status = self._latest()
        if status is None:
            return
        yield _gauge(
            "connwatch_build_info", "Version, as a label.", ["version"], [((status.version,), 1)]
        )
        yield _gauge(
            "connwatch_state",
            "1 for the state it is in.",
            ["state"],
            [((state,), float(state == status.state)) for state in STATES],
        )
        yield from self._sources(status)
        yield from self._totals(status)
        yield from self._detection(status)
        yield from self._sinks(status)
        yield from self._store(status)

    def _sources(self, status: Status) -> Iterator[Metric]:
        labels = ["source", "dataset"]
        sources = [((one.id, one.dataset), one) for one in status.sources]
        for count, (name, meaning) in _SOURCE_COUNTS.items():
            rows = [(key, getattr(one, count) - one.before.get(count, 0)) for key, one in sources]
            yield self._counter(name, meaning, labels, rows)
        yield _gauge(
            "connwatch_source_lag_bytes",
            "Bytes known to be unread.",
            labels,
            [(key, one.lag_bytes) for key, one in sources],
        )
        yield _gauge(
            "connwatch_source_lag_seconds",
            "For how long a source has been behind.",
            labels,
            [(key, one.lag_seconds) for key, one in sources],
        )
        times = [(key, _unix(one.log_time)) for key, one in sources if one.log_time is not None]
        yield _gauge(
            "connwatch_source_log_time_seconds", "Log time of its last record.", labels, times
        )

    def _totals(self, status: Status) -> Iterator[Metric]:
        before = status.before.get("totals", {})
        for key, (name, meaning) in _TOTALS.items():
            value = status.totals.get(key, 0) - before.get(key, 0)
            yield self._counter(name, meaning, [], [((), value)])
        if status.log_time is not None:
            yield _gauge(
                "connwatch_log_time_seconds",
                "Log time of what was given to the rules last.",
                [],
                [((), _unix(status.log_time))],
            )
        yield self._counter(
            "connwatch_reordered_records",
            "Records given behind others that they belong before.",
            [],
            [((), status.reordered)],
        )
        yield self._counter(
            "connwatch_reloads", "Reloads that were asked for.", [], [((), status.reloads)]
        )
        yield _gauge(
            "connwatch_last_reload_successful",
            "0 when the last reload failed, and the old configuration stays.",
            [],
            [((), float(status.reload_error is None))],
        )
        yield _gauge(
            "connwatch_failing_paths",
            "Files and folders that cannot be read at present.",
            [],
            [((), len(status.problems))],
        )
        yield _gauge(
            "connwatch_status_time_seconds",
            "When these numbers were taken.",
            [],
            [((), _unix(status.updated))],
        )

    def _detection(self, status: Status) -> Iterator[Metric]:
        state = status.detection
        if not state:
            return
        before = status.before.get("forgotten", {})
        forgotten = [
            ((rule,), lost - before.get(rule, 0)) for rule, lost in state["forgotten"].items()
        ]
        yield self._counter(
            "connwatch_forgotten",
            "Records that left the windows of a rule early: its counts are not exact.",
            ["rule"],
            forgotten,
        )
        yield _gauge(
            "connwatch_window_items",
            "Records and values in the windows of a rule.",
            ["rule"],
            [((rule,), held) for rule, held in state["items_by_rule"].items()],
        )
        yield _gauge(
            "connwatch_open_alerts",
            "Alerts that further hits would be added to.",
            [],
            [((), state["open_alerts"])],
        )
        yield _gauge(
            "connwatch_snapshot_seconds",
            "How long it took to save the state of detection last.",
            [],
            [((), state["snapshot_seconds"])],
        )

    def _sinks(self, status: Status) -> Iterator[Metric]:
        sinks = [((sink["name"],), sink) for sink in status.sinks]
        yield _gauge(
            "connwatch_sink_queue",
            "Deliveries that wait for a sink.",
            ["sink"],
            [(key, sink["queue"]) for key, sink in sinks],
        )
        yield _gauge(
            "connwatch_sink_failing",
            "1 while a sink takes nothing.",
            ["sink"],
            [(key, float(sink["error"] is not None)) for key, sink in sinks],
        )
        yield self._counter(
            "connwatch_sink_retries",
            "Further tries to deliver.",
            ["sink"],
            [(key, sink["retried"]) for key, sink in sinks],
        )

    def _store(self, status: Status) -> Iterator[Metric]:
        for key, (name, meaning) in _STORE.items():
            if key in status.store:
                yield _gauge(name, meaning, [], [((), float(status.store[key]))])
        steps = status.store.get("steps", 0)
        yield self._counter("connwatch_compaction_steps", "Steps of compaction.", [], [((), steps)])

    def _counter(
        self, name: str, meaning: str, labels: list[str], rows: _Rows
    ) -> CounterMetricFamily:
        family = CounterMetricFamily(name, meaning, labels=labels)
        for key, value in rows:
            highest = max(value, self._highest.get((name, *key), 0))
            self._highest[(name, *key)] = highest
            family.add_metric(key, highest)
        return family


_Rows = Iterable[tuple[tuple[str, ...], float]]


def _gauge(name: str, meaning: str, labels: list[str], rows: _Rows) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for key, value in rows:
        family.add_metric(key, value)
    return family


def _unix(time: str) -> float:
    return datetime.fromisoformat(time).astimezone(UTC).timestamp()
