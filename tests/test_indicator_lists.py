"""Lists of indicators: every format with what it gives and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connwatch.detectors.indicators import (
    ENTRY_SCHEMA,
    REJECT_SCHEMA,
    IndicatorList,
    ListOptions,
    read_list,
)
from connwatch.detectors.indicators.columns import read_column
from connwatch.detectors.indicators.csv_table import Header, split
from connwatch.detectors.indicators.values import Value, confidence, read, read_time
from connwatch.errors import ConfigError, InputError


def listed(folder: Path, text: str | bytes | object, **options: Any) -> IndicatorList:
    """What is read from a file with this text, or this as JSON."""
    path = folder / "feed.list"
    if isinstance(text, str):
        path.write_text(text, encoding="utf-8", newline="")
    elif isinstance(text, bytes):
        path.write_bytes(text)
    else:
        path.write_text(json.dumps(text), encoding="utf-8")
    return read_list(path, ListOptions(**options))


def values(read: IndicatorList) -> list[tuple[Any, ...]]:
    return read.entries.select("kind", "value", "port").rows()


def reasons(read: IndicatorList) -> list[tuple[Any, ...]]:
    return read.rejects.select("line", "reason").rows()


A, N, D, P = "address", "network", "domain", "port"
NOT_ONE = "not an address, network, port or domain name"
ONE_LABEL = "a name of one label, which would match everything beneath it"

#: a text -> kind, value and port, or why there is none
TEXTS: tuple[tuple[str, str | tuple[str, str, int | None]], ...] = (
    ("203.0.113.7", (A, "203.0.113.7", None)),
    ("203.0.113.7/32", (A, "203.0.113.7", None)),
    ("203.0.113.7/24", (N, "203.0.113.0/24", None)),
    ("203.0.113.7/031", (N, "203.0.113.6/31", None)),
    ("10.1.2.3/255.0.0.0", (N, "10.0.0.0/8", None)),
    ("203.0.113.007", NOT_ONE),
    ("203.0.113.256", NOT_ONE),
    ("203.0.113", NOT_ONE),
    ("0.0.0.0/0", "covers every address"),
    ("::/0", "covers every address"),
    ("0.0.0.0/1", (N, "0.0.0.0/1", None)),
    ("255.255.255.255", (A, "255.255.255.255", None)),
    ("2001:DB8:0::1", (A, "2001:db8::1", None)),
    ("2001:db8::1/32", (N, "2001:db8::/32", None)),
    ("2001:db8::1/128", (A, "2001:db8::1", None)),
    ("fe80::1%eth0", (A, "fe80::1", None)),
    ("::ffff:203.0.113.7", (A, "203.0.113.7", None)),
    ("::ffff:203.0.113.0/120", (N, "203.0.113.0/24", None)),
    ("203.0.113.7:4444", (A, "203.0.113.7", 4444)),
    ("203.0.113.0/24:53", (N, "203.0.113.0/24", 53)),
    ("[2001:db8::1]:443", (A, "2001:db8::1", 443)),
    ("[2001:db8::1]", NOT_ONE),
    ("203.0.113.7:65536", "65536 is not a port"),
    ("443:443", NOT_ONE),
    ("4444", (P, "4444", 4444)),
    ("0", (P, "0", 0)),
    ("65536", NOT_ONE),
    ("٤٤٣", ONE_LABEL),
    ("4444/tcp", NOT_ONE),
    ("Bad.Example.", (D, "bad.example", None)),
    ("*.bad.example", (D, "bad.example", None)),
    (".bad.example", (D, "bad.example", None)),
    ("bad.example:8080", (D, "bad.example", 8080)),
    ("_dmarc.bad-one.example", (D, "_dmarc.bad-one.example", None)),
    ("bücher.example", (D, "xn--bcher-kva.example", None)),
    ("com", ONE_LABEL),
    ("*.com", ONE_LABEL),
    ("localhost", ONE_LABEL),
    ("-bad.example", NOT_ONE),
    ("bad..example", NOT_ONE),
    ("a" * 64 + ".example", NOT_ONE),
    (".".join(["a" * 60] * 5), NOT_ONE),
    ("203[.]0[.]113[.]7", (A, "203.0.113.7", None)),
    ("http://bad.example/x", "a URL, which no connection log shows"),
    ("hxxp://bad[.]example/x", "a URL, which no connection log shows"),
    ("someone@bad.example", NOT_ONE),
    ("d41d8cd98f00b204e9800998ecf8427e", ONE_LABEL),
    ("bad example", NOT_ONE),
    ("1" * 5000, "longer than 512 characters"),
    ("\x1b[2Jbad.example", NOT_ONE),
    ("a\x00.example", NOT_ONE),
    ("", "no indicator"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), TEXTS, ids=[repr(t)[:40] for t, _ in TEXTS])
def test_a_text_is_an_indicator_or_not_for_a_reason(
    text: str, wanted: str | tuple[str, str, int | None]
) -> None:
    found = read(text)
    assert (found if isinstance(found, str) else (found.kind, found.value, found.port)) == wanted


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from([text for text, _ in TEXTS]),
            st.ip_addresses().map(str),
            st.tuples(st.ip_addresses(v=4), st.integers(0, 40)).map(lambda p: f"{p[0]}/{p[1]}"),
            st.tuples(st.ip_addresses(v=6), st.integers(0, 140)).map(lambda p: f"{p[0]}/{p[1]}"),
            st.text("aAK.-_0:/[]*\u212a", max_size=20),
            st.text(max_size=20).map(str.strip),
        )
    )
)
def test_reading_by_column_means_the_same_as_reading_one_by_one(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    for text, row in zip(texts, read_column(pl.Series(texts, dtype=pl.String)).rows(), strict=True):
        found = read(text)
        wanted = (None,) * 6 + (found,) if isinstance(found, str) else None
        if isinstance(found, Value):
            first, last = found.first, found.last
            wanted = (found.kind, found.value, found.version, first, last, found.port, None)
        assert row == wanted, text


PLAIN = """\ufeff# a list of bad things
203.0.113.7\r
198.51.100.0/24 ; SBL1234

  bad.example   # names beneath; too
