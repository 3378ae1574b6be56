"""What the text of an entry means: an address, a network, a port, a domain name, a time.

Most entries are plain IPv4 addresses, networks and ASCII names, which are read column by column;
`read` reads any single text and is what the column expressions have to agree with.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from typing import Final

import polars as pl
import polars_iptools as iptools

from connwatch.schema import UTC as UTC_COLUMN

from .table import DESCRIPTION, ENTRY_SCHEMA, KEPT, RAW_SCHEMA, REJECT_SCHEMA, shaped

#: characters of a text that can be an indicator: a name of 253, a port, and what defangs them
LONGEST: Final = 512

_NAME: Final = (
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)+"
    r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_IS_NAME: Final = re.compile(_NAME, re.ASCII)
_LENGTH: Final = "^(?:[1-9]|[12][0-9]|3[0-2])$"
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_FITS: Final = {"address": ("address", "network"), "domain": ("domain",), "port": ("port",)}
_OPTIONAL: Final = [
    name for name in RAW_SCHEMA if name not in ("text", "want", "line", "entry", "reason")
]
_EXPECTED: Final = "not an address, network, port or domain name"
_VALUE: Final = {
    name: ENTRY_SCHEMA[name] for name in ("kind", "value", "version", "first", "last", "port")
}


@dataclass(frozen=True, slots=True)
class Value:
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
    network: IPv4Network | IPv6Network = ip_network(
        address.partition("%")[0] + slash + length, strict=False
    )
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        inner = IPv4Address(int(network.network_address) & 0xFFFF_FFFF)
        network = IPv4Network((inner, network.prefixlen - 96))
    if network.prefixlen == 0:
        return "covers every address"
    single = network.num_addresses == 1
    return Value(
        "address" if single else "network",
        str(network.network_address) if single else str(network),
        network.version,
        int(network.network_address),
        int(network.broadcast_address),
    )


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


def resolve(raw: pl.DataFrame, file: str, provider: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The entries (`ENTRY_SCHEMA`) and rejects of a file's `RAW_SCHEMA`, each in its order."""
    stripped = raw.with_columns(
        pl.col("text").fill_null("").str.strip_chars(),
        pl.col(_OPTIONAL).str.strip_chars().replace(["", "-"], None),
    )
    rows = (
        stripped.rename({"port": "port_text", "valid_from": "from", "valid_until": "until"})
        .with_columns(read_column(stripped["text"]))
        .with_columns(
            number=_each(stripped["port"], read_port, ENTRY_SCHEMA["port"]),
            valid_from=_each(stripped["valid_from"], read_time, UTC_COLUMN),
            valid_until=_each(stripped["valid_until"], read_time, UTC_COLUMN),
            confidence=_each(stripped["confidence"], confidence, pl.String()),
            file=pl.lit(file),
        )
        .with_columns(reason=pl.coalesce("reason", "why", _contradiction()))
    )
    rejects = rows.filter(pl.col("reason").is_not_null()).with_columns(
        raw=pl.col("text").str.slice(0, KEPT)
    )
    entries = rows.filter(pl.col("reason").is_null()).with_columns(
        pl.coalesce("port", "number").alias("port"),
        pl.col("provider").fill_null(provider),
        pl.col("description").str.slice(0, DESCRIPTION),
        pl.col("confidence").fill_null("Not Specified"),
    )
    return entries.select(list(ENTRY_SCHEMA)), rejects.select(list(REJECT_SCHEMA))


def _contradiction() -> pl.Expr:
    """What is wrong with an entry whose value can be read; null for nothing."""
    fits = pl.lit(value=True)
    for want, kinds in _FITS.items():
        fits = pl.when(pl.col("want") == want).then(pl.col("kind").is_in(kinds)).otherwise(fits)
    unread = [
        pl.when(pl.col(given).is_not_null() & pl.col(read_as).is_null()).then(
            pl.format("{} {} cannot be read", pl.lit(name), pl.col(given).str.slice(0, KEPT))
        )
        for name, given, read_as in (
            ("port", "port_text", "number"),
            ("valid_from", "from", "valid_from"),
            ("valid_until", "until", "valid_until"),
        )
    ]
    return pl.coalesce(
        pl.when(~fits).then(pl.format("a {}, where the list says {}", "kind", "want")),
        *unread,
        pl.when(pl.col("port") != pl.col("number")).then(pl.lit("two different ports")),
        pl.when(pl.col("valid_until") <= pl.col("valid_from")).then(
            pl.lit("never valid: valid_until is not after valid_from")
        ),
    )


