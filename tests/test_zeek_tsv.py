r"""Zeek's text logs: every variant of the header, every kind of bad line."""

from __future__ import annotations

import polars as pl
import pytest
from support import tsv

from connwatch.ingest.zeek_tsv import ZeekTsv

FIELDS = [
    "ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "duration",
    "orig_bytes", "resp_bytes", "conn_state", "local_orig", "local_resp", "missed_bytes", "history",
    "orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes", "tunnel_parents",
]  # fmt: skip
GOOD = dict(
    zip(
        FIELDS,
        [
            "1517336042.090842",
            "CEi85",
            "10.55.182.100",
            "14291",
            "10.233.233.5",
            "80",
            "tcp",
            "http",
            "3.000158",
            "120",
            "340",
            "SF",
            "T",
            "F",
            "0",
            "ShADadFf",
            "5",
            "400",
            "4",
            "560",
            "(empty)",
        ],
        strict=True,
    )
)


def header(
    fields: list[str] = FIELDS, separator: str = "\t", path: str = "conn", **kinds: str
) -> str:
    marks = {"set_separator": ",", "empty_field": "(empty)", "unset_field": "-", **kinds}
    written = "".join("\\x" + format(ord(letter), "02x") for letter in separator)
    lines = ["#separator " + written]
    lines += [f"#{name}{separator}{value}" for name, value in marks.items()]
    lines += [f"#path{separator}{path}", separator.join(["#open", "2018-01-30-18-14-02"])]
    lines += [separator.join(["#fields", *fields])]
    return "\n".join(lines) + "\n"


def row(separator: str = "\t", fields: list[str] = FIELDS, **values: str) -> str:
    return separator.join({**GOOD, **values}.get(name, "-") for name in fields) + "\n"


def log(*rows: str, **options: str) -> bytes:
    return (header(**options) + "".join(rows)).encode()  # type: ignore[arg-type]


def test_a_record_as_the_schema_has_it() -> None:
    (event,) = tsv(log(row())).events.to_dicts()
    assert event["@timestamp"].isoformat() == "2018-01-30T18:14:02.090842+00:00"
    assert event["event.duration"] == 3_000_158_000
    assert event["event.dataset"] == "zeek.connection"
    assert (event["source.ip"], event["source.port"]) == ("10.55.182.100", 14291)
    assert (event["destination.ip"], event["destination.port"]) == ("10.233.233.5", 80)
    assert (event["network.transport"], event["network.iana_number"]) == ("tcp", "6")
    assert (event["source.bytes"], event["destination.bytes"]) == (400, 560)
    assert (event["zeek.connection.orig_bytes"], event["zeek.connection.resp_bytes"]) == (120, 340)
    assert (event["source.packets"], event["destination.packets"]) == (5, 4)
    assert (event["zeek.connection.local_orig"], event["zeek.connection.local_resp"]) == (
        True,
        False,
    )
    assert event["zeek.connection.state"] == "SF"
    assert event["zeek.connection.history"] == "ShADadFf"
    assert event["zeek.session_id"] == "CEi85"
    assert event["zeek.connection.tunnel_parents"] is None
    assert event["event.sequence"] == 8
    assert event["log.offset"] == len(header())
    assert len(event["event.id"]) == 32


VARIANTS: list[tuple[str, bytes]] = [
    ("CRLF line ends", log(row()).replace(b"\n", b"\r\n")),
    ("no newline at the end", log(row()).removesuffix(b"\n")),
    ("a closing line", log(row()) + b"#close\t2018-01-30-19-00-00\n"),
    ("a byte order mark", b"\xef\xbb\xbf" + log(row())),
    ("a tab before the header", b"\t" + log(row())),
    ("blank lines", log("\n", row(), "\n")),
    ("a comma as separator", log(row(","), separator=",", set_separator=";")),
    ("a space as separator", log(row(" "), separator=" ")),
    ("other marks for unset and empty", log(row(tunnel_parents="NONE"), empty_field="NONE", unset_field="?")),
    ("a plain header row", ("\t".join(FIELDS) + "\n" + row()).encode()),
    ("columns in another order", log(row(fields=FIELDS[::-1]), fields=FIELDS[::-1])),  # type: ignore[arg-type]
    ("another scope separator", log(row()).replace(b"id.", b"id_")),
    ("a comment among the records", log("# a note\n", row())),
]  # fmt: skip


