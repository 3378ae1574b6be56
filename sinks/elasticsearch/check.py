"""What is in the way of indexing: asked of the server before anything is sent to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connwatch.errors import ConnwatchError, ServerError

from .client import Response, Server, blocks, connect, refusal
from .privileges import CLUSTER, INDICES, names, role
from .settings import Settings

#: seconds between the clocks of server and this machine that are worth a word
_CLOCKS_APART: Final = 5.0
_CLOCK: Final = "/_nodes/_local/stats/os?filter_path=nodes.*.timestamp"
_HEALTH: Final = "/_cluster/health?filter_path=status,number_of_data_nodes"
_INDEX_BLOCKS: Final = "?filter_path=*.settings.index.blocks"
#: what a server may offer -> a request that only such a server answers with 200
_OFFERS: Final[dict[str, tuple[str, str, Any]]] = {
    "index lifecycle (ILM)": ("GET", "/_ilm/policy/connwatch-is-asking", None),
    "data streams": ("GET", "/_data_stream/connwatch-is-asking*", None),
    "ES|QL": ("POST", "/_query", {"query": "ROW a = 1"}),
}
_ROLE: Final = (
    "give its user the role of deploy/elasticsearch/role.json:"
    " PUT /_security/role/connwatch, with that file as the body"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. state: ok; note (worth knowing); warning (works, but see to
    it); failed. hint: what to do, None where there is nothing to."""

    check: str
    state: str
    message: str
    hint: str | None = None


#: looks at one more thing, such as the templates
Probe = Callable[[Server], Iterable[Finding]]


def check(settings: Settings, prefix: str, more: Sequence[Probe] = ()) -> list[Finding]:
    """What is found, in the order in which it was looked at; the first failure to connect is the
    last finding. prefix: of the names of indices. more: what else is looked at, at the end."""
    found = [Finding("settings", "warning", text) for text in settings.warnings]
    try:
        server = connect(settings)
    except ServerError as error:
        return [*found, _failed("connection", error)]
    with server:
        where = ", ".join(settings.nodes)
        found.append(Finding("connection", "ok", f"{where} answers, {_protection(settings)}"))
        found.append(Finding("version", "ok", f"Elasticsearch {server.version_text}"))
        probes: list[tuple[str, Probe]] = [
            ("offers", _offered),
            ("user", _user),
            ("privileges", lambda server: _privileges(server, prefix)),
            ("health", _health),
            ("writable", lambda server: _writable(server, prefix)),
            ("clock", _clock),
            *(("templates", probe) for probe in more),
        ]
        for name, probe in probes:
            try:
                found.extend(probe(server))
            except ServerError as error:
                found.append(_failed(name, error))
    return found


def _failed(name: str, error: ConnwatchError) -> Finding:
    where = f"{error.where}: " if error.where else ""
    return Finding(name, "failed", f"{where}{error.message}", error.hint)


def _protection(settings: Settings) -> str:
    secure = [node for node in settings.nodes if node.startswith("https://")]
    if len(secure) == len(settings.nodes):
        return "TLS"
    return "some nodes without TLS" if secure else "without TLS"


def _offered(server: Server) -> Iterator[Finding]:
    there: list[str] = []
    lacking: list[str] = []
    for name, (method, path, body) in _OFFERS.items():
        answer = server.perform(method, path, body)
        (there if _known_there(answer) else lacking).append(name)
    if there:
        yield Finding("offers", "ok", f"has {', '.join(there)}")
    if lacking:
        yield Finding("offers", "note", f"has no {', '.join(lacking)}; connwatch works without")


def _known_there(answer: Response) -> bool:
    """Whether the server has what was asked for: also when it is not there or not allowed."""
    return answer.ok or answer.status in (403, 404)


def _user(server: Server) -> Iterator[Finding]:
    answer = server.perform("GET", "/_security/_authenticate")
    if answer.status in (400, 404, 405):
        said = "it asks nobody who he is: security is off"
        yield Finding("user", "warning", said, "let nobody else reach it, or turn security on")
        return
    if not answer.ok:
        raise refusal(answer, "GET /_security/_authenticate")
    told = answer.body if isinstance(answer.body, dict) else {}
    roles = ", ".join(map(str, told.get("roles") or ())) or "none"
    way = told.get("authentication_type", "?")
    yield Finding("user", "ok", f"{told.get('username')} ({way}; roles: {roles})")


