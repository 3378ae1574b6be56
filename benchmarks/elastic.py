"""What Elasticsearch costs: `python -m benchmarks.elastic bodies`, and `size` and `posting`, both
with `--url URL`.

bodies: how fast bodies of bulk requests are made of the same events by this program, by
`json.dumps` of each, and by the client's `helpers.streaming_bulk` into a transport that answers at
once. Processor time of one core (set POLARS_MAX_THREADS=1), best of `--times` runs, in turn.

size: bytes per event on disk of a real server, one segment, with the mapping as it is and with each
of its savings taken back, and with what was not taken.

posting: how fast events get into a real server; see `benchmarks.posting`.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import polars as pl
from elastic_transport import ApiResponseMeta as Meta
from elastic_transport import BaseNode, HttpHeaders, NodeConfig
from elastic_transport._node import NodeApiResponse
from elasticsearch import Elasticsearch, helpers
from rich.console import Console
from rich.table import Table

from benchmarks.posting import posting
from benchmarks.traffic import write_tsv
from connwatch.contracts import Block
from connwatch.ingest.zeek_tsv import ZeekTsv
from connwatch.render import nested
from connwatch.schema import COLUMNS, STORED, expand
from connwatch.sinks.elasticsearch import connect, read_settings
from connwatch.sinks.elasticsearch.bodies import event_bodies
from connwatch.sinks.elasticsearch.layout import Layout
from connwatch.sinks.elasticsearch.mappings import event_mappings, settings

LAYOUT = Layout(replicas=0)


def events(rows: int) -> pl.DataFrame:
    """Made-up traffic as a parser gives it, with what enrichment adds."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "conn.log"
        write_tsv(log, rows)
        data = log.read_bytes()
    format_ = ZeekTsv()
    state = format_.begin("zeek.connection")
    parsed, _ = format_.parse(Block("conn.log", data, 0, 1, True), state)
    address = pl.format("1:{}=", pl.col("event.id").str.slice(0, 27))
    return parsed.events.with_columns(
        pl.col("@timestamp").alias("connwatch.log_time"),
        pl.lit("outbound").alias("network.direction"),
        address.alias("network.community_id"),
    ).select(*STORED)


class Silent(BaseNode):
    """A node that takes any bulk request at once."""

    def perform_request(
        self, method: str, target: str, body: bytes | None = None, **_: Any
    ) -> NodeApiResponse:
        headers = HttpHeaders(
            {"content-type": "application/json", "x-elastic-product": "Elasticsearch"}
        )
        count = (body or b"").count(b"\n") // 2
        items = ",".join(['{"create":{"status":201}}'] * count)
        answer = f'{{"errors":false,"items":[{items}]}}'.encode()
        return NodeApiResponse(Meta(200, "1.1", headers, 0.0, self.config), answer)

    def close(self) -> None:
        """Nothing was opened."""


