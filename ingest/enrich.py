"""What an event's own fields imply: direction of the flow and its Community ID."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import polars as pl
import polars_iptools as ip

from connwatch.errors import ConfigError

from .addresses import numbers
from .community_id import community_ids

#: networks that are home when neither the user nor Zeek says which are: private, shared, loopback,
#: link-local, unique local (RFC 1918, 6598, 3927, 4193)
PRIVATE: Final = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
)
#: destinations that never leave the network they are sent in
_LOCAL_ONLY: Final = ("224.0.0.0/4", "255.255.255.255/32", "0.0.0.0/32", "ff00::/8", "::/128")


@dataclass(frozen=True, slots=True)
class HomeNetworks:
    """The user's own networks, as text in CIDR notation."""

    networks: tuple[str, ...]

    @classmethod
    def parse(cls, texts: Sequence[str]) -> HomeNetworks:
        """From the user's words; ConfigError names the one that is no network."""
        networks = []
        for word in texts:
            try:
                networks.append(str(ipaddress.ip_network(word.strip(), strict=False)))
            except ValueError:
                raise ConfigError(
                    f"{word!r} is not a network",
                    where="--home",
                    hint="write an address or a network such as 192.168.0.0/16 or 2001:db8::/32",
                ) from None
        return cls(tuple(networks))


def enrich(events: pl.DataFrame, home: HomeNetworks | None) -> pl.DataFrame:
    """`events` with network.direction, and network.community_id where Zeek did not log it; both are
    left null where an end has no address."""
    if events.is_empty():
        return events
    if events["source.ip"].null_count() or events["destination.ip"].null_count():
        # Sockets without a peer, or with a name in place of an address, are no flows.
        flow = events["source.ip"].is_not_null() & events["destination.ip"].is_not_null()
        parts = enrich(events.filter(flow), home), events.filter(~flow)
        rows = pl.concat([flow.arg_true(), (~flow).arg_true()])
        return pl.concat(parts).select(pl.all().gather(rows.arg_sort()))
    logged = events["network.community_id"]
    v4 = numbers(events)
    ids = community_ids(events, v4) if logged.null_count() else logged
    return events.with_columns(
        pl.coalesce("network.community_id", pl.lit(ids)).alias("network.community_id"),
        _direction(events, v4, home).alias("network.direction"),
    )


def _direction(events: pl.DataFrame, v4: pl.DataFrame, home: HomeNetworks | None) -> pl.Series:
    """inbound, outbound, internal or external, by the configured networks, else as Zeek says, else
    by the private ranges. What is sent to a group or broadcast address stays where it was sent."""
    source = _inside(events["source.ip"], v4["source.ip"], home)
    destination = _inside(events["destination.ip"], v4["destination.ip"], home)
    frame = events.select(
        orig="zeek.connection.local_orig", resp="zeek.connection.local_resp"
    ).with_columns(source, destination)
    return frame.select(_sides(configured=home is not None)).to_series()


@cache
def _sides(*, configured: bool) -> pl.Expr:
    """The direction, by whether each end is home, and what Zeek says of it."""
    known = pl.col("orig").is_not_null() & pl.col("resp").is_not_null()
    use = pl.lit(value=False) if configured else known
    from_home = pl.when(use).then("orig").otherwise("source.ip")
    # The look-up leaves a group address null: it is where its sender is.
    to_home = pl.coalesce(
        pl.when(pl.col("destination.ip").is_not_null() & use).then("resp"),
        "destination.ip",
        from_home,
    )
    return (
        pl.when(from_home & to_home)
        .then(pl.lit("internal"))
        .when(from_home)
        .then(pl.lit("outbound"))
        .when(to_home)
        .then(pl.lit("inbound"))
        .otherwise(pl.lit("external"))
    )


def _inside(addresses: pl.Series, numbers: pl.Series, home: HomeNetworks | None) -> pl.Series:
    """Whether each address is home; null for group and broadcast addresses.

    numbers: the IPv4 addresses among them as numbers, null where it is IPv6.
    """
    networks = home.networks if home else PRIVATE
    inside = numbers.to_frame("n").select(_inside_v4(networks)).to_series()
    if numbers.null_count():
        six = addresses.to_frame("a").filter(numbers.is_null()).unique()
        marked = six.select(
            "a", inside=pl.when(~_among_six(_LOCAL_ONLY)).then(_among_six(networks))
        )
        found = addresses.to_frame("a").join(marked, on="a", how="left", maintain_order="left")
        inside = (
            pl.DataFrame({"n": numbers, "v4": inside, "v6": found["inside"]})
            .select(pl.when(pl.col("n").is_null()).then("v6").otherwise("v4"))
            .to_series()
        )
    return inside.alias(addresses.name)


@cache
def _inside_v4(networks: tuple[str, ...]) -> pl.Expr:
    return pl.when(~_among(_LOCAL_ONLY)).then(_among(networks)).alias("inside")


@cache
def _among(networks: tuple[str, ...]) -> pl.Expr:
    """Whether the IPv4 address `n`, a number, is in one of the networks."""
    spans = [ipaddress.ip_network(one) for one in networks if ":" not in one]
    if not spans:
        return pl.lit(value=False)
    return pl.any_horizontal(
        pl.col("n").is_between(int(span.network_address), int(span.broadcast_address))
        for span in spans
    )


def _among_six(networks: Sequence[str]) -> pl.Expr:
    """Whether the IPv6 address `a`, text, is in one of the networks."""
    spans = pl.Series([one for one in networks if ":" in one], dtype=pl.String)
    inside: pl.Expr = ip.is_in(pl.col("a"), spans) if len(spans) else pl.lit(value=False)
    return inside