def _privileges(server: Server, prefix: str) -> Iterator[Finding]:
    needed = role(prefix)
    asked = {"cluster": needed["cluster"], "index": needed["indices"]}
    answer = server.perform("POST", "/_security/user/_has_privileges", asked)
    if answer.status in (400, 404, 405):
        yield Finding("privileges", "ok", "everybody may do everything: security is off")
        return
    if not answer.ok:
        raise refusal(answer, "POST /_security/user/_has_privileges")
    missing = list(_missing(answer.body, prefix))
    for text in missing:
        yield Finding("privileges", "failed", text, _ROLE)
    if not missing:
        yield Finding("privileges", "ok", "all that are needed")


def _missing(told: Any, prefix: str) -> Iterator[str]:
    """Each privilege that the user lacks, and what it is for."""
    cluster = told.get("cluster") or {}
    for privilege, purpose in CLUSTER.items():
        if not cluster.get(privilege):
            yield f"lacks {privilege} on the cluster, {purpose}"
    indices = told.get("index") or {}
    for family, privileges in INDICES.items():
        for privilege, purpose in privileges.items():
            on = [
                name
                for name in names(prefix, family)
                if not (indices.get(name) or {}).get(privilege)
            ]
            if on:
                yield f"lacks {privilege} on {', '.join(on)}, {purpose}"


def _health(server: Server) -> Iterator[Finding]:
    told = server.get(_HEALTH)
    nodes = told.get("number_of_data_nodes", 0)
    message = f"{told.get('status')}, {nodes} node{'' if nodes == 1 else 's'} with data"
    if told.get("status") == "red":
        hint = "some shards are lost or not yet there: GET /_cluster/allocation/explain"
        yield Finding("health", "warning", message, hint)
    elif not nodes:
        yield Finding("health", "failed", message, "there is no node that could keep data")
    else:
        yield Finding("health", "ok", message)


def _writable(server: Server, prefix: str) -> Iterator[Finding]:
    """Blocks on the cluster, and on indices: those of a disk that is nearly full, and those that
    somebody set."""
    cluster = server.locks()
    if cluster:
        message = f"the cluster takes no writes: {', '.join(cluster)}"
        yield Finding("writable", "failed", message, "PUT /_cluster/settings with null for it")
    told = server.get(f"/{prefix}-events-*,{prefix}-alerts-*/_settings{_INDEX_BLOCKS}")
    set_on = {name: blocks(one["settings"]["index"]) for name, one in told.items()}
    full = sorted(name for name, found in set_on.items() if "read_only_allow_delete" in found)
    others = sorted(name for name, found in set_on.items() if found and name not in full)
    if full:
        message = f"the server's disk is nearly full: no writes to {_some(full)}"
        hint = "make room on it; the server then lifts index.blocks.read_only_allow_delete"
        yield Finding("writable", "failed", message, hint)
    if others:
        message = f"no writes to {_some(others)}"
        yield Finding("writable", "warning", message, "somebody set index.blocks on them")
    if not (cluster or full or others):
        yield Finding("writable", "ok", "takes writes")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def _clock(server: Server) -> Iterator[Finding]:
    before = time.time()
    told = server.get(_CLOCK)
    after = time.time()
    nodes = told.get("nodes") or {}
    stamps = [one["timestamp"] / 1000 for one in nodes.values()]
    if not stamps:
        yield Finding("clock", "note", "the server does not tell its time")
        return
    apart = stamps[0] - (before + after) / 2
    unsure = (after - before) / 2
    if abs(apart) > _CLOCKS_APART + unsure:
        side = "ahead of" if apart > 0 else "behind"
        message = f"the server's clock is {abs(apart):,.0f} s {side} this machine's"
        hint = "set both by NTP: searches by time, retention and certificates depend on it"
        yield Finding("clock", "warning", message, hint)
    else:
        yield Finding(
            "clock", "ok", f"within {max(abs(apart), unsure, 0.1):.1f} s of this machine's"
        )
