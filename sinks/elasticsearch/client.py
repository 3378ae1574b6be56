"""The connection to a server: the official client, and a way to see every status oneself.

The client is of the 8.19 line, which servers of versions 8 and 9 understand.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

from elastic_transport import ConnectionTimeout, HttpHeaders, TransportError
from elasticsearch import Elasticsearch
from elasticsearch.serializer import (
    DEFAULT_SERIALIZERS,
    CompatibilityModeJsonSerializer,
    CompatibilityModeNdjsonSerializer,
)

from connwatch.errors import (
    ServerAccessError,
    ServerAwayError,
    ServerError,
    ServerKindError,
    ServerLockedError,
)

from .fitting import loads
from .settings import Settings
from .transport import address, failure, node_class, node_configs

#: versions that are known to work, the first and the last
OLDEST: Final = 8
NEWEST: Final = 9
JSON: Final = "application/vnd.elasticsearch+json; compatible-with=8"
NDJSON: Final = "application/vnd.elasticsearch+x-ndjson; compatible-with=8"
#: answered by every server, also by one without `GET /`
_WHO: Final = "/_nodes/_local/_none?filter_path=nodes.*.version"
_BLOCKS: Final = "/_cluster/settings?filter_path=*.cluster.blocks"
#: blocks that writes meet, by their names under `cluster.blocks` and `index.blocks`
WRITE_BLOCKS: Final = ("read_only", "read_only_allow_delete", "write")
_VERSION: Final = re.compile(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})")

_VERBATIM: ContextVar[bool] = ContextVar("_VERBATIM", default=False)


class _Json(CompatibilityModeJsonSerializer):
    """Reads numbers as the text that they are where that is asked for."""

    def loads(self, data: bytes) -> Any:
        if _VERBATIM.get():
            return loads(data)
        found = all_created(data)
        return super().loads(data) if found is None else found


class _Ndjson(CompatibilityModeNdjsonSerializer):
    """Bodies that are bytes already are sent as they are: the client's own would copy them, and put
    a line's end behind gzip."""

    def dumps(self, data: Any) -> bytes:
        return data if isinstance(data, bytes) else super().dumps(data)


#: an item of an answer to a bulk request, of a document that was created
CREATED: Final = {"create": {"status": 201}}
_BEFORE, _CREATED, _AFTER = b'{"errors":false,"items":[', b'{"create":{"status":201}}', b"]}"


