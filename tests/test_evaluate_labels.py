"""Labels: what words mean, and how columns, CSV and YAML give them to events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connwatch.errors import ConfigError, ConnwatchError, InputError
from connwatch.evaluate.label_files import by_file
from connwatch.evaluate.labels import LABELLED, Labeller, Meaning, by_column, labelled
from connwatch.schema import STORED, conform

NOW = datetime(2026, 11, 22, tzinfo=UTC)
T0 = datetime(2026, 11, 21, 10, tzinfo=UTC)


def event(name: str, second: float = 0, **values: Any) -> dict[str, Any]:
    time = T0 + timedelta(seconds=second)
    return {
        "event.id": name,
        "@timestamp": time,
        "connwatch.log_time": time,
        "source.ip": "10.0.0.1",
        "source.port": 40000,
        "destination.ip": "10.0.0.2",
        "destination.port": 22,
        "network.transport": "tcp",
        **values,
    }


def stored(*rows: Mapping[str, Any]) -> pl.LazyFrame:
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return conform(frame.cast({name: STORED[name] for name in frame.columns})).lazy()


def told(labeller: Labeller, *rows: Mapping[str, Any]) -> dict[str, tuple[str | None, str | None]]:
    """Label and detail by event."""
    frame = labelled(stored(*rows), labeller, Meaning())
    assert dict(frame.schema) == LABELLED
    assert frame.height == len(rows)
    return {row[0]: row[1:] for row in frame.select("event.id", "label", "detail").iter_rows()}


@pytest.mark.parametrize(
    ("meaning", "expected"),
    [
        (Meaning(), [True, False, False, False, False, True, None, None]),
        (Meaning(benign=("bot*",)), [True, True, True, True, True, False, None, None]),
        (Meaning(malicious=("Malicious",)), [True, False, False, False, False, False, None, None]),
        (
            Meaning(benign=("benign",), malicious=("mal*",)),
            [True, False, None, None, None, None, None, None],
        ),
    ],
    ids=["defaults", "benign alone", "malicious alone", "both: the rest is left out"],
)
def test_what_words_mean(meaning: Meaning, expected: list[bool | None]) -> None:
    words = ["MALICIOUS", " benign ", "Normal", "background", "", "Botnet.C&C", "-", None]
    column = pl.Series("label", words)
    assert (
        column.to_frame().select(told=meaning.expression(pl.col("label")))["told"].to_list()
        == expected
    )


def test_a_word_of_the_user_is_text_not_an_expression() -> None:
    column = pl.Series("label", ["a.c", "abc", "a(c"])
    meaning = Meaning(malicious=("a.c", "a(*"))
    made = column.to_frame().select(told=meaning.expression(pl.col("label")))
    assert made["told"].to_list() == [True, False, True]


def test_columns_of_the_log() -> None:
    rows = [
        event(
            "a", **{"zeek.connection.label": "Malicious", "zeek.connection.detailed_label": "C&C"}
        ),
        event("b", **{"zeek.connection.label": "Benign", "zeek.connection.detailed_label": "-"}),
        event("c", **{"zeek.connection.label": "-", "zeek.connection.detailed_label": "DDoS"}),
        event("d", **{"zeek.connection.label": None, "zeek.connection.detailed_label": None}),
        event("e", **{"connwatch.extra": '{"attack.kind":"worm","n\'s":"x"}'}),
    ]
    assert told(by_column(), *rows) == {
        "a": ("Malicious", "C&C"),
        "b": ("Benign", None),
        "c": ("DDoS", "DDoS"),
        "d": (None, None),
        "e": (None, None),
    }
    assert told(by_column("zeek.connection.detailed_label"), rows[0])["a"] == ("C&C", None)
    assert told(by_column("attack.kind"), *rows)["e"] == ("worm", None)
    assert told(by_column("connwatch.extra.attack.kind"), rows[4])["e"] == ("worm", None)
    assert told(by_column("n's"), rows[4])["e"] == ("x", None)
    assert told(by_column("destination.port"), rows[0])["a"] == ("22", None)
    assert told(by_column("network.type"), rows[0])["a"] == ("ipv4", None)


@pytest.mark.parametrize("name", ["connwatch.extra", "related.ip", "zeek.connection.labels"])
def test_columns_that_hold_no_label(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        by_column(name)
    assert caught.value.hint


def from_csv(folder: Path, text: str, *, slack: float = 0, rest: str | None = None) -> Labeller:
    path = folder / "flows.csv"
    path.write_text(text, encoding="utf-8")
    return by_file(path, now=NOW, slack=slack, rest=rest)


HEAD = "start,end,source.ip,source.port,destination.ip,destination.port,network.transport,label,detail\n"


def test_a_row_of_a_csv_fits_by_its_tuple_and_time(tmp_path: Path) -> None:
    labeller = from_csv(
        tmp_path,
        HEAD
        + "2026-11-21 10:00:00,2026-11-21 10:00:09,10.0.0.1,40000,10.0.0.2,22,tcp,bad,ssh\n"
        + "2026-11-21 10:00:00,,10.0.0.3,,10.0.0.2,,,worse,\n"
        + ",,10.0.0.4,,,,udp,odd,\n"
        + ",,,,10.0.0.9,53,,dns,\n",
    )
    rows = [
        event("in", 3),
        event("the last instant", 9.999999),
        event("late", 10),
        event("began before", -5, **{"event.duration": 5_000_000_000}),
        event("ended before", -5, **{"event.duration": 4_000_000_000}),
        event("another port", 3, **{"destination.port": 23}),
        event(
            "turned round",
            3,
            **{
                "source.ip": "10.0.0.2",
                "source.port": 22,
                "destination.ip": "10.0.0.1",
                "destination.port": 40000,
            },
        ),
        event("in the second that the start names", 0.5, **{"source.ip": "10.0.0.3"}),
        event("after it", 1, **{"source.ip": "10.0.0.3"}),
        event("any time", 9e6, **{"source.ip": "10.0.0.4", "network.transport": "udp"}),
        event("another protocol", 9e6, **{"source.ip": "10.0.0.4"}),
        event("one side", 1, **{"destination.ip": "10.0.0.9", "destination.port": 53}),
    ]
    found = told(labeller, *rows)
    assert {name for name, (label, _) in found.items() if label is not None} == {
        "in", "the last instant", "began before", "turned round",
        "in the second that the start names", "any time", "one side",
    }  # fmt: skip
    assert found["in"] == ("bad", "ssh")
    assert found["any time"] == ("odd", None)


def test_slack_the_first_row_and_the_rest(tmp_path: Path) -> None:
    text = (
        HEAD
        + "1795255200,1795255201,10.0.0.1,,10.0.0.2,,,first,\n"
        + "1795255200,1795255209,10.0.0.1,,10.0.0.2,,6,second,\n"
    )
    rows = [event("a", 1), event("b", 2.5), event("c", 11), event("d", 99)]
    strict = from_csv(tmp_path, text)
    found = {name: label for name, (label, _) in told(strict, *rows).items()}
    assert found == {"a": "first", "b": "second", "c": None, "d": None}
    wide = from_csv(tmp_path, text, slack=2, rest="benign")
    found = {name: label for name, (label, _) in told(wide, *rows).items()}
    assert found == {"a": "first", "b": "first", "c": "second", "d": "benign"}


def test_other_names_durations_and_icmp(tmp_path: Path) -> None:
    labeller = from_csv(
        tmp_path,
        " ts ,Duration,Src_IP,sport,DST_IP,dport,Proto,Class\n"
        "2026-11-21T10:00:00Z,5.5,10.0.0.1,8,::ffff:10.0.0.2,0,1,ping\n",
    )
    icmp = {"network.transport": "icmp", "source.port": None, "destination.port": None}
    found = told(labeller, event("in", 6.4, **icmp), event("out", 6.6, **icmp), event("tcp", 1))
    assert found == {"in": ("ping", None), "out": (None, None), "tcp": (None, None)}


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        (HEAD + "\n,,10.0.0.1,,10.0.0.2,,,bad,\n,,10.0.0,,,,,bad,\n", ":4", "source.ip: '10.0.0' is not an address"),
        (HEAD + ",,10.0.0.1,70000,,,,bad,\n", ":2", "source.port: '70000' is not a port"),
        (HEAD + "soon,,10.0.0.1,,,,,bad,\n", ":2", "first: 'soon' is not a time"),
        (HEAD + ",,10.0.0.1,,,,,bad,\n,,,,,22,tcp,bad,\n", ":3", "has no address"),
        (HEAD + "2026-11-21,2026-11-20,10.0.0.1,,,,,bad,\n", ":2", "ends before it begins"),
        ("start,source.ip\n", ":1", "has no column for label"),
        ("src,label,duration\n10.0.0.1,x,inf\n", ":2", "'inf' is not a number of seconds"),
        ("", "flows.csv", "is not CSV"),
        ("a,b\n1,2,3\n", "flows.csv", "is not CSV"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_csv(tmp_path: Path, text: str, where: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_csv(tmp_path, text)
    assert str(caught.value.where).endswith(where)
    assert said in caught.value.message


HOSTS = st.sampled_from(["10.0.0.1", "10.0.0.2"])
PORTS = st.sampled_from([22, 80])
MINUTES = st.integers(0, 100)


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    events=st.lists(st.tuples(HOSTS, PORTS, HOSTS, PORTS, MINUTES, MINUTES), min_size=1, max_size=8),
    rows=st.lists(
        st.tuples(
            HOSTS, st.none() | PORTS, st.none() | HOSTS, st.none() | PORTS,
            st.none() | MINUTES, st.none() | MINUTES,
        ),
        max_size=6,
    ),
)  # fmt: skip
def test_rows_fit_as_a_plain_loop_says(
    tmp_path: Path, events: list[tuple[Any, ...]], rows: list[tuple[Any, ...]]
) -> None:
    """Whatever the joins do to be fast: short spans and long ones, keys given and not."""
    rows = [(*row[:4], *sorted(row[4:])) if None not in row[4:] else row for row in rows]
    text = HEAD.replace("network.transport,", "").replace(",detail", "")
    for number, (src, sport, dst, dport, first, last) in enumerate(rows):
        times = [
            "" if m is None else str((T0 + timedelta(minutes=m)).timestamp()) for m in (first, last)
        ]
        cells = [*times, src, sport, dst, dport, number]
        text += ",".join("" if cell is None else str(cell) for cell in cells) + "\n"

    def fits(event: tuple[Any, ...], row: tuple[Any, ...]) -> bool:
        begin, end = event[4], event[4] + event[5]
        in_time = (row[4] is None or row[4] <= end) and (row[5] is None or row[5] >= begin)
        if row[4] is not None and row[5] is None:  # an instant
            in_time = begin <= row[4] <= end
        turned = (*event[2:4], *event[:2])
        sides = any(
            all(want in (None, got) for want, got in zip(row[:4], side, strict=True))
            for side in (event[:4], turned)
        )
        return in_time and sides

    made = [
        event(
            str(number), minute * 60,
            **{
                "source.ip": src, "source.port": sport, "destination.ip": dst,
                "destination.port": dport, "event.duration": length * 60_000_000_000,
            },
        )
        for number, (src, sport, dst, dport, minute, length) in enumerate(events)
    ]  # fmt: skip
    found = told(from_csv(tmp_path, text), *made)
    for number, one in enumerate(events):
        expected = next((str(n) for n, row in enumerate(rows) if fits(one, row)), None)
        assert found[str(number)][0] == expected


def from_yaml(folder: Path, text: str, rest: str | None = None) -> Labeller:
    path = folder / "labels.yml"
    path.write_text(text, encoding="utf-8")
    return by_file(path, now=NOW, slack=0, rest=rest)


def test_rules_by_host_port_and_time(tmp_path: Path) -> None:
    labeller = from_yaml(
        tmp_path,
        """