@pytest.mark.parametrize("data", [v[1] for v in VARIANTS], ids=[v[0] for v in VARIANTS])
def test_variant_reads_as_the_plain_log(data: bytes) -> None:
    parsed = tsv(data)
    assert parsed.rejects.is_empty(), parsed.rejects.to_dicts()
    moving = ["event.id", "log.offset", "event.sequence"]
    assert parsed.events.drop(moving).equals(tsv(log(row())).events.drop(moving))
    assert parsed.lines == parsed.record_lines + parsed.comments


def test_the_line_end_is_no_part_of_the_record() -> None:
    assert (
        tsv(log(row()).replace(b"\n", b"\r\n")).events["event.id"][0]
        == tsv(log(row())).events["event.id"][0]
    )


WRONG: list[tuple[str, dict[str, str], str, str]] = [
    ("port out of range", {"id.resp_p": "99999"}, "id.resp_p", "99999 is not a port (0 to 65535)"),
    ("negative port", {"id.orig_p": "-1"}, "id.orig_p", "-1 is not a port (0 to 65535)"),
    ("negative bytes", {"orig_bytes": "-5"}, "orig_bytes", "-5 is negative"),
    ("text for a number", {"resp_pkts": "many"}, "resp_pkts", "'many' is not a number"),
    ("number beyond 64 bits", {"resp_bytes": "9" * 20}, "resp_bytes", f"'{'9' * 20}' is not a number"),
    ("nan as time", {"ts": "nan"}, "ts", "'nan' is not a time"),
    ("inf as duration", {"duration": "inf"}, "duration", "'inf' is not a duration in seconds"),
    ("negative duration", {"duration": "-1.5"}, "duration", "-1.5 s is negative"),
    ("year 0", {"ts": "-62167219200"}, "ts", "is not a time between 1970 and 2100"),
    ("far future", {"ts": "99999999999"}, "ts", "is not a time between 1970 and 2100"),
    ("ends in the far future", {"duration": "9999999999"}, "duration", "9999999999.0 s ends after the year 2100"),
    ("no time", {"ts": "-"}, "ts", "is not set"),
    ("no address", {"id.orig_h": "-"}, "id.orig_h", "is not set"),
    ("not an address", {"id.resp_h": "10.0.0.300"}, "id.resp_h", "'10.0.0.300' is not an IP address"),
    ("leading zeros in an address", {"id.resp_h": "010.0.0.1"}, "id.resp_h", "'010.0.0.1' is not an IP address"),
    ("not a bool", {"local_orig": "yes"}, "local_orig", "'yes' is not T or F"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "field", "reason"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG]
)
def test_a_bad_field_rejects_its_line_only_and_is_named(
    values: dict[str, str], field: str, reason: str
) -> None:
    data = log(row(uid="C1"), row(**values), row(uid="C3"))
    parsed = tsv(data)
    assert parsed.events["zeek.session_id"].to_list() == ["C1", "C3"]
    (reject,) = parsed.rejects.to_dicts()
    assert (reject["field"], reject["reason"]) == (field, reason)
    assert reject["line"] == 9
    assert data[reject["log.offset"] :].startswith(reject["raw"].encode())
    assert reject["raw"] == row(**values).rstrip("\n")


def test_a_half_written_last_line_is_a_reject() -> None:
    data = log(row(), row())[:-60]
    parsed = tsv(data)
    assert parsed.events.height == 1
    assert parsed.rejects["reason"].to_list() == ["has 8 fields, the header names 21"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b"a\x00b\n", "holds a NUL byte"), (b"\xff\xfe\n", "has 1 fields, the header names 21")],
)
def test_bytes_that_are_no_text_reject_their_line_only(line: bytes, reason: str) -> None:
    parsed = tsv(log(row()) + line + row().encode())
    assert parsed.events.height == 2
    assert parsed.rejects["reason"].to_list() == [reason]