def plain(frame: pl.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
    indices = LAYOUT.event_indices(frame)
    for index, row in zip(indices, expand(frame).iter_rows(named=True), strict=True):
        yield index, nested(row)


def by_dumps(frame: pl.DataFrame) -> int:
    size = 0
    for index, document in plain(frame):
        action = {"create": {"_index": index, "_id": document["event"]["id"]}}
        size += len(f"{json.dumps(action)}\n{json.dumps(document)}\n".encode())
    return size


def by_helpers(frame: pl.DataFrame) -> int:
    node = NodeConfig("http", "localhost", 9200)
    with Elasticsearch([node], node_class=Silent) as client:
        actions = (
            {"_op_type": "create", "_index": index, "_id": one["event"]["id"], "_source": one}
            for index, one in plain(frame)
        )
        return sum(1 for _ in helpers.streaming_bulk(client, actions, chunk_size=5_000))


def by_ndjson(frame: pl.DataFrame) -> int:
    """One `write_ndjson` of two structs, and one replacement that splits each line."""
    size = 0
    for part in frame.iter_slices(16_000):
        whole = expand(part)
        names = [name for name in whole.columns if whole[name].null_count() < whole.height]
        index = LAYOUT.event_indices(part)
        action = pl.struct(create=pl.struct(_index=index, _id=part["event.id"]))
        text = whole.select(a=action, d=pl.struct(names)).write_ndjson()
        size += len(text.replace('},"d":{', "}\n{").encode())
    return size


def by_connwatch(frame: pl.DataFrame, *, gzip: bool = False) -> int:
    return sum(len(body.data) for body in event_bodies(frame, LAYOUT, gzip=gzip))


def bodies(rows: int, times: int, console: Console) -> None:
    frame = events(rows)
    few = frame.head(max(1, rows // 10))
    ways: dict[str, tuple[Callable[[pl.DataFrame], int], pl.DataFrame]] = {
        "connwatch": (by_connwatch, frame),
        "connwatch, gzip level 1": (lambda one: by_connwatch(one, gzip=True), frame),
        "one write_ndjson": (by_ndjson, frame),
        "json.dumps of each": (by_dumps, few),
        "helpers.streaming_bulk": (by_helpers, few),
    }
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(times):
        for name, (way, given) in ways.items():
            started = time.process_time()
            way(given)
            best[name] = min(best[name], (time.process_time() - started) / given.height)
    table = Table("bodies by", "events/s of one core", "connwatch is")
    for name, seconds in best.items():
        table.add_row(name, f"{1 / seconds:,.0f}", f"{seconds / best['connwatch']:.1f} x")
    console.print(f"{rows:,} events of {len(COLUMNS)} columns")
    console.print(table)


Change = Callable[[dict[str, Any]], None]


def _all_indexed(body: dict[str, Any]) -> None:
    def walk(properties: Mapping[str, Any]) -> None:
        for one in properties.values():
            one.pop("index", None)
            walk(one.get("properties", {}))

    walk(body["mappings"]["properties"])


def _milliseconds(body: dict[str, Any]) -> None:
    text = json.dumps(body["mappings"]).replace("date_nanos", "date")
    body["mappings"] = json.loads(text)


def _without(*path: str) -> Change:
    def change(body: dict[str, Any]) -> None:
        here = body
        for name in path[:-1]:
            here = here[name]
        here.pop(path[-1])

    return change


def _setting(name: str, value: Any) -> Change:
    def change(body: dict[str, Any]) -> None:
        body["settings"]["index"][name] = value

    return change


def _no_values(body: dict[str, Any]) -> None:
    body["mappings"]["properties"]["log"]["properties"]["offset"]["doc_values"] = False
    body["mappings"]["properties"]["event"]["properties"]["sequence"]["doc_values"] = False


def _kept(body: dict[str, Any]) -> None:
    for path in ("labels", "connwatch.extra"):
        here = body["mappings"]
        for name in path.split("."):
            here = here["properties"][name]
        here["synthetic_source_keep"] = "all"


SIZES: dict[str, Sequence[Change]] = {
    "as it is": (),
    "every field indexed": (_all_indexed,),
    "codec default": (_without("settings", "index", "codec"),),
    "not sorted": (_without("settings", "index", "sort"),),
    "date instead of date_nanos": (_milliseconds,),
    "none of the savings": (
        _all_indexed,
        _without("settings", "index", "codec"),
        _without("settings", "index", "sort"),
    ),
    "offset and sequence not searchable": (_no_values,),
    "synthetic source": (_setting("mapping.source.mode", "synthetic"),),
    "synthetic source, lists and unknown fields kept": (
        _setting("mapping.source.mode", "synthetic"),
        _setting("mapping.synthetic_source_keep", "arrays"),
        _kept,
    ),
}


def size(rows: int, url: str, console: Console) -> None:
    frame = events(rows)
    sent = list(event_bodies(frame, LAYOUT))
    name = LAYOUT.event_indices(frame)[0]
    own = f"{LAYOUT.prefix}-benchmark"
    table = Table("mapping", "bytes per event", "of as it is", "events/s taken")
    first = 0.0
    with connect(read_settings(nodes=(url,), environment={})) as server:
        for label, changes in SIZES.items():
            body = {
                "settings": settings(LAYOUT),
                "mappings": copy.deepcopy(event_mappings(LAYOUT)),
            }
            for change in changes:
                change(body)
            server.perform("DELETE", f"/{own}")
            made = server.perform("PUT", f"/{own}", body)
            if not made.ok:
                table.add_row(label, made.reason[:60], "", "")
                continue
            started = time.perf_counter()
            for one in sent:
                data = one.data.replace(name.encode(), own.encode())
                answer = server.perform(
                    "POST",
                    "/_bulk?filter_path=errors",
                    data,
                    headers={
                        "content-type": "application/vnd.elasticsearch+x-ndjson; compatible-with=8"
                    },
                    timeout=120,
                )
                if answer.body != {"errors": False}:
                    raise SystemExit(f"{label}: {answer.status} {answer.body}")
            taken = time.perf_counter() - started
            server.perform("POST", f"/{own}/_forcemerge?max_num_segments=1", timeout=300)
            server.perform("POST", f"/{own}/_refresh")
            told = server.get(f"/{own}/_stats/store", filter_path="_all.primaries.store")
            each = told["_all"]["primaries"]["store"]["size_in_bytes"] / rows
            first = first or each
            table.add_row(label, f"{each:.1f}", f"{each / first:.2f}", f"{rows / taken:,.0f}")
        server.perform("DELETE", f"/{own}")
        console.print(f"{rows:,} events on {server.version_text}, one segment")
    sent_bytes = sum(one.size for one in sent) / rows
    console.print(table)
    console.print(f"sent: {sent_bytes:.0f} bytes an event")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("section", choices=["bodies", "size", "posting"])
    options.add_argument("--rows", type=int, default=200_000)
    options.add_argument("--times", type=int, default=5)
    options.add_argument("--url", default=os.environ.get("CONNWATCH_TEST_ES", ""))
    chosen = options.parse_args()
    console = Console(highlight=False)
    if chosen.section == "bodies":
        bodies(chosen.rows, chosen.times, console)
    elif not chosen.url:
        options.error(f"{chosen.section} needs --url, or CONNWATCH_TEST_ES")
    elif chosen.section == "posting":
        posting(events(chosen.rows), chosen.times, chosen.url, console)
    else:
        size(chosen.rows, chosen.url, console)


if __name__ == "__main__":
    main()