labels:
  - {label: quiet, source: 10.0.0.1, port: 22, to: 2026-11-21 10:00:10}
  - {label: scan, detail: vertical, source: 10.0.0.0/31, port: [1-100, 8080], protocol: TCP}
  - {label: other, host: [10.0.0.7, "fd00::/8"], from: 2026-11-21 10:00:05}
  - {label: kql, where: 'source.ip: 10.0.0.8 and not destination.port: 22'}
  - {label: reply, source-port: 53}
default: benign
""",
    )
    found = told(
        labeller,
        event("first wins", 9),
        event("then the next", 10),
        event("a port beyond", 10, **{"destination.port": 101}),
        event("a single port", 10, **{"destination.port": 8080}),
        event("another protocol", 10, **{"network.transport": "udp"}),
        event("no port", 10, **{"destination.port": None}),
        event("either side", 5, **{"destination.ip": "10.0.0.7", "source.ip": "10.9.9.9"}),
        event("too early", 4, **{"destination.ip": "10.0.0.7", "source.ip": "10.9.9.9"}),
        event("v6", 5, **{"source.ip": "fd00::1", "destination.ip": "fd00::2"}),
        event("by query", 5, **{"source.ip": "10.0.0.8", "destination.port": 80}),
        event("reply", 5, **{"source.ip": "10.0.0.8", "source.port": 53}),
    )
    assert {name: label for name, (label, _) in found.items()} == {
        "first wins": "quiet",
        "then the next": "scan",
        "a port beyond": "benign",
        "a single port": "scan",
        "another protocol": "benign",
        "no port": "benign",
        "either side": "other",
        "too early": "benign",
        "v6": "other",
        "by query": "kql",
        "reply": "reply",
    }
    assert found["a single port"] == ("scan", "vertical")
    bare = from_yaml(tmp_path, "labels: [{label: x, host: 10.9.9.9}]")
    assert told(bare, event("a")) == {"a": (None, None)}
    assert told(from_yaml(tmp_path, "labels: []", rest="good"), event("a")) == {"a": ("good", None)}


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("labels: {", "is not YAML", None),
        ("- label: x", "holds no list 'labels'", "docs/evaluate.md"),
        ("labels: []\ndefalt: benign", "unknown key 'defalt'", "did you mean 'default'?"),
        ("labels: [{label: x, prot: 22}]", "unknown key 'prot'", "did you mean 'port'?"),
        ("labels: [{host: 10.0.0.1}]", "has no label", None),
        ("labels: [x]", "is not a mapping", None),
        ("labels: [{label: x, host: 10.0.0}]", "host: '10.0.0' is not an address", None),
        ("labels: [{label: x, port: 90-80}]", "port: '90-80' is not a range", None),
        ("labels: [{label: x, port: ssh}]", "port: 'ssh' is not a port", None),
        ("labels: [{label: x, to: soon}]", "to: 'soon' is not a time", "write 2026"),
        ("labels: [{label: x, where: 'nonsense: 1'}]", "where: ", None),
    ],
)
def test_what_is_wrong_in_a_yaml(tmp_path: Path, text: str, said: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        from_yaml(tmp_path, text)
    assert said in caught.value.message
    assert hint is None or hint in str(caught.value.hint)


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        by_file(tmp_path / "none.csv", now=NOW, slack=0, rest=None)
    (tmp_path / "bytes.yml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConnwatchError, match="UTF-8"):
        by_file(tmp_path / "bytes.yml", now=NOW, slack=0, rest=None)
