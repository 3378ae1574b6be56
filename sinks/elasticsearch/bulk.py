"""One bulk request, and what the server says became of each of its documents.

Bulk answers 200 with failed items inside, in the order of the lines. What can pass by itself
(overload, a node that left, a block on writes) or by somebody's help (rights, templates) leaves a
document as it is, to be sent again; only what the document itself is guilty of (a value that does
not fit the mapping) refuses it, with the server's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import IntEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from connwatch.errors import (
    ServerAccessError,
    ServerAwayError,
    ServerError,
    ServerKindError,
    ServerLockedError,
)

from .bodies import compressed
from .client import CREATED, NDJSON, Response, Server, refusal
from .transport import timed_out, unsent

#: what is asked of the answer: an item's place says which document it is
_WANTED: Final = ",".join(
    ["errors", "items.*.status"]
    + [f"items.*.error.{one}" for one in ("type", "reason", "caused_by.type", "caused_by.reason")]
)
#: of a server's words about a document, characters that are kept
_LONGEST: Final = 1_000
#: how long a server may ask to be left alone, seconds
_LONGEST_AFTER: Final = 600.0

_BLOCK: Final = "cluster_block_exception"
_THERE: Final = "version_conflict_engine_exception"
#: failures of an item that are not its document's, whatever their status -> what helps
_HELP: Final = {
    "index_not_found_exception": "connwatch elasticsearch setup",
    "index_closed_exception": "open the index: POST /INDEX/_open",
    "validation_exception": "the cluster has all the shards it may have: add nodes, remove"
    " indices, or use elasticsearch.routing: month",
    "security_exception": "deploy/elasticsearch/role.json is the role that connwatch needs",
}
#: failures of a shard that is away, while others may go on
_SHARDS: Final = ("unavailable_shards_exception", "no_shard_available_action_exception")
#: whole requests that are wrong whatever is in them
_NOT_CONTENT: Final = ("media_type_header_exception", "security_exception", "validation_exception")


class Fate(IntEnum):
    """What became of a document. RETRY: nothing is known to have become of it."""

    RETRY = 0
    STORED = 1
    KNOWN = 2
    UPDATED = 3
    REMOVED = 4
    REFUSED = 5


_FATES: Final = {
    ("create", 201): Fate.STORED,
    ("update", 200): Fate.UPDATED,
    ("update", 201): Fate.UPDATED,
    ("delete", 200): Fate.REMOVED,
    ("delete", 404): Fate.REMOVED,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one request came to.

    fates: `Fate` of each document, in order. reasons: by place, why it was refused. trouble: why
    some are to be sent again. after: seconds that the server asks to wait first. divide: the server
    cannot take these documents in one request, for this reason. too_long: as they are too many
    bytes. busy: the server has too much to do. cut: it was sent, and no answer came, or none that
    can be read. unsure: the server may have taken any of them, as after a cut or a status of 5xx.
    apart: what is to be sent again waits for its own indices, not for the server. fault: the server
    failed (500) on all that is to be sent again, which may be a document's doing; its words.
    """

    fates: npt.NDArray[np.uint8]
    reasons: Mapping[int, str]
    trouble: ServerError | None = None
    after: float = 0.0
    divide: str | None = None
    too_long: bool = False
    busy: bool = False
    cut: bool = False
    unsure: bool = False
    apart: bool = False
    fault: str | None = None

    @property
    def final(self) -> int:
        """How many have their final fate."""
        return int(np.count_nonzero(self.fates))


def post(server: Server, data: bytes, count: int, *, gzip: bool) -> Outcome:
    """Post one body of `count` documents, once, to one node. data: lines, which become gzip."""
    headers = {"content-type": NDJSON}
    if gzip:
        headers["content-encoding"] = "gzip"
        data = compressed(data)
    # Shards that are away are to be said before the connection gives up.
    wait = max(1, int(server.settings.timeout / 2))
    path = f"/_bulk?filter_path={_WANTED}&timeout={wait}s"
    try:
        answer = server.perform("POST", path, data, headers=headers, once=True)
    except ServerError as error:
        return _later(count, error, busy=timed_out(error), cut=not unsent(error))
    return outcome(answer, count)


def outcome(answer: Response, count: int) -> Outcome:
    """What an answer says of a request of `count` documents."""
    if answer.ok:
        return _of_items(answer, count)
    kind, after = _type(answer.body), _after(answer.headers)
    if answer.status == 413:
        reason = f"too large for the server (413){': ' if answer.reason else ''}{answer.reason}"
        return Outcome(_none(count), {}, divide=_short(reason), too_long=True)
    ours = answer.headers.get("x-elastic-product") == "Elasticsearch"
    if answer.status == 400 and ours and kind and kind not in (*_HELP, *_NOT_CONTENT, _BLOCK):
        return Outcome(_none(count), {}, divide=_short(answer.reason))
    if kind == _BLOCK:
        return _later(count, _locked(answer.reason, answer.node), after=after)
    if answer.status in (408, 429) or answer.status >= 500:
        busy = ServerAwayError(
            f"it takes no more for now ({answer.status}){': ' if answer.reason else ''}"
            f"{answer.reason}",
            where=answer.node,
            hint="it is overloaded, or a part of it is away",
        )
        fault = _short(answer.reason or "no reason") if answer.status == 500 else None
        return _later(count, busy, after=after, busy=True, unsure=answer.status >= 500, fault=fault)
    return _later(count, refusal(answer, "POST /_bulk"), after=after)


