"""A replay from end to end: the same alerts however the records come, and books that balance."""

from __future__ import annotations

import gzip
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import zstandard
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from support import replayed
from test_sigma import write
from test_zeek_tsv import header, row

from connwatch import pipeline
from connwatch.alert import digest
from connwatch.detectors.ruleset import RuleSet, load_rules
from connwatch.ingest.merge import merged
from connwatch.pipeline import Options
from connwatch.sinks.embedded import StoreReader

DAY = 1_700_000_000


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> RuleSet:
    folder = tmp_path_factory.mktemp("rules")
    write(
        folder,
        "s: {destination.port: [4444, 80]}\ncondition: s",
        title="Port",
        more="suppress: 10m\n",
        name="a.yml",
    )
    write(
        folder,
        "s: {zeek.connection.state: REJ}\ncondition: s",
        title="Rejected",
        more="suppress: 1m\ngroup-by: [source.ip]\n",
        name="b.yml",
    )
    return load_rules([folder])


COUNTING = """title: Rejections
name: rejections
logsource: {category: network, service: connection}
detection: {s: {zeek.connection.state: REJ}, condition: s}
---
title: Many rejections
suppress: 20m
correlation: {type: event_count, rules: [rejections], group-by: [source.ip], timespan: 10m,
  condition: {gte: 3}}
---
title: Many ports
correlation: {type: value_count, rules: [rejections], timespan: 5m,
  condition: {gte: 2, field: destination.port}}
---
title: Pairs and sources
logsource: {category: network, service: connection}
analytic: {type: scan, any-of: [{ports: 2, within: 2m}, {targets: 3, within: 30m}]}
"""


@pytest.fixture(scope="module")
def counting(rules: RuleSet, tmp_path_factory: pytest.TempPathFactory) -> RuleSet:
    """The same rules, and others over many records."""
    folder = tmp_path_factory.mktemp("counting")
    (folder / "counting.yml").write_text(COUNTING, encoding="utf-8")
    single = Path(rules.rules[0].where.rsplit(":", 1)[0]).parent
    found = load_rules([single, folder])
    assert len(found.running) == 5
    return found


def records(chance: random.Random, number: int, spread: int = 7200) -> list[str]:
    return [
        row(
            ts=f"{DAY + chance.randrange(spread)}.{n:06d}",
            duration=str(chance.choice([0.5, 30, 600])),
            uid=f"C{n}",
            **{
                "id.orig_h": f"10.0.0.{chance.randrange(4)}",
                "id.resp_p": str(chance.choice([80, 443, 4444])),
            },
            conn_state=chance.choice(["SF", "REJ"]),
        )
        for n in range(number)
    ]


def as_log(lines: list[str]) -> bytes:
    return (header() + "".join(lines)).encode()


