"""The `analytic:` block: what it counts, what is wrong with one, and the scans of real captures."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import replayed
from test_correlations import LOGSOURCE, alerts, event

from connwatch.detectors.analytics import ANALYTICS, markdown
from connwatch.detectors.ruleset import RuleSet, load_rules
from connwatch.pipeline import bundled_rules
from connwatch.schema import BY_NAME, STORED

ROOT = Path(__file__).parents[1]


def load(folder: Path, analytic: str, *, more: str = "") -> RuleSet:
    (folder / "rule.yml").write_text(
        f"title: Counted\n{more}{LOGSOURCE}analytic: {{{analytic}}}\n", encoding="utf-8"
    )
    return load_rules([folder])


def test_what_is_counted_has_columns() -> None:
    for kind in ANALYTICS.values():
        for count in kind.counts.values():
            assert {*count.group, *count.fields} <= STORED.keys()
            if count.measure == "value_sum":
                assert BY_NAME[count.fields[0]].dtype.is_integer()
            assert set(kind.by) <= set(count.group) or kind.type in ("flood", "brute_force")


SERIES = [event(t, "10.0.0.1", 20 + t % 4) for t in range(8)]
COUNTS = [
    ("ports", "type: scan, any-of: [{ports: 4, within: 1m}]", {"source.ip": "10.0.0.1"}, 4, "value_count"),
    ("hosts", "type: scan, any-of: [{hosts: 1, within: 1m}]", {"source.ip": "10.0.0.1"}, 1, "value_count"),
    ("targets", "type: scan, any-of: [{targets: 4, within: 1m}]", {"source.ip": "10.0.0.1"}, 4, "value_count"),
    ("connections", "type: flood, by: source.ip, any-of: [{connections: 2, within: 1m}]", {"source.ip": "10.0.0.1"}, 2, "event_count"),
    ("arrivals", "type: flood, any-of: [{arrivals: 2, within: 1m}]", {"destination.ip": "192.0.2.1"}, 2, "event_count"),
    ("attempts", "type: brute_force, any-of: [{attempts: 2, within: 1m}]", {"source.ip": "10.0.0.1"}, 2, "event_count"),
    ("total", "type: duration, any-of: [{total: 16s, within: 1h}]", {"source.ip": "10.0.0.1", "destination.ip": "192.0.2.1"}, 16 * 10**9, "value_sum"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "analytic", "group", "peak", "measure"), COUNTS, ids=[c[0] for c in COUNTS])  # fmt: skip
def test_counts(
    tmp_path: Path, name: str, analytic: str, group: dict[str, str], peak: int, measure: str
) -> None:
    series = [{**one, "event.duration": 2 * 10**9} for one in SERIES]
    (found,) = alerts(load(tmp_path, analytic), series)
    values = found["connwatch"]["values"]
    assert (values["window"], values["measure"], values["peak"]) == (name, measure, peak)
    assert values["actor"] == "source"
    assert found["connwatch"]["group"] == group


def test_a_detection_lets_in_what_is_counted(tmp_path: Path) -> None:
    more = "detection: {s: {destination.port: [20, 21]}, condition: s}\n"
    rules = load(tmp_path, "type: scan, any-of: [{ports: 2, within: 1m}]", more=more)
    (found,) = alerts(rules, SERIES)
    assert found["connwatch"]["values"]["counted"] == ["20", "21"]
    assert not alerts(
        load(tmp_path, "type: scan, any-of: [{ports: 3, within: 1m}]", more=more), SERIES
    )


def test_the_threshold_that_fires_first_is_named(tmp_path: Path) -> None:
    analytic = "type: scan, any-of: [{targets: 4, within: 1h, name: slow}, {ports: 2, within: 2s, name: fast}]"
    (found,) = alerts(load(tmp_path, analytic), SERIES)
    assert found["connwatch"]["values"]["window"] == "fast"
    assert found["connwatch"]["count"] == 8


WRONG = [
    ("no such type", "type: scam, any-of: [{ports: 4, within: 1m}]", "no analytic of the type 'scam'", "scan"),
    ("an unknown key", "type: scan, anyof: []", "unknown key 'anyof'", "any-of"),
    ("no thresholds", "type: scan", "any-of is a list of thresholds", "ports"),
    ("an unknown count", "type: scan, any-of: [{portz: 4, within: 1m}]", "a threshold of a scan is one of ports, hosts", None),
    ("two counts", "type: scan, any-of: [{ports: 4, hosts: 3, within: 1m}]", "is one of", None),
    ("no window", "type: scan, any-of: [{ports: 4}]", "and within", None),
    ("no span", "type: scan, any-of: [{ports: 4, within: soon}]", "within: 'soon' is not a period", None),
    ("no number", "type: scan, any-of: [{ports: many, within: 1m}]", "ports: 'many' is no number", None),
    ("zero", "type: scan, any-of: [{ports: 0, within: 1m}]", "is no number of one or more", None),
    ("a group that is not counted", "type: flood, by: source.ip, any-of: [{sources: 4, within: 1m}]", "which source.ip is not of", None),
    ("a group that is no field", "type: scan, by: source.pi, any-of: [{ports: 4, within: 1m}]", "no record here has the field", "source.ip"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("analytic", "said", "hint"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG]
)
def test_what_is_wrong_is_named(tmp_path: Path, analytic: str, said: str, hint: str | None) -> None:
    rules = load(tmp_path, analytic)
    (error,) = rules.errors
    assert said in error.message
    assert hint is None or hint in (error.hint or "")
    assert str(error.where).startswith(f"{tmp_path / 'rule.yml'}:")


def test_group_by_is_said_in_the_analytic(tmp_path: Path) -> None:
    rules = load(
        tmp_path, "type: scan, any-of: [{ports: 4, within: 1m}]", more="group-by: [source.ip]\n"
    )
    assert "group-by has no meaning beside an analytic" in rules.errors[0].message


# -- scans as others saw them -----------------------------------------------------------------


@pytest.fixture(scope="module")
def to_conn() -> ModuleType:
    """The script that makes the samples' connections from packets."""
    path = ROOT / "sample_logs" / "packets_to_conn.py"
    spec = importlib.util.spec_from_file_location("packets_to_conn", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["packets_to_conn"] = module
    spec.loader.exec_module(module)
    return module


#: capture; rule, source and what was counted, that must be found; what Zeek said where it is known
CAPTURES: list[tuple[str, list[tuple[str, str, int]], str | None]] = [
    ("esnet_masscan_tcp_0_1000", [("Port scan of one host", "172.31.15.102", 1000)], None),
    (
        "ncsa_445_scan",
        [("Slow sweep of services for administration", "176.192.150.3", 9)],
        "176.192.150.3\t445\tScan::Address_Scan",
    ),
    (
        "ncsa_port_scan",
        [("A few failed attempts in seconds", "192.168.2.154", 10)],
        "192.168.2.154\t-\tScan::Port_Scan",
    ),
    ("esnet_nmap_80_vanilla", [], None),
]


@pytest.mark.parametrize(("capture", "wanted", "notice"), CAPTURES, ids=[c[0] for c in CAPTURES])
def test_captured_scans_are_found(
    data: Path,
    tmp_path: Path,
    to_conn: Any,
    capture: str,
    wanted: list[tuple[str, str, int]],
    notice: str | None,
) -> None:
    folder = data / "attacks" / capture
    packets = next(folder.glob("capture.pcap*"))
    to_conn.write_logs(to_conn.flows(to_conn.packets(packets)), tmp_path)
    rules = load_rules([bundled_rules() / "scan"])
    _, found = replayed([tmp_path / "conn.log"], tmp_path / "store", rules)
    said = {
        (a["rule"]["name"], a["connwatch"]["group"]["source.ip"], a["connwatch"]["values"]["peak"])
        for a in found
    }
    assert said >= set(wanted)
    assert bool(said) == bool(wanted)
    if notice:
        assert notice in (folder / "expected_zeek_notice.log").read_text(encoding="utf-8")


def test_a_vertical_scan_of_a_zeek_log_is_found(data: Path, tmp_path: Path) -> None:
    log = data / "zeek" / "slips" / "port-scans" / "vertical" / "conn.log"
    rules = load_rules([bundled_rules() / "scan"])
    _, found = replayed([log], tmp_path / "store", rules)
    (scan,) = (a for a in found if a["rule"]["name"] == "Port scan of one host")
    assert scan["source"]["ip"] == "192.168.1.9"
    assert scan["destination"]["ip"] == "45.33.32.156"
    assert scan["connwatch"]["values"]["peak"] == 44


def test_the_page_lists_the_types_as_they_are() -> None:
    page = (ROOT / "docs" / "analytics.md").read_text(encoding="utf-8")
    assert markdown() in page
