"""What one text of a list means: an indicator, a time, a confidence."""

from __future__ import annotations

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
)

from connwatch.detectors.indicators.columns import read_column
from connwatch.detectors.indicators.values import Value, confidence, read, read_time

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
