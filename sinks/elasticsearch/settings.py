"""How a server is reached: addresses, TLS, and who asks.

Secrets come from the environment or from files, never from the configuration's text or the command
line, and no text that is made of these values has them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from elastic_transport.client_utils import parse_cloud_id

from connwatch.addresses import base_address, is_loopback
from connwatch.errors import ConfigError

USERNAME: Final = "CONNWATCH_ES_USERNAME"
PASSWORD: Final = "CONNWATCH_ES_PASSWORD"  # noqa: S105  the name of a variable
API_KEY: Final = "CONNWATCH_ES_API_KEY"
TOKEN: Final = "CONNWATCH_ES_BEARER_TOKEN"  # noqa: S105  the name of a variable
CA: Final = "CONNWATCH_ES_CA"

_SECTION: Final = "elasticsearch"
#: a file of a secret is one short line
_LONGEST_SECRET: Final = 65_536


class Secret:
    """Text that is shown nowhere: `reveal` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not written anywhere")


@dataclass(frozen=True, slots=True)
class Settings:
    """What reaches a server.

    nodes: base addresses such as `https://es1:9200`, one at least. timeout: of one request, in
    seconds. One way to say who asks at the most: username and password, an API key (`id:key`, or
    that in base64), or a bearer token. warnings: what is allowed but not good, in words.
    """

    nodes: tuple[str, ...]
    username: str | None = None
    password: Secret | None = None
    api_key: Secret | None = None
    token: Secret | None = None
    ca: Path | None = None
    fingerprint: str | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    proxy: str | None = None
    timeout: float = 60.0
    warnings: tuple[str, ...] = ()

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return tuple(one for one in (self.password, self.api_key, self.token) if one is not None)

    @property
    def method(self) -> str:
        """How it says who asks, in words."""
        if self.password is not None:
            return f"user {self.username}"
        if self.api_key is not None:
            return "an API key"
        return "a token" if self.token is not None else "nobody"


