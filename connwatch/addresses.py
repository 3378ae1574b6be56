"""Addresses of servers, as they are written and as they are used."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from connwatch.errors import ConfigError

_HINT: Final = "write it as https://host:9200"


def base_address(text: str, port: int = 9200) -> str:
    """Scheme, host, port, and the path before ours. port: of plain HTTP where none is written.

    ConfigError without a place; it does not show a text that may hold a password.
    """
    if "@" in text:
        raise ConfigError(
            "an address may not hold a name and a password",
            hint="take them out of it, and set CONNWATCH_ES_USERNAME and CONNWATCH_ES_PASSWORD in"
            " the environment",
        )
    shown = repr(text if len(text) <= 80 else f"{text[:80]}…")
    try:
        parts = urlsplit(text)
        host, given = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(f"{shown} is not an address", hint=_HINT) from None
    odd = not text.isascii() or not text.isprintable() or " " in text
    if parts.scheme not in ("http", "https") or not host or odd or given == 0:
        raise ConfigError(f"{shown} is not an address", hint=_HINT)
    if parts.query or parts.fragment:
        raise ConfigError(f"{shown} ends in more than a path", hint=_HINT)
    named = f"[{host}]" if ":" in host else host
    default = 443 if parts.scheme == "https" else port
    return f"{parts.scheme}://{named}:{given or default}{parts.path.rstrip('/')}"


def is_loopback(host: str) -> bool:
    """Whether what is sent there stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
