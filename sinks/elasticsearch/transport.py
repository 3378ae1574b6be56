"""Connections to the nodes, and what their failures mean to people."""

from __future__ import annotations

import logging
import ssl
from typing import Any, Final
from urllib.parse import urlsplit

import certifi
import urllib3
from elastic_transport import (
    BaseNode,
    ConnectionTimeout,
    NodeConfig,
    SerializationError,
    TlsError,
    TransportError,
    Urllib3HttpNode,
)
from elastic_transport import ConnectionError as NoConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
)

from connwatch.errors import (
    ConfigError,
    ServerAwayError,
    ServerError,
    ServerKindError,
    ServerTrustError,
)

from .deadline import POOLS, HTTPPool, HTTPSPool
from .settings import Settings

# What goes wrong is said by errors; the transport's own lines are for whoever asks for them.
logging.getLogger("elastic_transport").addHandler(logging.NullHandler())

#: OpenSSL's numbers of what is wrong with a certificate
_EXPIRED: Final = (9, 10)
_UNKNOWN_CA: Final = (2, 18, 19, 20, 21)
_OTHER_NAME: Final = (62, 64)

_CUT_SHORT: Final = "does it want elasticsearch.client_certificate? see the server's log"


def node_configs(settings: Settings, headers: dict[str, str], connections: int) -> list[NodeConfig]:
    """One for each node. connections: that may be open to a node at once. ConfigError for files
    that are no certificates."""
    configs = []
    for node in settings.nodes:
        parts = urlsplit(node)
        secure = parts.scheme == "https"
        configs.append(
            NodeConfig(
                scheme=parts.scheme,
                host=parts.hostname or "",
                port=parts.port or 9200,
                path_prefix=parts.path,
                headers=headers,
                connections_per_node=connections,
                request_timeout=settings.timeout,
                ssl_context=_context(settings) if secure else None,
                ssl_assert_fingerprint=settings.fingerprint if secure else None,
            )
        )
    return configs


def node_class(settings: Settings) -> type[BaseNode]:
    """Connections that trust only the configured authority, through the proxy if there is one."""

    class Node(Urllib3HttpNode):
        def __init__(self, config: NodeConfig) -> None:
            super().__init__(config)
            options: dict[str, Any] = {
                "timeout": urllib3.Timeout(total=config.request_timeout),
                "maxsize": config.connections_per_node,
                "block": True,
            }
            if config.scheme == "https":
                options["ssl_context"] = config.ssl_context
                if config.ssl_assert_fingerprint:
                    options["assert_fingerprint"] = config.ssl_assert_fingerprint
            self.pool.close()
            if settings.proxy is not None:
                self.pool = _Proxied(settings.proxy, config, options)  # type: ignore[assignment]
            elif config.scheme == "https":
                self.pool = HTTPSPool(config.host, config.port, **options)
            else:
                self.pool = HTTPPool(config.host, config.port, **options)

    return Node


class _Proxied:
    """A pool whose requests go through a proxy: a tunnel for https."""

    def __init__(self, proxy: str, config: NodeConfig, options: dict[str, Any]) -> None:
        self._manager = urllib3.ProxyManager(proxy, num_pools=2, **options)
        self._manager.pool_classes_by_scheme = POOLS
        self._base = address(config).removesuffix(config.path_prefix)

    def urlopen(self, method: str, target: str, **more: Any) -> urllib3.BaseHTTPResponse:
        return self._manager.urlopen(method, self._base + target, redirect=False, **more)

    def close(self) -> None:
        self._manager.clear()