@settings(max_examples=examples(25))
@given(
    st.integers(0, 10**6),
    st.integers(1, 120),
    st.integers(1, 60),
    st.sampled_from(["plain", "gz", "zst", "pieces", "twice"]),
)
def test_the_alerts_do_not_depend_on_how_the_records_come(
    tmp_path_factory: pytest.TempPathFactory,
    counting: RuleSet,
    seed: int,
    number: int,
    batch: int,
    form: str,
) -> None:
    """Batch size, compression, pieces of one log, copies: the same alert set, byte for byte."""
    lines = records(random.Random(seed), number)
    folder = tmp_path_factory.mktemp("logs")
    (folder / "a").mkdir()
    (folder / "a" / "conn.log").write_bytes(as_log(lines))
    before, first = replayed([folder / "a"], folder / "one", counting)

    other = folder / "b"
    other.mkdir()
    if form == "gz":
        (other / "renamed.gz").write_bytes(gzip.compress(as_log(lines)))
    elif form == "zst":
        (other / "conn.log.zst").write_bytes(zstandard.compress(as_log(lines)))
    elif form == "pieces":
        cut = number // 2
        for name, piece, hour in (("1", lines[:cut], "00"), ("2", lines[cut:], "01")):
            content = as_log(piece).replace(
                b"2018-01-30-18-14-02", f"2018-01-30-{hour}-00-00".encode()
            )
            closed = f"#close\t2018-01-30-{hour}-59-00\n".encode()
            (other / f"conn.{name}.log").write_bytes(content + closed)
    else:
        (other / "conn.log").write_bytes(as_log(lines))
        if form == "twice":
            (other / "copy.log").write_bytes(as_log(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            pipeline,
            "_gathered",
            lambda frames: (part for frame in frames for part in frame.iter_slices(batch)),
        )
        after, second = replayed([other], folder / "two", counting)
    assert after.digest == before.digest == digest(first) == digest(second)
    assert sorted(map(_without_place, first)) == sorted(map(_without_place, second))
    with StoreReader(folder / "one") as one, StoreReader(folder / "two") as two:
        assert digest(one.alerts()) == digest(two.alerts()) == before.digest
        assert sorted(map(_without_place, one.alerts())) == sorted(map(_without_place, first))
    assert after.summary()["duplicates"] == (number if form == "twice" else 0)


def _without_place(document: dict[str, Any]) -> str:
    """A document as text, without where its evidence was read."""
    copy = json.loads(json.dumps(document))
    for event in copy["connwatch"]["evidence"]:
        for name in ("log.file.path", "log.offset", "event.sequence"):
            event.pop(name)
    return json.dumps(copy, sort_keys=True)


def test_a_plain_loop_finds_the_same_alerts(tmp_path: Path, rules: RuleSet) -> None:
    lines = records(random.Random(7), 400)
    (tmp_path / "conn.log").write_bytes(as_log(lines))
    _, alerts = replayed([tmp_path / "conn.log"], tmp_path / "store", rules)
    clock, sessions = 0.0, {}
    done = []
    for line in lines:
        fields = line.split("\t")
        clock = max(clock, float(fields[0]) + float(fields[8]))
        hits = []
        if fields[5] in ("80", "4444"):
            hits.append(("Port", (fields[2], fields[4]), 600))
        if fields[11] == "REJ":
            hits.append(("Rejected", (fields[2],), 60))
        for title, group, period in hits:
            last = sessions.get((title, group))
            if last is not None and clock - last[1] <= period:
                last[1], last[2] = clock, last[2] + 1
            else:
                sessions[title, group] = [title, clock, 1]
                done.append(sessions[title, group])
    found = sorted((a["rule"]["name"], a["connwatch"]["count"]) for a in alerts)
    assert found == sorted((title, count) for title, _, count in done)


def test_a_second_replay_changes_nothing(tmp_path: Path, rules: RuleSet) -> None:
    lines = records(random.Random(3), 300)
    (tmp_path / "conn.log").write_bytes(as_log(lines))
    first, alerts = replayed([tmp_path / "conn.log"], tmp_path / "store", rules)
    with StoreReader(tmp_path / "store") as reader:
        before = (reader.info(), reader.alerts())
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.gz").write_bytes(gzip.compress(as_log(lines[50:250])))
    for paths in ([tmp_path / "conn.log"], [tmp_path / "other"]):
        again, found = replayed(paths, tmp_path / "store", rules)
        assert again.summary()["stored"] == 0
    assert (first.summary()["stored"], first.digest) == (300, digest(alerts))
    with StoreReader(tmp_path / "store") as reader:
        assert (reader.info(), reader.alerts()) == before
    assert found


def test_all_events_behind_an_alert_are_kept(tmp_path: Path, rules: RuleSet) -> None:
    lines = [row(ts=f"{DAY + n}.0", uid=f"C{n}", **{"id.resp_p": "4444"}) for n in range(50)]
    (tmp_path / "conn.log").write_bytes(as_log(lines))
    _, (alert,) = replayed([tmp_path / "conn.log"], tmp_path / "store", rules)
    evidence = [event["zeek.session_id"] for event in alert["connwatch"]["evidence"]]
    assert evidence == [f"C{n}" for n in [*range(5), *range(45, 50)]]
    with StoreReader(tmp_path / "store") as reader:
        behind = reader.alert_events(alert["event"]["id"]).collect()
    assert behind["zeek.session_id"].to_list() == [f"C{n}" for n in range(50)]


def test_the_books_balance_with_everything_at_once(tmp_path: Path, rules: RuleSet) -> None:
    lines = records(random.Random(5), 60)
    broken = [row(**{"id.resp_p": "99999"}), "half\n", "\n", "# note\n"]
    (tmp_path / "conn.log").write_bytes(as_log([*lines, *broken, *lines[:5]]))
    options = Options(
        start=pipeline.datetime.fromtimestamp(
            DAY + 3600, pipeline.datetime.now().astimezone().tzinfo
        )
    )
    outcome, _ = replayed([tmp_path / "conn.log"], tmp_path / "store", rules, options)
    counts = outcome.summary()
    late = sum(float(line.split("\t")[0]) >= DAY + 3600 for line in lines)
    repeated = sum(float(line.split("\t")[0]) >= DAY + 3600 for line in lines[:5])
    assert counts["lines"] == counts["record_lines"] + counts["rejects"] + counts["comments"] == 76
    assert (counts["records"], counts["rejects"], counts["comments"]) == (65, 2, 9)
    assert (counts["events"], counts["duplicates"]) == (late, repeated)
    assert counts["out_of_range"] == 65 - late - repeated
    with StoreReader(tmp_path / "store") as reader:
        assert reader.rejects().height == 2


def test_an_error_while_reading_reaches_the_caller(
    tmp_path: Path, rules: RuleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> Any:
        yield from merged(*args)
        raise RuntimeError("in the reading thread")

    monkeypatch.setattr(pipeline, "merged", broken)
    (tmp_path / "conn.log").write_bytes(as_log(records(random.Random(1), 10)))
    with pytest.raises(RuntimeError, match="in the reading thread"):
        replayed([tmp_path / "conn.log"], tmp_path / "store", rules)


def test_a_replay_that_is_killed_is_completed_by_the_next(tmp_path: Path, rules: RuleSet) -> None:
    chance = random.Random(11)
    lines = records(chance, 6000)
    folder = tmp_path / "logs"
    folder.mkdir()
    for hour in range(12):
        content = as_log(lines[hour * 500 : (hour + 1) * 500])
        (folder / f"conn-{hour:02d}.log").write_bytes(
            content.replace(b"18-14-02", f"{hour:02d}-00-00".encode())
        )
    script = (
        "import sys\nfrom pathlib import Path\nfrom connwatch import pipeline\n"
        "pipeline._BATCH = 200\nfrom support import replayed\nfrom connwatch.detectors.ruleset import load_rules\n"
        "print('begin', flush=True)\n"
        f"replayed([Path({str(folder)!r})], Path({str(tmp_path / 'store')!r}), load_rules([Path(sys.argv[1])]))"
    )
    where = Path(rules.rules[0].where.rsplit(":", 1)[0]).parent
    for _ in range(6):
        run = subprocess.Popen(
            [sys.executable, "-c", script, str(where)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent,
        )
        assert run.stdout is not None
        run.stdout.readline()
        time.sleep(chance.uniform(0.05, 0.6))
        run.send_signal(signal.SIGKILL)
        run.stdout.close()
        run.wait()
    outcome, alerts = replayed([folder], tmp_path / "store", rules)
    fresh, _ = replayed([folder], tmp_path / "fresh", rules)
    assert outcome.digest == fresh.digest == digest(alerts)
    with StoreReader(tmp_path / "store") as one, StoreReader(tmp_path / "fresh") as other:
        assert one.verify() == []
        assert digest(one.alerts()) == digest(other.alerts()) == fresh.digest
        mine, theirs = one.info(), other.info()
        assert {name: mine[name] for name in ("events", "alerts", "hits")} == {
            name: theirs[name] for name in ("events", "alerts", "hits")
        }


@settings(max_examples=examples(15))
@given(st.integers(0, 10**6), st.integers(2, 100), st.integers(1, 99))
def test_the_beginning_and_then_the_whole_is_the_whole(
    tmp_path_factory: pytest.TempPathFactory, counting: RuleSet, seed: int, number: int, cut: int
) -> None:
    """What a shorter log had found is joined with what the whole one finds, windows too."""
    lines = sorted(
        records(random.Random(seed), number),
        key=lambda line: float(line.split("\t")[0]) + float(line.split("\t")[8]),
    )
    folder = tmp_path_factory.mktemp("logs")
    for name, some in (("part", lines[: number * cut // 100]), ("whole", lines)):
        (folder / name).mkdir()
        (folder / name / "conn.log").write_bytes(as_log(some))
    whole, _ = replayed([folder / "whole"], folder / "one", counting)
    if number * cut // 100:
        replayed([folder / "part"], folder / "two", counting)
    replayed([folder / "whole"], folder / "two", counting)
    with StoreReader(folder / "two") as reader:
        assert digest(reader.alerts()) == whole.digest
        for alert in reader.alerts():
            listed = reader.alert_events(alert["event"]["id"]).collect().height
            assert listed == alert["connwatch"]["count"]