def all_created(data: bytes) -> dict[str, Any] | None:
    """What an answer says by which every document of a bulk request was created, as reading each
    of its bytes would give it; None: it says anything else, or says it in other words.

    All of its items are `CREATED` itself.
    """
    if not data.startswith(_BEFORE + _CREATED):
        return None
    count = (len(data) - len(_BEFORE) - len(_AFTER) + 1) // (len(_CREATED) + 1)
    if data != _BEFORE + b",".join([_CREATED] * count) + _AFTER:
        return None
    return {"errors": False, "items": [CREATED] * count}


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. body: parsed JSON, or text; None: empty. headers: names in lower case. node: the
    address that answered."""

    status: int
    headers: Mapping[str, str]
    body: Any
    node: str

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def reason(self) -> str:
        """What the server said is wrong, in one line; empty: nothing."""
        error = self.body.get("error") if isinstance(self.body, dict) else None
        if isinstance(error, dict):
            return f"{error.get('type', 'error')}: {error.get('reason', '')}"
        return str(error) if error else ""


class Server:
    """An Elasticsearch of a known version. client: the official client, for everything that may
    raise its exceptions; `perform` for what reads statuses itself. Threads may share it."""

    def __init__(self, settings: Settings, *, connections: int = 10) -> None:
        headers = _authorization(settings)
        self.settings = settings
        self.version: tuple[int, int, int] = (0, 0, 0)
        self.client = Elasticsearch(
            node_configs(settings, headers, connections),
            node_class=node_class(settings),
            serializers={
                **DEFAULT_SERIALIZERS,
                _Json.mimetype: _Json(),
                _Ndjson.mimetype: _Ndjson(),
            },
            randomize_nodes_in_pool=False,
            max_retries=len(settings.nodes) - 1,
            retry_on_status=(),
        )

    def __repr__(self) -> str:
        return f"Server({', '.join(self.settings.nodes)}, {self.version_text})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.client.close()

    @property
    def version_text(self) -> str:
        """Such as 8.19.0."""
        return ".".join(map(str, self.version))

    def perform(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        once: bool = False,
        verbatim: bool = False,
    ) -> Response:
        """One request, whatever the status of its answer.

        body: bytes as they are, else something that becomes JSON. params: of the query. timeout:
        seconds, None as in the settings. verbatim: numbers of the answer are `fitting.Number`. A
        node that cannot be reached is passed over for the next one (at the next request, if
        `once`), an answer of any status is not. ServerError: no answer came; whether the request
        took effect is not known then, see `transport.unsent`.
        """
        target = f"{path}{'&' if '?' in path else '?'}{urlencode(params)}" if params else path
        sent = HttpHeaders({"accept": JSON})
        if body is not None:
            sent["content-type"] = JSON
        sent.update(headers or {})
        before = _VERBATIM.set(verbatim)
        try:
            answer = self.client.transport.perform_request(
                method,
                target,
                body=body,
                headers=sent,
                max_retries=0 if once else len(self.settings.nodes) - 1,
                retry_on_status=(),
                request_timeout=self.settings.timeout if timeout is None else timeout,
            )
        except TransportError as error:
            raise self._failure(error, timeout) from error
        finally:
            _VERBATIM.reset(before)
        meta = answer.meta
        named = {name.lower(): value for name, value in meta.headers.items()}
        return Response(meta.status, named, answer.body, address(meta.node))

    def _failure(self, error: TransportError, timeout: float | None) -> ServerError:
        if isinstance(error, ConnectionTimeout) and timeout is not None:
            where = ", ".join(self.settings.nodes)
            return ServerAwayError(f"no answer within {timeout:g} s", where=where)
        return failure(error, self.settings)

    def get(self, path: str, **params: str) -> Any:
        """The body of an answer that must be a success. ServerError."""
        answer = self.perform("GET", path, params=params)
        if not answer.ok:
            raise refusal(answer, f"GET {path}")
        return answer.body

    def refuse_other_kinds(self) -> None:
        """Find out the version. ServerKindError: not Elasticsearch, too old or too new;
        ServerAccessError: it does not say who it is."""
        answer = self.perform("GET", _WHO)
        if answer.status in (401, 403):
            raise refusal(answer, "GET /_nodes")
        version = _version_of_node(answer.body)
        if answer.headers.get("x-elastic-product") != "Elasticsearch":
            raise self._stranger(answer)
        if version is None:
            # Where nodes are nobody's business.
            about = self.perform("GET", "/")
            if about.status in (401, 403):
                raise refusal(about, "GET /")
            version = _version_of(about.body)
        if version is None:
            raise refusal(answer, "GET /_nodes")
        self.version = version
        if not OLDEST <= version[0] <= NEWEST:
            raise self._other_version(answer.node, self.version_text)

    def _stranger(self, answer: Response) -> ServerError:
        """Who it is that answered, if not an Elasticsearch of this decade."""
        about = self.perform("GET", "/")
        told = about.body if isinstance(about.body, dict) else {}
        version = _version_of(told)
        number = ".".join(map(str, version)) if version else ""
        if isinstance(told.get("version"), dict) and told["version"].get("distribution"):
            name = "OpenSearch" if told["version"]["distribution"] == "opensearch" else "another"
            return ServerKindError(
                f"this is {name} {number}, not Elasticsearch",
                where=answer.node,
                hint=f"connwatch writes to Elasticsearch {OLDEST} and {NEWEST}",
            )
        if version and "You Know, for Search" in str(told.get("tagline")) and version[0] < OLDEST:
            return self._other_version(answer.node, number)
        if answer.status >= 500 or answer.status == 429:
            return ServerAwayError(
                f"something answers with status {answer.status}",
                where=answer.node,
                hint="a proxy before a server that is down? Try again later",
            )
        status = f" (status {answer.status})"
        return ServerKindError(
            f"what answers is not Elasticsearch{status}",
            where=answer.node,
            hint="check host, port and path; a proxy must pass on the header X-Elastic-Product",
        )

    def _other_version(self, node: str, version: str) -> ServerKindError:
        return ServerKindError(
            f"this is Elasticsearch {version}",
            where=node,
            hint=f"connwatch works with versions {OLDEST} and {NEWEST}",
        )

    def locks(self) -> list[str]:
        """The blocks on writes that the whole cluster has, by name."""
        told = self.get(_BLOCKS)
        return sorted(
            {f"cluster.blocks.{one}" for kind in told.values() for one in blocks(kind["cluster"])}
        )

    def refuse_locked(self) -> None:
        """ServerLockedError: the whole cluster takes no writes."""
        found = self.locks()
        if found:
            raise ServerLockedError(
                f"the cluster takes no writes: {', '.join(found)}",
                where=", ".join(self.settings.nodes),
                hint="whoever set it can lift it: PUT /_cluster/settings with null for it",
            )


def connect(settings: Settings, *, writing: bool = False, connections: int = 10) -> Server:
    """A server that answers and that connwatch knows to work with.

    writing: it must take writes. connections: that may be open to each node. ServerError and its
    branches say what is in the way, ConfigError which file is wrong.
    """
    server = Server(settings, connections=connections)
    try:
        server.refuse_other_kinds()
        if writing:
            server.refuse_locked()
    except BaseException:
        server.close()
        raise
    return server


def refusal(answer: Response, what: str) -> ServerError:
    """An answer that is not a success, as an error. what: was asked, such as `GET /_nodes`."""
    said = f": {answer.reason}" if answer.reason else ""
    if answer.status == 401:
        return ServerAccessError(
            f"it does not know who asks (401){said}",
            where=answer.node,
            hint="set CONNWATCH_ES_USERNAME and CONNWATCH_ES_PASSWORD, or CONNWATCH_ES_API_KEY,"
            " and check that they are right",
        )
    if answer.status == 403:
        return ServerAccessError(
            f"{what} is not allowed (403){said}",
            where=answer.node,
            hint="deploy/elasticsearch/role.json is the role that connwatch needs",
        )
    if answer.status in (429, 502, 503, 504):
        return ServerAwayError(
            f"{what} failed ({answer.status}){said}", where=answer.node, hint="try again later"
        )
    return ServerError(f"{what} failed ({answer.status}){said}", where=answer.node)


def blocks(settings: Any) -> list[str]:
    """The names of blocks on writes that are set, of settings that have `blocks`."""
    told = settings["blocks"]
    return [name for name in WRITE_BLOCKS if str(told.get(name)).lower() == "true"]


def segment(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="*,")


def _authorization(settings: Settings) -> dict[str, str]:
    if settings.password is not None:
        pair = f"{settings.username}:{settings.password.reveal()}".encode()
        return {"authorization": f"Basic {base64.b64encode(pair).decode()}"}
    if settings.api_key is not None:
        key = settings.api_key.reveal()
        encoded = base64.b64encode(key.encode()).decode() if ":" in key else key
        return {"authorization": f"ApiKey {encoded}"}
    if settings.token is not None:
        return {"authorization": f"Bearer {settings.token.reveal()}"}
    return {}


def _version_of_node(body: Any) -> tuple[int, int, int] | None:
    nodes = body.get("nodes") if isinstance(body, dict) else None
    if not isinstance(nodes, dict):
        return None
    versions = [_parsed(one.get("version")) for one in nodes.values() if isinstance(one, dict)]
    return min((one for one in versions if one), default=None)


def _version_of(body: Any) -> tuple[int, int, int] | None:
    """Of the answer of `GET /`."""
    version = body.get("version") if isinstance(body, dict) else None
    return _parsed(version.get("number")) if isinstance(version, dict) else None


def _parsed(text: Any) -> tuple[int, int, int] | None:
    found = _VERSION.match(text) if isinstance(text, str) else None
    return (int(found[1]), int(found[2]), int(found[3])) if found else None
