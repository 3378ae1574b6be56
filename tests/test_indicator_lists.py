"""Lists of indicators as text: what each gives and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from indicator_support import (
    NOT_ONE,
    ONE_LABEL,
    A,
    D,
    N,
    P,
    listed,
    reasons,
    values,
)

from connwatch.detectors.indicators import (
    ENTRY_SCHEMA,
    REJECT_SCHEMA,
    read_list,
)
from connwatch.detectors.indicators.csv_table import Header, split
from connwatch.errors import ConfigError, InputError

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