def _of_items(answer: Response, count: int) -> Outcome:
    try:
        items = answer.body["items"]
        if isinstance(items, list) and len(items) == count:
            return _read(items, answer.node)
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    half = ServerKindError(
        "its answer does not say what became of each document",
        where=answer.node,
        hint="is there a proxy that changes answers?",
    )
    return _later(count, half, cut=True)


def _read(items: list[Mapping[str, Any]], node: str) -> Outcome:
    """AttributeError, KeyError, TypeError, ValueError: these are not the items of an answer."""
    if items.count(CREATED) == len(items):
        return Outcome(np.full(len(items), Fate.STORED, np.uint8), {})
    fates = np.empty(len(items), np.uint8)
    reasons: dict[int, str] = {}
    trouble: ServerError | None = None
    busy = passing = failing = False
    fault: str | None = None
    # A loop: the answer is a list of objects.
    for place, item in enumerate(items):
        ((action, told),) = item.items()
        status = told["status"]
        fate = _FATES.get((action, status))
        if fate is None:
            fate, why = _failed(action, status, told["error"], node)
            if fate is Fate.REFUSED:
                reasons[place] = _said(told["error"])
            away = isinstance(why, ServerAwayError)
            busy = busy or away
            passing = passing or (away and told["error"]["type"] not in _SHARDS)
            if status == 500:
                fault = fault or _said(told["error"])
            failing = failing or (fate is Fate.RETRY and status != 500)
            # What somebody must see to is said before what passes.
            if trouble is None or isinstance(trouble, ServerAwayError):
                trouble = why or trouble
        fates[place] = fate
    apart = trouble is not None and not passing
    fault = None if failing else fault
    return Outcome(fates, reasons, trouble, busy=busy, apart=apart, fault=fault)


def _failed(
    action: str, status: int, error: Mapping[str, Any], node: str
) -> tuple[Fate, ServerError | None]:
    """The fate of an item that failed, and why it is to be sent again if it is."""
    kind = error["type"]
    if status == 409 and action == "create" and kind == _THERE:
        return Fate.KNOWN, None
    said = f"{_said(error)} ({status})"
    if kind == _BLOCK:
        return Fate.RETRY, _locked(said, node)
    if status in (401, 403):
        return Fate.RETRY, ServerAccessError(said, where=node, hint=_HELP["security_exception"])
    if kind in _HELP:
        return Fate.RETRY, ServerError(said, where=node, hint=_HELP[kind])
    if status in (408, 409, 429) or status >= 500:
        return Fate.RETRY, ServerAwayError(said, where=node, hint="connwatch sends it again")
    return Fate.REFUSED, None


def _locked(said: str, node: str) -> ServerLockedError:
    return ServerLockedError(
        f"it takes no writes: {said}",
        where=node,
        hint="make room on the server's disk, or lift the block: connwatch elasticsearch check",
    )


def _later(
    count: int,
    trouble: ServerError,
    *,
    after: float = 0.0,
    busy: bool = False,
    cut: bool = False,
    unsure: bool = False,
    fault: str | None = None,
) -> Outcome:
    unsure = unsure or cut
    return Outcome(_none(count), {}, trouble, after, busy=busy, cut=cut, unsure=unsure, fault=fault)


def _none(count: int) -> npt.NDArray[np.uint8]:
    return np.zeros(count, np.uint8)


def _type(body: Any) -> str | None:
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("type")) if isinstance(error, dict) else None


def _said(error: Mapping[str, Any]) -> str:
    """The server's words, with what is behind them."""
    cause = error.get("caused_by")
    behind = f": {cause['reason']}" if isinstance(cause, dict) and cause.get("reason") else ""
    return _short(f"{error['type']}: {error.get('reason', '')}{behind}")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _after(headers: Mapping[str, str]) -> float:
    """Seconds of Retry-After, which is a number of them or a date; 0: nothing that can be read."""
    text = headers.get("retry-after", "")
    try:
        if text.strip().isascii() and text.strip().isdigit():
            seconds = float(text)
        else:
            until = parsedate_to_datetime(text)
            until = until if until.tzinfo else until.replace(tzinfo=UTC)
            seconds = (until - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, IndexError):
        return 0.0
    return min(max(seconds, 0.0), _LONGEST_AFTER)