not-an-indicator
0.0.0.0 worse.example
127.0.0.1\tlocalhost
4444
; the end
2001:db8::7"""


def test_plain_text_is_one_indicator_a_line_and_comments_are_kept_as_descriptions(
    tmp_path: Path,
) -> None:
    found = listed(tmp_path, PLAIN)
    assert found.format == "plain"
    assert found.entries.select("line", "kind", "value", "description").rows() == [
        (2, A, "203.0.113.7", None),
        (3, N, "198.51.100.0/24", "SBL1234"),
        (5, D, "bad.example", "names beneath; too"),
        (7, D, "worse.example", None),
        (9, P, "4444", None),
        (11, A, "2001:db8::7", None),
    ]
    assert reasons(found) == [(6, ONE_LABEL), (8, ONE_LABEL)]
    assert found.rejects["raw"].to_list() == ["not-an-indicator", "localhost"]
    assert set(found.entries["provider"]) == {"feed"}
    assert found.entries.schema == pl.Schema(ENTRY_SCHEMA)
    assert found.rejects.schema == pl.Schema(REJECT_SCHEMA)


CSV = """ip,Port,valid from,valid_until,description,source,confidence,reference
203.0.113.7,443,2026-01-01T00:00:00Z,2026-02-01,C2,CERT,90,https://cert.example/1
198.51.100.0/24,,,,,,low,
203.0.113.8,443,yesterday,,,,,
203.0.113.9,https,,,,,,
203.0.113.10,443
# a comment
bad.example,,,,,,,
203.0.113.11,443,2026-02-01,2026-01-01,,,,
203.0.113.12:80,443,,,,,,
,8080,,,,,,
,,,,only words,,,
203.0.113.13,,1767225600,2026-01-01 01:00:00+01:00,,,,
203.0.113.14,,1767225600,2026-01-01 01:00:01+01:00,,,certain,
"""


def test_csv_is_read_by_the_names_of_its_header(tmp_path: Path) -> None:
    found = listed(tmp_path, CSV, provider="my feed")
    assert found.format == "csv"
    assert found.entries.select(
        "line", "value", "port", "description", "provider", "confidence", "reference"
    ).rows() == [
        (2, "203.0.113.7", 443, "C2", "CERT", "High", "https://cert.example/1"),
        (3, "198.51.100.0/24", None, None, "my feed", "Low", None),
        (11, "8080", 8080, None, "my feed", "Not Specified", None),
        (14, "203.0.113.14", None, None, "my feed", "Not Specified", None),
    ]
    assert [str(t) for t in found.entries.row(0)[6:8]] == [
        "2026-01-01 00:00:00+00:00",
        "2026-02-01 00:00:00+00:00",
    ]
    never = "never valid: valid_until is not after valid_from"
    assert reasons(found) == [
        (4, "valid_from yesterday cannot be read"),
        (5, "port https cannot be read"),
        (6, "2 cells, the header has 8"),
        (8, "a domain, where the list says address"),
        (9, never),
        (10, "two different ports"),
        (12, "no indicator"),
        (13, never),
    ]


#: what the header is like -> the file, what is read, reasons
TABLES = {
    "a comment, as abuse.ch writes": (
        "#####\n# list of C2, all of them\n#\n# Firstseen,DstIP,DstPort\n2026-01-01 00:00:00,203.0.113.7,443\n# END\n",
        [(A, "203.0.113.7", 443)],
        [],
    ),
    "quoted, after comments, with types": (
        (
            '# Feed\n"first_seen_utc","ioc_id","ioc_value","ioc_type"\n'
            '"2026-01-01 00:00:00", "1", "203.0.113.7:443", "ip:port"\n'
            '"2026-01-01 00:00:00","2","bad.example","domain"\n'
            '"2026-01-01 00:00:00","3","evil.exe","filename"\n'
            '"2026-01-01 00:00:00","4","443","domain"\n'
        ),
        [(A, "203.0.113.7", 443), (D, "bad.example", None)],
        [(5, "type filename is not in connection logs"), (6, "a port, where the list says domain")],
    ),
    "Zeek's": (
        (
            "#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc\n"
            "203.0.113.7\tIntel::ADDR\tCERT\tscanner\n198.51.100.0/24\tIntel::SUBNET\tCERT\t-\n"
            "bad.example\tIntel::DOMAIN\tCERT\t-\nbad.example/x\tIntel::URL\tCERT\t-\n"
        ),
        [(A, "203.0.113.7", None), (N, "198.51.100.0/24", None), (D, "bad.example", None)],
        [(5, "type Intel::URL is not in connection logs")],
    ),
    "with semicolons, domain and address in one line": (
        "domain;ip;port\nbad.example;203.0.113.7;443\n;;\n",
        [(A, "203.0.113.7", 443), (D, "bad.example", 443)],
        [(3, "no indicator")],
    ),
    "of one column": ("ip\n203.0.113.7\n", [(A, "203.0.113.7", None)], []),
    "of ports": ("port,comment\n4444,x\n70000,y\n", [(P, "4444", 4444)], [(3, NOT_ONE)]),
    "with quotes that hold separators, newlines and quotes": (
        'ip,comment\n203.0.113.7,"a, ""b""\nand c"\n203.0.113.8,"open\n203.0.113.9,x\n203.0.113.10,a"b\n',
        [(A, "203.0.113.7", None), (A, "203.0.113.9", None), (A, "203.0.113.10", None)],
        [(4, "a quote that is not closed, or not at the ends of its cell")],
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_whose_header_is(name: str, tmp_path: Path) -> None:
    text, wanted, why = TABLES[name]
    found = listed(tmp_path, text)
    assert (found.format, values(found), reasons(found)) == ("csv", wanted, why)


@settings(deadline=None)
@given(st.lists(st.text('",\\ab #', max_size=12), max_size=8), st.integers(1, 3))
def test_simple_quotes_are_read_as_one_record_after_another_is(
    texts: list[str], width: int
) -> None:
    header = Header(",", {"ip": 0, "description": width - 1}, width, 0)
    texts = [text for text in texts if text.strip()]
    lines = pl.Series("line", range(1, len(texts) + 1), dtype=pl.Int64)
    body = pl.DataFrame([lines, pl.Series("text", texts, dtype=pl.String)])
    strip = pl.col("ip", "description").str.strip_chars()
    (rows, bad), (wanted, wanted_bad) = split(body, header), split(body, header, exactly=True)
    assert rows.with_columns(strip).rows() == wanted.with_columns(strip).rows()
    assert bad.equals(wanted_bad)


def test_columns_can_be_named(tmp_path: Path) -> None:
    text = "Adresse,seit,bis\n203.0.113.7,2026-01-01,2026-02-01\n"
    chosen = {"ip": "Adresse", "valid_from": "seit", "valid_until": "bis"}
    found = listed(tmp_path, text, columns=chosen)
    assert [str(t)[:10] for t in found.entries.row(0)[6:8]] == ["2026-01-01", "2026-02-01"]
    with pytest.raises(ConfigError, match="did you mean 'valid_from'"):
        listed(tmp_path, text, columns={"ip": "Adresse", "valid_form": "seit"})
    with pytest.raises(ConfigError, match="no columns Addresse"):
        listed(tmp_path, text, columns={"ip": "Addresse"})
    with pytest.raises(ConfigError, match=r"feed\.list: no header"):
        listed(tmp_path, "", columns={"ip": "Adresse"})


def indicator(pattern: object, **more: Any) -> dict[str, Any]:
    base = {"type": "indicator", "id": "indicator--1", "pattern": pattern, "pattern_type": "stix"}
    return {**base, "valid_from": "2026-01-01T00:00:00Z", **more}


#: a pattern -> kind and value of its indicators, reasons
PATTERNS: dict[str, tuple[list[tuple[str, str]], list[str]]] = {
    "[ipv4-addr:value = '203.0.113.7']": ([(A, "203.0.113.7")], []),
    "[ipv4-addr:value='203.0.113.0/24']": ([(N, "203.0.113.0/24")], []),
    "[ipv4-addr:value ISSUBSET '203.0.113.0/24']": ([(N, "203.0.113.0/24")], []),
    "[ipv6-addr:value = '2001:db8::1'] OR [domain-name:value = 'bad.example']": (
        [(A, "2001:db8::1"), (D, "bad.example")],
        [],
    ),
    "[ipv4-addr:value = '203.0.113.7' OR (ipv4-addr:value IN ('203.0.113.8', '203.0.113.9'))]": (
        [(A, "203.0.113.7"), (A, "203.0.113.8"), (A, "203.0.113.9")],
        [],
    ),
    "([network-traffic:dst_port = 4444] OR [network-traffic:dst_ref.value = '203.0.113.7'])": (
        [(P, "4444"), (A, "203.0.113.7")],
        [],
    ),
    "[url:value = 'http://x'] OR [domain-name:value = 'bad.example']": (
        [(D, "bad.example")],
        ["url:value is not in connection logs"],
    ),
    "[file:hashes.'SHA-256' = 'ab']": ([], ["file:hashes.'SHA-256' is not in connection logs"]),
    "[ipv4-addr:value = '203.0.113.7' AND network-traffic:dst_port = 1]": (
        [],
        ["AND in a pattern is not matched, only OR"],
    ),
    "[ipv4-addr:value = '203.0.113.7'] WITHIN 5 SECONDS": (
        [],
        ["WITHIN in a pattern is not matched, only OR"],
    ),
    "[domain-name:value LIKE '%.example']": ([], ["LIKE in a pattern is not matched"]),
    "[ipv4-addr:value != '203.0.113.7']": ([], ["!= in a pattern is not matched"]),
    "[ipv4-addr:value NOT = '203.0.113.7']": ([], ["NOT in a pattern is not matched"]),
    "[ipv4-addr:value = 'bad.example']": ([], ["a domain, where the list says address"]),
    r"[domain-name:value = 'it\'s.example']": ([], [NOT_ONE]),
    "[ipv4-addr:value = '203.0.113.7'": ([], ["a pattern that cannot be read"]),
    "[[[[": ([], ["a pattern that cannot be read"]),
    "ipv4-addr:value = '203.0.113.7'": ([], ["a pattern that cannot be read"]),
    "": ([], ["no pattern"]),
    "[" * 70_000: ([], ["a pattern that is too long"]),
}


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern[:60] or "none")
def test_a_pattern_of_stix(pattern: str, tmp_path: Path) -> None:
    bundle = {"type": "bundle", "objects": [indicator("[domain-name:value = 'a.example']")]}
    bundle["objects"].append(indicator(pattern))  # type: ignore[attr-defined]
    found = listed(tmp_path, bundle)
    wanted, why = PATTERNS[pattern]
    assert found.format == "stix"
    assert found.entries.select("kind", "value").rows()[1:] == wanted
    assert found.rejects.select("entry", "reason").rows() == [("objects[1]", w) for w in why]


def test_what_stix_says_of_an_indicator_is_kept(tmp_path: Path) -> None:
    bundle = {
        "objects": [
            {"type": "identity", "id": "identity--1", "name": "CERT"},
            indicator(
                "[ipv4-addr:value = '203.0.113.7']",
                created_by_ref="identity--1",
                valid_until="2026-02-01T00:00:00.5Z",
                confidence=50,
                name="C2 \ud800",
                external_references=[{"source_name": "x"}, {"url": "https://cert.example/1"}],
            ),
            indicator("[ipv4-addr:value = '203.0.113.8']", revoked=True),
            indicator("[ipv4-addr:value = '203.0.113.8']", pattern_type="snort"),
            indicator("[ipv4-addr:value = '203.0.113.8']", valid_from=5),
            indicator("[ipv4-addr:value = '203.0.113.8']", valid_from="soon"),
            indicator(["x"]),
            "nonsense",
        ]
    }
    found = listed(tmp_path, bundle)
    row = found.entries.row(0, named=True)
    assert {k: str(v) for k, v in row.items() if k not in ("first", "last", "file")} == {
        "kind": A, "value": "203.0.113.7", "version": "4", "port": "None",
        "valid_from": "2026-01-01 00:00:00+00:00", "valid_until": "2026-02-01 00:00:00.500000+00:00",
        "provider": "CERT", "reference": "https://cert.example/1", "description": "C2 \\ud800",
        "confidence": "Medium", "type": "ipv4-addr", "id": "indicator--1", "line": "None",
        "entry": "objects[1]",
    }  # fmt: skip
    assert found.rejects["reason"].to_list() == [
        "revoked",
        "pattern_type snort is not read",
        "valid_from is not a text",
        "valid_from soon cannot be read",
        "no pattern",
        "not an object",
    ]


def attribute(kind: str, value: object, **more: Any) -> dict[str, Any]:
    return {"type": kind, "value": value, "to_ids": True, "uuid": "u", **more}


ATTRIBUTES = [
    attribute("ip-src", "203.0.113.7"),
    attribute("ip-dst", "198.51.100.0/24", comment="C2"),
    attribute("ip-dst|port", "203.0.113.8|443"),
    attribute("domain|ip", "bad.example|203.0.113.9"),
    attribute("hostname", "www.bad.example", to_ids="1"),
    attribute("hostname|port", "www.bad.example|8080"),
    attribute("ip-src", "203.0.113.10", to_ids=False),
    attribute("ip-src", "203.0.113.10", deleted=True),
    attribute("md5", "d41d8cd98f00b204e9800998ecf8427e"),
    attribute("domain|ip", "bad.example"),
    attribute("ip-dst|port", "203.0.113.8|x"),
    attribute("domain", 5),
    "nonsense",
]
EVENT = {"info": "Campaign", "Orgc": {"name": "CERT"}, "Attribute": ATTRIBUTES}


def test_misp_gives_the_attributes_for_detection(tmp_path: Path) -> None:
    found = listed(tmp_path, {"Event": EVENT})
    assert found.format == "misp"
    assert values(found) == [
        (A, "203.0.113.7", None),
        (N, "198.51.100.0/24", None),
        (A, "203.0.113.8", 443),
        (D, "bad.example", None),
        (A, "203.0.113.9", None),
        (D, "www.bad.example", None),
        (D, "www.bad.example", 8080),
    ]
    assert found.rejects.select("entry", "reason").rows() == [
        ("Event.Attribute[6]", "not for detection (to_ids)"),
        ("Event.Attribute[7]", "deleted"),
        ("Event.Attribute[8]", "type md5 is not in connection logs"),
        ("Event.Attribute[9]", "1 values, where the type has 2"),
        ("Event.Attribute[10]", "port x cannot be read"),
        ("Event.Attribute[11]", "not an attribute"),
        ("Event.Attribute[12]", "not an attribute"),
    ]
    assert found.entries.select("provider", "description", "type", "id").rows()[:2] == [
        ("CERT", "Campaign", "ip-src", "u"),
        ("CERT", "C2", "ip-dst", "u"),
    ]
    assert len(listed(tmp_path, {"Event": EVENT}, all_attributes=True).entries) == 8


ONE = [attribute("ip-src", "203.0.113.7")]


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"response": [{"Event": {"Attribute": ONE}}]}, "response[0].Event.Attribute[0]"),
        ({"response": {"Attribute": ONE}}, "response.Attribute[0]"),
        ([{"Event": {"Attribute": ONE}}], "[0].Event.Attribute[0]"),
        ({"Attribute": ONE}, "Attribute[0]"),
        ({"Event": {"Object": [{"Attribute": ONE}]}}, "Event.Object[0].Attribute[0]"),
    ],
)
def test_misp_is_exported_in_many_shapes(document: object, where: str, tmp_path: Path) -> None:
    found = listed(tmp_path, document)
    assert (found.format, values(found)) == ("misp", [(A, "203.0.113.7", None)])
    assert found.entries["entry"].to_list() == [where]


#: what is no list -> what the error says
BROKEN: dict[str, tuple[str | bytes | object, str]] = {
    "a page of an error": (
        "<html>\n<b>404</b>\n",
        "none of 2 entries can be used; the first, at line 1",
    ),
    "other JSON": ({"a": 1}, "neither a STIX bundle nor a MISP export"),
    "cut JSON": ('{"type": "bundle", "obj', "JSON that cannot be read"),
    "deep JSON": ("[{" + '"a":[' * 100_000, "JSON that"),
    "long numbers": ('{"a":' + "9" * 10_000 + "}", "JSON that cannot be read"),
    "a compressed file": (b"\x1f\x8b\x08\x00abc", "not a text file"),
    "bytes": (b"abc\x00def", "not a text file"),
    "a response without MISP": ({"response": {"response": {}}}, "neither"),
    "deep responses": ('{"response":' * 900 + "1" + "}" * 900, "neither"),
    "deep objects": ('{"objects": [' + "[" * 900 + "]" * 900 + "]}", "not an object"),
    "deep attributes": ('{"Attribute": [' + "[" * 900 + "]" * 900 + "]}", "not an attribute"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_list_is_an_error_with_its_file(name: str, tmp_path: Path) -> None:
    text, wanted = BROKEN[name]
    with pytest.raises(InputError) as caught:
        listed(tmp_path, text)
    assert wanted in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "feed.list"))


def test_a_missing_file_is_an_error_and_an_empty_one_is_a_list_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_list(tmp_path / "none")
    for text in ("", "# nothing today\n", {"type": "bundle"}, {"Event": {}}, "ip,comment\n"):
        assert listed(tmp_path, text).entries.schema == pl.Schema(ENTRY_SCHEMA)


def test_a_file_name_that_is_no_unicode_is_no_obstacle(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt"))
    path.write_text("203.0.113.7\n", encoding="utf-8")
    assert read_list(path).entries["provider"].to_list() == ["\\udcff"]


def test_other_encodings_lose_nothing_but_their_own_line(tmp_path: Path) -> None:
    assert values(listed(tmp_path, "203.0.113.7\n".encode("utf-16"))) == [(A, "203.0.113.7", None)]
    found = listed(tmp_path, b"203.0.113.7\n\xff\xfe.example\n203.0.113.8 # caf\xe9\n")
    assert len(values(found)) == 2
    assert found.entries["description"].to_list() == [None, "caf\\xe9"]
    assert reasons(found) == [(2, NOT_ONE)]


@settings(deadline=None)
@given(st.one_of(st.text(max_size=200), st.text("[]{}\",:;#|\t\n01.aip\x1b\\'", max_size=200)))
def test_any_text_is_a_list_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    try:
        found = listed(folder, text.encode("utf-8", "surrogatepass"))
    except InputError:
        return
    assert found.entries.schema == pl.Schema(ENTRY_SCHEMA)


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text("ab|.1", max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([
        "objects", "type", "pattern", "id", "Event", "Attribute", "Object", "response", "value",
        "to_ids", "valid_from", "external_references", "created_by_ref", "name"]), inner, max_size=4)))  # fmt: skip
def test_any_json_is_a_list_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, document: object
) -> None:
    try:
        listed(tmp_path_factory.getbasetemp(), json.dumps(document).encode())
    except InputError:
        return


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-01-01", "2026-01-01 00:00:00+00:00"),
        ("2026-01-01T02:00:00+02:00", "2026-01-01 00:00:00+00:00"),
        ("2026-01-01 00:00:00.1234567 UTC", "2026-01-01 00:00:00.123456+00:00"),
        ("1767225600", "2026-01-01 00:00:00+00:00"),
        ("9" * 30, "None"),
        ("2026", "None"),
        ("0001-01-01T00:00:00+14:00", "None"),
        ("9999-12-31T23:59:59-14:00", "None"),
        ("1969-12-31", "None"),
    ],
)
def test_a_time(text: str, wanted: str) -> None:
    assert str(read_time(text)) == wanted


def test_confidence_is_a_word_of_ecs() -> None:
    words = ["0", "1", "29", "30", "69", "70", "100", "101", "high", "LOW", "?", "-1", "９"]
    assert [confidence(word) for word in words] == [
        "None", "Low", "Low", "Medium", "Medium", "High", "High", "Not Specified", "High", "Low",
        "Not Specified", "Not Specified", "Not Specified",
    ]  # fmt: skip
