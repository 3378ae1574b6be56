"""Lists in JSON: bundles of STIX, exports of MISP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from indicator_support import (
    NOT_ONE,
    A,
    D,
    N,
    P,
    listed,
    values,
)


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