def _each(texts: pl.Series, reader: Callable[[str], object], dtype: pl.DataType) -> pl.Series:
    """What `reader` makes of each text; one at a time, for there are few different ones."""
    unique = texts.drop_nulls().unique()
    made = pl.Series([reader(text) for text in unique], dtype=dtype)
    return texts.replace_strict(unique, made, default=None, return_dtype=dtype)


def read_column(texts: pl.Series) -> pl.DataFrame:
    """`read` of every text: kind, value, version, first, last, port, and why (null where read)."""
    frame = texts.alias("text").to_frame().with_row_index("i")
    numbered = frame.with_columns(first=iptools.ipv4_to_numeric(pl.col("text")))
    plain = numbered.filter(pl.col("first").is_not_null())
    rest = numbered.filter(pl.col("first").is_null()).select("i", "text")
    networks = _networks(rest)
    names = rest.filter(
        pl.col("text").str.contains(f"^{_NAME}$") & (pl.col("text").str.len_bytes() <= 253)
    )
    others = rest.join(pl.concat([networks["i"], names["i"]]).to_frame(), on="i", how="anti")
    parts = [
        plain.select(
            "i",
            pl.lit("address").alias("kind"),
            pl.col("text").alias("value"),
            pl.lit(4).alias("version"),
            "first",
            pl.col("first").alias("last"),
        ),
        networks,
        names.select(
            "i", pl.lit("domain").alias("kind"), pl.col("text").str.to_lowercase().alias("value")
        ),
        _others(others),
    ]
    schema = {"i": pl.UInt32(), **_VALUE, "why": pl.String()}
    return pl.concat(shaped(part, schema) for part in parts).sort("i").drop("i")


def _networks(texts: pl.DataFrame) -> pl.DataFrame:
    """The IPv4 networks in CIDR notation among them; bits of the host part are dropped."""
    halves = pl.col("text").str.split_exact("/", 1).struct
    base = iptools.ipv4_to_numeric(pl.col("address"))
    size = pl.lit(2, pl.UInt64).pow(32 - pl.col("length").cast(pl.UInt32))
    return (
        texts.filter(pl.col("text").str.contains("/", literal=True))
        .select("i", address=halves.field("field_0"), length=halves.field("field_1"))
        .filter(pl.col("length").str.contains(_LENGTH))
        .with_columns(base=base.cast(pl.UInt64))
        .filter(pl.col("base").is_not_null())
        .with_columns(first=pl.col("base") - pl.col("base") % size, size=size)
        .with_columns(address=iptools.numeric_to_ipv4(pl.col("first").cast(pl.UInt32)))
        .select(
            "i",
            pl.when(pl.col("size") == 1)
            .then(pl.lit("address"))
            .otherwise(pl.lit("network"))
            .alias("kind"),
            pl.when(pl.col("size") == 1)
            .then("address")
            .otherwise(pl.format("{}/{}", "address", "length"))
            .alias("value"),
            pl.lit(4).alias("version"),
            "first",
            (pl.col("first") + pl.col("size") - 1).alias("last"),
        )
    )


def _others(texts: pl.DataFrame) -> pl.DataFrame:
    """All else, one text at a time: IPv6, ports, addresses with a port, and what is none."""
    found = [read(text) for text in texts["text"]]
    nothing = (None,) * len(_VALUE)
    rows = [(*nothing, one) if isinstance(one, str) else (*astuple(one), None) for one in found]
    columns = zip(*rows, strict=True) if rows else [()] * (len(_VALUE) + 1)
    schema = {**_VALUE, "why": pl.String()}
    return pl.DataFrame(
        [texts["i"]]
        + [
            pl.Series(name, list(column), dtype=dtype)
            for (name, dtype), column in zip(schema.items(), columns, strict=True)
        ]
    )
