"""Both ends of a socket: addresses, scopes, names and ports as tools show them."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from ..addresses import canonical, v4

PORT: Final = 65_535
#: what stands for every address, and for none
ANYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104  compared with, not listened on
#: names that tools write in place of these ports (/etc/services)
SERVICES: Final[dict[str, int]] = {
    "ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "time": 37, "domain": 53,
    "bootps": 67, "bootpc": 68, "tftp": 69, "gopher": 70, "finger": 79, "http": 80, "www": 80,
    "kerberos": 88, "pop3": 110, "sunrpc": 111, "rpcbind": 111, "portmapper": 111, "auth": 113,
    "ident": 113, "nntp": 119, "ntp": 123, "epmap": 135, "loc-srv": 135, "netbios-ns": 137,
    "netbios-dgm": 138, "netbios-ssn": 139, "imap2": 143, "imap": 143, "snmp": 161,
    "snmp-trap": 162, "snmptrap": 162, "bgp": 179, "irc": 194, "ldap": 389, "svrloc": 427,
    "https": 443, "microsoft-ds": 445, "submissions": 465, "urd": 465, "smtps": 465, "kpasswd": 464,
    "isakmp": 500, "exec": 512, "login": 513, "shell": 514, "syslog": 514, "printer": 515,
    "router": 520, "submission": 587, "ipp": 631, "ldaps": 636, "domain-s": 853, "rsync": 873,
    "ftps": 990, "imaps": 993, "pop3s": 995, "socks": 1080, "openvpn": 1194, "ms-sql-s": 1433,
    "ms-sql-m": 1434, "l2f": 1701, "radius": 1812, "radius-acct": 1813, "nfs": 2049,
    "nfsd": 2049, "zookeeper": 2181, "mysql": 3306, "ms-wbt-server": 3389, "svn": 3690,
    "ipsec-nat-t": 4500, "ipsec-msft": 4500, "mdns": 5353, "llmnr": 5355, "postgresql": 5432,
    "postgres": 5432, "amqp": 5672, "rfb": 5900, "vnc-server": 5900, "x11": 6000, "redis": 6379,
    "ircd": 6667, "http-alt": 8080, "webcache": 8080, "http-proxy": 8080, "pcsync-https": 8443,
    "zabbix-agent": 10050, "zabbix-trapper": 10051, "git": 9418, "jetdirect": 9100, "ssdp": 1900,
}  # fmt: skip
#: a host's name, whole or cut: it has a letter that no address has, or a dash
_NAME: Final = r"^[A-Za-z0-9_.-]*[A-Za-z_-][A-Za-z0-9_.-]*$"


def plain(addresses: pl.Series) -> pl.DataFrame:
    """Columns bare (without scope and brackets) and scope, of addresses as shown."""
    name = addresses.name
    column = pl.col(name)
    if not addresses.str.contains(r"[\[%]").any():
        return addresses.to_frame().select(bare=column, scope=pl.lit(None, pl.String))
    return addresses.to_frame().select(
        bare=column.str.replace(r"%[^\]]*", "").str.strip_chars("[]"),
        scope=column.str.extract(r"%([^\]%]+)"),
    )


def ends(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with local_ip, local_scope, local_domain, local_port, local_odd (neither address nor
    name), and the same of the peer. An address that was cut short is none."""
    made: list[pl.Series] = []
    cuts = rows["cut"].null_count() < rows.height
    for side, address, port in (("local", "laddr", "lport"), ("peer", "paddr", "pport")):
        parts = plain(rows[address])
        found = _hosts(parts["bare"].alias("bare"))
        if cuts:
            cut = rows["cut"].list.contains(side).fill_null(value=False)
            found = found.with_columns(cut=cut).select(
                pl.when(~pl.col("cut")).then("ip").alias("ip"),
                pl.when(~pl.col("cut") | pl.col("bare").str.contains("[g-zG-Z_-]"))
                .then("domain")
                .alias("domain"),
                (pl.col("odd") & ~pl.col("cut")).alias("odd"),
            )
        made += [found[name].alias(f"{side}_{name}") for name in ("ip", "domain", "odd")]
        made += [parts["scope"].alias(f"{side}_scope"), _ports(rows[port]).alias(f"{side}_port")]
    return rows.with_columns(made)


def _hosts(bare: pl.Series) -> pl.DataFrame:
    """Columns bare, ip, domain and odd of addresses without scope and brackets; all are null for
    null."""
    none = pl.lit(None, pl.String)
    is_v4 = v4(bare)
    if is_v4.all():
        odd = pl.lit(value=False)
        return bare.to_frame().select("bare", ip="bare", domain=none, odd=odd)
    # Tables hold few other ones, many times over.
    others = bare.filter(~is_v4)
    known = others.unique().drop_nulls()
    ip = canonical(known.alias("ip"))
    named = pl.DataFrame({"bare": known, "ip": ip}).with_columns(
        domain=pl.when(pl.col("ip").is_null() & pl.col("bare").str.contains(_NAME)).then("bare")
    )
    named = named.with_columns(
        odd=pl.col("ip").is_null() & pl.col("domain").is_null() & (pl.col("bare") != "*")
    )
    found = others.to_frame().join(named, on="bare", how="left", maintain_order="left")
    if len(others) == len(bare):
        return found
    places = pl.Series(np.where(is_v4, 0, np.cumsum(~is_v4.to_numpy())) - 1)
    rest = found.select(pl.all().gather(places.set(is_v4, None)))
    return rest.select(
        bare=bare,
        ip=rest["ip"].zip_with(~is_v4, bare),
        domain="domain",
        odd=rest["odd"].set(is_v4, False),
    )


def _ports(texts: pl.Series) -> pl.Series:
    """Ports as numbers: as shown, or by the service's name; null for * and for unknown names."""
    numbers = texts.cast(pl.Int64, strict=False)
    rest = texts.filter(numbers.is_null() & texts.is_not_null() & (texts != "*"))
    if rest.is_empty():
        return numbers
    named = texts.to_frame("p").select(
        pl.col("p").replace_strict(SERVICES, default=None, return_dtype=pl.Int64)
    )
    return numbers.fill_null(named.to_series())
