"""What one text of an entry means: an address, a network, a port, a domain name, a time."""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Address
from typing import Final, NamedTuple

from .table import KEPT

#: characters of a text that can be an indicator: a name of 253, a port, and what defangs them
LONGEST: Final = 512

NAME: Final = (
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)+"
    r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_IS_NAME: Final = re.compile(NAME, re.ASCII)
#: what an IPv4-mapped address is, without its last 32 bits
MAPPED: Final = 0xFFFF
_EXPECTED: Final = "not an address, network, port or domain name"


class Value(NamedTuple):
    """One indicator's value; see `ENTRY_SCHEMA`."""

    kind: str
    value: str
    version: int | None = None
    first: int | None = None
    last: int | None = None
    port: int | None = None


def read(text: str) -> Value | str:
    """The value in a text, or the reason why there is none."""
    if not text:
        return "no indicator"
    if len(text) > LONGEST:
        return f"longer than {LONGEST} characters"
    plain = text.replace("[.]", ".").replace("(.)", ".").replace("[:]", ":")
    if "://" in plain:
        return "a URL, which no connection log shows"
    try:
        return _network(plain)
    except ValueError:
        pass
    host, colon, port = plain.rpartition(":")
    if colon and port.isascii() and port.isdigit():
        return _with_port(host, port)
    if plain.isascii() and plain.isdigit():
        number = read_port(plain)
        return _EXPECTED if number is None else Value("port", str(number), port=number)
    return _domain(plain)


def _network(text: str) -> Value | str:
    """An address or network; ValueError where it is neither."""
    address, slash, length = text.partition("/")
    if ":" not in text:
        network = IPv4Network(text, strict=False)
        return _bounded(int(network.network_address), network.prefixlen, 4)
    try:
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except OSError as error:
        raise ValueError(text) from error
    number, bits = int.from_bytes(packed, "big"), 128
    if slash:
        if not (length.isascii() and length.isdigit()) or len(length) > 3 or int(length) > 128:
            raise ValueError(text)
        bits = int(length)
    if number >> 32 == MAPPED and bits >= 96:
        return _bounded(number & 0xFFFF_FFFF, bits - 96, 4)
    return _bounded(number, bits, 6)


def _bounded(number: int, bits: int, version: int) -> Value | str:
    """The network of the first `bits` of an address; bits of the host part are dropped."""
    if bits == 0:
        return "covers every address"
    size = 1 << ((32 if version == 4 else 128) - bits)
    first = number // size * size
    if version == 4:
        text = socket.inet_ntoa(first.to_bytes(4, "big"))
    else:
        text = socket.inet_ntop(socket.AF_INET6, first.to_bytes(16, "big"))
        if "." in text:  # ::203.0.113.7, which RFC 5952 writes in hexadecimal
            text = str(IPv6Address(first))
    if size == 1:
        return Value("address", text, version, first, first)
    return Value("network", f"{text}/{bits}", version, first, first + size - 1)


def _with_port(host: str, port: str) -> Value | str:
    """host:port, [IPv6]:port."""
    number = read_port(port)
    if number is None:
        return f"{port[:KEPT]} is not a port"
    inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    found = read(inner) if ":" not in host or inner != host else _EXPECTED
    if isinstance(found, str) or found.port is not None:
        return found if isinstance(found, str) else _EXPECTED
    return Value(found.kind, found.value, found.version, found.first, found.last, number)


def read_port(text: str) -> int | None:
    """A port number from 0 to 65535, None where the text is none."""
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or int(text) > 65_535:
        return None
    return int(text)


def _domain(text: str) -> Value | str:
    name = text.removeprefix("*").removeprefix(".").removesuffix(".").lower()
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii").lower()
        except UnicodeError:
            return _EXPECTED
    if "." not in name and _IS_NAME.fullmatch(f"{name}.x"):
        return "a name of one label, which would match everything beneath it"
    if len(name) > 253 or not _IS_NAME.fullmatch(name):
        return _EXPECTED
    return Value("domain", name)


def read_time(text: str) -> datetime | None:
    """ISO 8601 (UTC where no zone is given, midnight where no time is) or seconds since 1970;
    None for anything else and for what is before 1970 or beyond the year 9999."""
    short = text.strip().removesuffix(" UTC")
    try:
        if short.isascii() and short.isdigit() and len(short) > 8:
            return datetime.fromtimestamp(int(short), UTC)
        moment = datetime.fromisoformat(short)
        zoned = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return zoned if zoned.year >= 1970 else None


def confidence(text: str) -> str:
    """ECS's word for a confidence: a word, or a number from 0 to 100 by the scale of STIX 2.1."""
    word = text.strip().capitalize()
    if word in ("None", "Low", "Medium", "High"):
        return word
    if not (word.isascii() and word.isdigit()) or len(word) > 3 or int(word) > 100:
        return "Not Specified"
    number = int(word)
    for least, name in ((70, "High"), (30, "Medium"), (1, "Low")):
        if number >= least:
            return name
    return "None"
