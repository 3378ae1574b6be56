"""What indices held at one moment, read in pages: whatever is written meanwhile, no document comes
twice and none is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from connwatch.errors import ServerAwayError, ServerError

from .client import Server, refusal, segment
from .dsl import Dsl

#: how long a server keeps it after each request
_KEPT: Final = "2m"
#: documents of a page, and buckets
_PAGE: Final = 2_000
_BUCKETS: Final = 10_000
#: the order that costs nothing
ANY_ORDER: Final[tuple[Dsl, ...]] = ({"_shard_doc": "asc"},)


class Snapshot:
    """The documents of an alias; an alias that is not there has none. ServerError: the server
    answers with an error, or only for a part of the documents."""

    def __init__(self, server: Server, alias: str) -> None:
        self._server = server
        path = f"/{segment(alias)}/_pit"
        params = {"keep_alive": _KEPT, "ignore_unavailable": "true"}
        answer = server.perform("POST", path, params=params)
        if not answer.ok:
            raise refusal(answer, f"POST {path}")
        self._id: str = answer.body["id"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A server that is away forgets it by itself.
        with suppress(ServerAwayError):
            self._server.perform("DELETE", "/_pit", {"id": self._id})

    def count(self, query: Dsl) -> int:
        told = self._search({"query": query, "size": 0, "track_total_hits": True})
        return int(told["hits"]["total"]["value"])

    def pages(
        self,
        query: Dsl,
        *,
        sort: Sequence[Dsl] = ANY_ORDER,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
        verbatim: bool = False,
    ) -> Iterator[list[dict[str, Any]]]:
        """Hits in pages that are not empty. fields: of the documents, None for all. limit: hits in
        all. verbatim: numbers are `fitting.Number`."""
        body: dict[str, Any] = {"query": query, "sort": list(sort), "track_total_hits": False}
        if fields is not None:
            body["_source"] = list(fields)
        left = limit
        while left is None or left > 0:
            body["size"] = _PAGE if left is None else min(left, _PAGE)
            hits = self._search(body, verbatim=verbatim)["hits"]["hits"]
            if hits:
                yield hits
            if len(hits) < body["size"]:
                return
            body["search_after"] = hits[-1]["sort"]
            left = None if left is None else left - len(hits)

    def buckets(self, query: Dsl, sources: Sequence[Dsl]) -> Iterator[tuple[tuple[Any, ...], int]]:
        """Every combination of values that documents have, with their number. sources: of a
        composite aggregation."""
        composite: dict[str, Any] = {
            "size": _BUCKETS,
            "sources": [{str(place): source} for place, source in enumerate(sources)],
        }
        body = {
            "query": query, "size": 0, "track_total_hits": False,
            "aggs": {"found": {"composite": composite}},
        }  # fmt: skip
        while True:
            told = self._search(body).get("aggregations", {}).get("found", {})
            for bucket in told.get("buckets", ()):
                values = (bucket["key"][str(place)] for place in range(len(sources)))
                yield tuple(values), bucket["doc_count"]
            if "after_key" not in told:
                return
            composite["after"] = told["after_key"]

    def _search(self, body: Dsl, *, verbatim: bool = False) -> Any:
        whole = {**body, "pit": {"id": self._id, "keep_alive": _KEPT}}
        params = {"allow_partial_search_results": "false"}
        answer = self._server.perform("POST", "/_search", whole, params=params, verbatim=verbatim)
        if not answer.ok:
            raise refusal(answer, "POST /_search")
        told, shards = answer.body, answer.body["_shards"]
        if int(shards["failed"]) or told["timed_out"]:
            raise ServerError(
                f"only {shards['successful']} of {shards['total']} shards answered",
                where=answer.node,
                hint="see the state of the cluster: GET /_cluster/health",
            )
        self._id = told["pit_id"]
        return told