def test_what_is_not_utf8_is_kept_readable() -> None:
    parsed = tsv(log(row()).replace(b"CEi85", b"C\xff5"))
    assert parsed.events["zeek.session_id"].to_list() == ["C\\xff5"]


def test_a_header_in_mid_file_holds_from_its_line_on() -> None:
    less = [name for name in FIELDS if name not in ("local_orig", "local_resp")]
    data = log(row()) + b"#close\tx\n" + (header(less) + row(fields=less)).encode()
    parsed = tsv(data)
    assert parsed.rejects.is_empty()
    assert parsed.events["zeek.connection.local_orig"].to_list() == [True, None]


def test_another_logs_header_in_mid_file_rejects_its_records() -> None:
    data = (
        log(row())
        + (header(["ts", "uid", "query"], path="dns") + "1.0\tC1\tx\n").encode()
        + log(row(uid="C9"))
    )
    parsed = tsv(data)
    assert parsed.events["zeek.session_id"].to_list() == ["CEi85", "C9"]
    assert parsed.rejects["reason"].to_list() == ["a record of Zeek's dns log, not a connection"]


@pytest.mark.parametrize(
    ("path", "dataset"),
    [("conn", "zeek.connection"), ("conn_long", "zeek.conn_long"), ("open_conn", "zeek.open_conn"),
     ("conn-worked", "zeek.connection"), ("dns", None), ("conn_summary", None)],
)  # fmt: skip
def test_the_path_in_the_header_tells_the_dataset(path: str, dataset: str | None) -> None:
    assert ZeekTsv().sniff(log(row(), path=path), "x.log") == dataset


ADDRESSES = [
    ("IPv6 in short form", "2001:0DB8:0:0:0:0:0:1", "2001:db8::1"),
    ("IPv4-mapped is IPv4", "::ffff:192.0.2.1", "192.0.2.1"),
    ("a zone is left out", "fe80::1%eth0", "fe80::1"),
    ("compatible notation", "::1.2.3.4", "::102:304"),
]


@pytest.mark.parametrize(
    ("written", "wanted"), [a[1:] for a in ADDRESSES], ids=[a[0] for a in ADDRESSES]
)
def test_addresses_are_canonical(written: str, wanted: str) -> None:
    assert tsv(log(row(**{"id.orig_h": written}))).events["source.ip"].to_list() == [wanted]


def test_icmp_has_type_and_code_and_no_ports() -> None:
    (event,) = tsv(log(row(proto="icmp", **{"id.orig_p": "8", "id.resp_p": "0"}))).events.to_dicts()
    assert (event["source.port"], event["destination.port"]) == (None, None)
    assert (event["zeek.connection.icmp.type"], event["zeek.connection.icmp.code"]) == (8, 0)
    assert (event["network.transport"], event["network.iana_number"]) == ("icmp", "1")


def test_icmp_over_ipv6_is_its_own_transport() -> None:
    six = {"id.orig_h": "fe80::1", "id.resp_h": "ff02::1", "id.orig_p": "134", "id.resp_p": "133"}
    (event,) = tsv(log(row(proto="icmp", **six))).events.to_dicts()
    assert (event["network.transport"], event["network.iana_number"]) == ("ipv6-icmp", "58")


@pytest.mark.parametrize(
    ("proto", "number", "name", "iana"),
    [("unknown_transport", "47", "gre", "47"), ("unknown_transport", "250", "unknown", "250"),
     ("unknown_transport", "-", "unknown", None), ("tcp", "6", "tcp", "6")],
)  # fmt: skip
def test_a_protocol_without_ports_is_named_by_its_number(
    proto: str, number: str, name: str, iana: str | None
) -> None:
    fields = [*FIELDS, "ip_proto"]
    data = log(
        row(fields=fields, proto=proto, ip_proto=number, **{"id.orig_p": "0", "id.resp_p": "0"}),
        fields=fields,
    )  # type: ignore[arg-type]
    (event,) = tsv(data).events.to_dicts()
    assert (event["network.transport"], event["network.iana_number"]) == (name, iana)
    assert event["source.port"] == (0 if proto == "tcp" else None)