def _context(settings: Settings) -> ssl.SSLContext:
    """TLS 1.2 or newer. A configured authority is the only one that is trusted; a fingerprint
    takes the place of authorities."""
    try:
        context = ssl.create_default_context(cafile=None if not settings.ca else str(settings.ca))
    except (ssl.SSLError, OSError):
        raise ConfigError(
            f"{settings.ca} holds no certificate", where="elasticsearch.ca", hint="a PEM file"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.fingerprint:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.ca is None:
        context.load_verify_locations(certifi.where())
    if settings.client_certificate is not None:
        try:
            context.load_cert_chain(
                settings.client_certificate, settings.client_key, password=_no_password
            )
        except (ssl.SSLError, OSError, ValueError):
            raise ConfigError(
                f"{settings.client_certificate} and its key cannot be used",
                where="elasticsearch.client_certificate",
                hint="PEM files of a certificate and its key, which has no password",
            ) from None
    return context


def _no_password() -> str:
    raise ValueError("the key has a password")


def address(config: NodeConfig) -> str:
    """Of a node, as the settings have it."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"{config.scheme}://{host}:{config.port}{config.path_prefix}"


def failure(error: TransportError, settings: Settings) -> ServerError:
    """What a request that got no answer comes to."""
    where = ", ".join(settings.nodes)
    cause = _cause(error)
    if isinstance(error, TlsError) or isinstance(cause, ssl.SSLError):
        return _distrust(f"{error.message} {cause}", cause, where)
    if isinstance(error, SerializationError):
        return ServerKindError(
            "what answers is not Elasticsearch: its answer cannot be read",
            where=where,
            hint="check host and port",
        )
    if isinstance(error, ConnectionTimeout):
        return ServerAwayError(
            f"no answer within {settings.timeout:g} s",
            where=where,
            hint="is the server up, and does a firewall let this machine in?",
        )
    message, hint = "the connection failed", "is the server up, and is this its address?"
    if isinstance(cause, ProxyError):
        where, hint = f"{settings.proxy} (the proxy)", "check elasticsearch.proxy"
    elif isinstance(cause, NameResolutionError):
        message, hint = "no such host", "check the name of the host, and DNS"
    elif isinstance(error, NoConnection) and "refused" in f"{error.message} {cause}":
        message = "the connection is refused"
    elif isinstance(error, NoConnection):
        message = "the connection ended without an answer"
        hint = _CUT_SHORT if "https" in where else "does it want https:// there?"
    return ServerAwayError(message, where=where, hint=hint)


#: the connection was never there
_UNSENT: Final = (ServerTrustError, NewConnectionError, ConnectTimeoutError, ProxyError)


def unsent(error: BaseException) -> bool:
    """Whether a request that failed for this reason (and those behind it) never left here."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, _UNSENT):
            return True
        link = link.__cause__
    return False


def timed_out(error: BaseException) -> bool:
    """Whether there was an end to waiting behind an error, not a failure."""
    return isinstance(error.__cause__, ConnectionTimeout)


def _cause(error: BaseException) -> BaseException:
    """The innermost reason that is known."""
    seen: BaseException = error
    while True:
        inner: Any = getattr(seen, "errors", ())
        below = getattr(seen, "original_error", None) if isinstance(seen, ProxyError) else None
        candidates = [*inner[:1], *(one for one in seen.args[:1]), below, seen.__cause__]
        found = next((one for one in candidates if isinstance(one, BaseException)), None)
        if found is None or isinstance(seen, (ProxyError, NameResolutionError, ssl.SSLError)):
            return seen
        seen = found


def _distrust(told: str, cause: BaseException, where: str) -> ServerTrustError:
    """Which side does not accept what. told: all that is known in words."""
    code = getattr(cause, "verify_code", 0)
    if "ingerprint" in told:
        what = "its certificate has another fingerprint than elasticsearch.fingerprint"
        hint = "openssl s_client -connect HOST:PORT | openssl x509 -noout -fingerprint -sha256"
    elif code in _EXPIRED:
        what = "its certificate has expired, or is not valid yet"
        hint = "renew it on the server, and check the clock of this machine"
    elif code in _UNKNOWN_CA:
        what = "its certificate is from an authority that is not trusted here"
        hint = "name the authority's file: elasticsearch.ca, or CONNWATCH_ES_CA"
    elif code in _OTHER_NAME:
        what = "its certificate is for another name"
        hint = "use a name or address that the certificate has, or elasticsearch.fingerprint"
    elif "WRONG_VERSION" in told or "RECORD_LAYER" in told or "record layer" in told:
        what, hint = "it does not speak TLS there", "is it http:// there?"
    elif "CERTIFICATE_REQUIRED" in told:
        what = "it wants a certificate from us"
        hint = "add elasticsearch.client_certificate and client_key"
    elif "EOF" in told:
        what, hint = "it ended the TLS connection", _CUT_SHORT
    elif "ALERT" in told:
        what, hint = f"it ended the handshake: {_reason(cause)}", "see the server's log"
    else:
        what, hint = f"TLS failed: {_reason(cause)}", "see the server's log"
    return ServerTrustError(what, where=where, hint=hint)


def _reason(cause: BaseException) -> str:
    return str(getattr(cause, "reason", None) or getattr(cause, "verify_message", "") or cause)