def read_settings(
    *,
    nodes: Sequence[str] = (),
    cloud_id: str | None = None,
    username: str | None = None,
    password_file: Path | None = None,
    api_key_file: Path | None = None,
    bearer_token_file: Path | None = None,
    ca: Path | None = None,
    fingerprint: str | None = None,
    client_certificate: Path | None = None,
    client_key: Path | None = None,
    proxy: str | None = None,
    timeout: float = 60.0,
    allow_plain_http_to: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from the keys of the configuration and the environment; the environment wins where
    both name the same thing. ConfigError says which key or variable is wrong."""
    told = os.environ if environment is None else environment
    warnings: list[str] = []
    user = told.get(USERNAME) or username
    secrets = {
        PASSWORD: _secret(told, PASSWORD, password_file, "password_file", warnings),
        API_KEY: _secret(told, API_KEY, api_key_file, "api_key_file", warnings),
        TOKEN: _secret(told, TOKEN, bearer_token_file, "bearer_token_file", warnings),
    }
    _one_way(user, secrets)
    ca = Path(told[CA]) if told.get(CA) else ca
    if ca is not None and fingerprint is not None:
        raise _wrong("ca", "both ca and fingerprint are given", f"leave out one; {CA} is a ca")
    if client_key is not None and client_certificate is None:
        raise _wrong("client_key", "has no certificate", "add client_certificate")
    for key, path in (
        ("ca", ca), ("client_certificate", client_certificate), ("client_key", client_key),
    ):  # fmt: skip
        _readable(key, path)
    made = Settings(
        nodes=_nodes(nodes, cloud_id),
        username=user if secrets[PASSWORD] else None,
        password=secrets[PASSWORD],
        api_key=secrets[API_KEY],
        token=secrets[TOKEN],
        ca=ca,
        fingerprint=None if fingerprint is None else _fingerprint(fingerprint),
        client_certificate=client_certificate,
        client_key=client_key,
        proxy=None if proxy is None else _address("proxy", proxy, 8080),
        timeout=timeout,
        warnings=tuple(warnings),
    )
    _no_secret_in_the_clear(made, allow_plain_http_to)
    return made


def _address(key: str, text: str, port: int = 9200) -> str:
    try:
        return base_address(text, port)
    except ConfigError as error:
        raise _wrong(key, error.message, error.hint) from None


def _nodes(nodes: Sequence[str], cloud_id: str | None) -> tuple[str, ...]:
    if cloud_id is None:
        if not nodes:
            raise _wrong("nodes", "no server is named", "add nodes: [https://host:9200]")
        return tuple(dict.fromkeys(_address("nodes", one) for one in nodes))
    if nodes:
        raise _wrong("cloud_id", "both nodes and cloud_id are given", "leave out one of them")
    try:
        address = parse_cloud_id(cloud_id).es_address
    except ValueError:
        address = None
    if address is None or not all(address):
        raise _wrong("cloud_id", "is not a cloud id", "copy it from the console of Elastic Cloud")
    return (f"https://{address[0]}:{address[1]}",)


def _secret(
    told: Mapping[str, str], variable: str, file: Path | None, key: str, warnings: list[str]
) -> Secret | None:
    """What the variable holds, else the first line of the file."""
    text, where = told.get(variable), f"the environment variable {variable}"
    if not text and file is not None:
        where = f"{_SECTION}.{key}: {file}"
        try:
            with file.open("rb") as opened:
                data = opened.read(_LONGEST_SECRET)
                mode = os.fstat(opened.fileno()).st_mode
            text = data.decode("utf-8").strip("\r\n")
        except UnicodeDecodeError:
            raise ConfigError("holds no text", where=where) from None
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", where=where) from None
        if mode & 0o004:
            warnings.append(f"everyone on this machine may read {file}: chmod o-r {file}")
        if not text:
            raise ConfigError("is empty", where=where)
    if not text:
        return None
    if not text.isprintable():
        raise ConfigError("holds more than one line or a control character", where=where)
    return Secret(text)


def _one_way(user: str | None, secrets: Mapping[str, Secret | None]) -> None:
    given = [variable for variable, secret in secrets.items() if secret is not None]
    if len(given) > 1:
        ways = " and ".join(given)
        raise ConfigError(
            f"there are two ways to say who asks: {ways} (or their files)", hint="leave one of them"
        )
    if secrets[PASSWORD] is not None and not user:
        raise ConfigError("there is a password, and no name", hint=f"set {USERNAME}")
    if user and not given:
        raise ConfigError(
            f"there is the name {user!r}, and no password",
            hint=f"set {PASSWORD}, or {_SECTION}.password_file",
        )
    if user and ":" in user and secrets[PASSWORD] is not None:
        raise ConfigError("the name of a user cannot hold ':'", hint=f"set {USERNAME}")


def _readable(key: str, path: Path | None) -> None:
    if path is None:
        return
    try:
        path.open("rb").close()
    except OSError as error:
        raise _wrong(key, f"{path} cannot be read: {error.strerror}", None) from None


def _fingerprint(text: str) -> str:
    digits = text.replace(":", "").replace(" ", "").lower()
    if len(digits) != 64 or set(digits) - set("0123456789abcdef"):
        raise _wrong(
            "fingerprint",
            "is not a SHA-256 fingerprint",
            "openssl x509 -noout -fingerprint -sha256 -in CERTIFICATE",
        )
    return digits


def _no_secret_in_the_clear(settings: Settings, allowed: Sequence[str]) -> None:
    if not settings.secrets:
        return
    for node in settings.nodes:
        parts = urlsplit(node)
        host = parts.hostname or ""
        # Through a proxy even what is for this machine leaves it.
        stays = is_loopback(host) and settings.proxy is None
        if parts.scheme == "http" and not stays and host not in {one.lower() for one in allowed}:
            raise _wrong(
                "nodes",
                f"{node}: a password, key or token would be sent in the clear",
                f"write https://…, or add allow_plain_http_to: [{host}] if its network is yours",
            )


def _wrong(key: str, message: str, hint: str | None) -> ConfigError:
    return ConfigError(message, where=f"{_SECTION}.{key}", hint=hint)