def test_added_fields_have_their_columns() -> None:
    fields = [
        *FIELDS,
        "vlan",
        "inner_vlan",
        "orig_l2_addr",
        "community_id",
        "label",
        "detailed-label",
    ]
    data = log(
        row(
            fields=fields,
            vlan="7",
            inner_vlan="9",
            orig_l2_addr="aa:bb:cc:dd:ee:0f",
            community_id="1:x",
            label="Malicious",
        ),
        fields=fields,  # type: ignore[arg-type]
    )
    parsed = tsv(data)
    (event,) = parsed.events.to_dicts()
    assert (event["zeek.connection.vlan"], event["zeek.connection.inner_vlan"]) == (7, 9)
    assert event["source.mac"] == "AA-BB-CC-DD-EE-0F"
    assert event["network.community_id"] == "1:x"
    assert event["zeek.connection.label"] == "Malicious"
    assert parsed.unknown_fields == frozenset()


def test_columns_joined_with_three_spaces_are_columns() -> None:
    """As the IoT-23 data set writes its labels."""
    fields = [*FIELDS, "label"]
    data = log(row(fields=fields, label="Benign"), fields=fields)  # type: ignore[arg-type]
    joined = data.replace(b"tunnel_parents\tlabel", b"tunnel_parents   label").replace(
        b"(empty)\tBenign", b"(empty)   Benign"
    )
    assert tsv(joined).events["zeek.connection.label"].to_list() == ["Benign"]


def test_fields_that_the_schema_does_not_know_are_kept_with_their_types() -> None:
    fields = [*FIELDS, "_stream", "_number", "_flag", "_list", "_none"]
    types = (
        "#types\t"
        + "\t".join(["x"] * len(FIELDS) + ["string", "count", "bool", "set[string]", "double"])
        + "\n"
    )
    data = (
        header(fields)
        + types
        + row(fields=fields, _stream="a\\x09b", _number="5", _flag="T", _list="x,y")
        + row(fields=fields, _number="odd")
    ).encode()
    parsed = tsv(data)
    assert parsed.events["connwatch.extra"].to_list() == [
        '{"_stream":"a\\tb","_number":5,"_flag":true,"_list":["x","y"]}',
        '{"_number":"odd"}',
    ]
    assert parsed.unknown_fields == {"_stream", "_number", "_flag", "_list", "_none"}


def test_escapes_are_resolved() -> None:
    parsed = tsv(log(row(history=r"S\x09h", service=r"ht\x74p", tunnel_parents=r"C1\x2cx,C2")))
    (event,) = parsed.events.to_dicts()
    assert event["zeek.connection.history"] == "S\th"
    assert event["zeek.connection.service"] == "http"
    assert event["zeek.connection.tunnel_parents"] == ["C1,x", "C2"]


def test_the_id_depends_on_the_record_alone() -> None:
    here = tsv(log(row())).events["event.id"][0]
    later = tsv(log("# moved\n", row(uid="C0"), row())).events["event.id"][1]
    other_sensor = ZeekTsv("dmz")
    assert here == later
    state = other_sensor.begin("zeek.connection")
    from connwatch.contracts import Block

    parsed, _ = other_sensor.parse(Block("conn.log", log(row()), 0, 1, True), state)
    assert parsed.events["event.id"][0] != here
    assert parsed.events["observer.name"].to_list() == ["dmz"]


def test_every_state_is_read() -> None:
    from connwatch.schema import STATES, expand

    events = tsv(log(*(row(conn_state=state) for state in STATES))).events
    shown = expand(events)
    assert shown["zeek.connection.state"].to_list() == list(STATES)
    assert shown["event.action"].null_count() == 0
    assert shown.filter(pl.col("zeek.connection.state") == "REJ")["event.type"].to_list() == [
        ["connection", "start", "denied"]
    ]
