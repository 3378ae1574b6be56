"""What `config show` prints is a configuration of the same meaning, for every configuration."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from zoneinfo import available_timezones

from examples import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connwatch.config import (
    BUNDLED,
    Config,
    Elasticsearch,
    Http,
    Limits,
    Log,
    Retention,
    SourceConfig,
    parse,
    plain,
    to_yaml,
)
from connwatch.errors import ConfigError, ConfigFaultsError
from connwatch.render import safe_lines

FORMATS = ("zeek-tsv", "zeek-json")
FILE = Path("/etc/connwatch/c.yml")

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
#: with what means something in a path, a pattern, or YAML
words = st.lists(
    st.one_of(
        texts.filter(lambda text: "\0" not in text),
        st.sampled_from(
            ["${HOME}", "$$", "${", "$${x}", "}", "~", "*", "[a]", "/", "..", " ", "null"]
        ),
    ),
    max_size=4,
).map("".join)
paths = words.map(lambda text: Path("/" + text))
patterns = paths.map(str)
networks = st.lists(st.ip_addresses().map(lambda ip: f"{ip}/{ip.max_prefixlen}"), max_size=3)
zones = st.none() | st.sampled_from(sorted(available_timezones()))


def tuples(values: st.SearchStrategy[object], most: int = 3) -> st.SearchStrategy[object]:
    return st.lists(values, max_size=most).map(tuple)


def seconds(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(least, most) | st.integers(int(least) + 1, int(most)).map(float)


def days() -> st.SearchStrategy[timedelta | None]:
    spans = st.integers(86_400, 36_500 * 86_400).map(lambda n: timedelta(seconds=n))
    return st.none() | spans | st.integers(1, 36_500).map(lambda n: timedelta(days=n))


sources = st.builds(
    SourceConfig,
    path=st.just("-") | patterns,
    format=st.none() | st.sampled_from(FORMATS),
    sensor=texts,
    labels=st.dictionaries(
        st.from_regex(r"[A-Za-z0-9_-]{1,100}", fullmatch=True), texts, max_size=3
    ),
    timezone=zones,
    home_networks=st.none()
    | tuples(networks).map(lambda lists: tuple(n for one in lists for n in one)),
    start=st.sampled_from(["beginning", "end"]),
    exclude=tuples(patterns | words.map(lambda text: text.replace("/", "")).filter(bool)),
    archives=tuples(patterns),
)
files = st.none() | paths
elastic = st.builds(
    Elasticsearch,
    nodes=tuples(st.sampled_from(["https://es1:443", "http://[::1]:9200", "https://h:1/a/b"])),
    cloud_id=st.none() | texts,
    prefix=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True),
    username=st.none() | texts,
    password_file=files,
    api_key_file=files,
    bearer_token_file=files,
    ca=files,
    fingerprint=st.none() | texts,
    client_certificate=files,
    client_key=files,
    proxy=st.none() | st.just("http://proxy:8080"),
    timeout=seconds(0.1, 3600),
    allow_plain_http_to=tuples(texts),
    routing=st.sampled_from(["day", "month"]),
    shards=st.integers(1, 1024),
    replicas=st.integers(0, 100),
)
configs = st.builds(
    Config,
    elasticsearch=elastic,
    store=paths,
    rules=tuples(st.just(BUNDLED) | paths),
    sources=st.lists(sources, min_size=1, max_size=3, unique_by=lambda one: one.path).map(tuple),
    indicators=tuples(paths),
    allow=tuples(paths),
    home_networks=st.none() | networks.map(tuple),
    timezone=zones,
    idle_limit=seconds(0.1, 86_400),
    batch=st.integers(1, 10_000_000),
    watch=st.sampled_from(["auto", "inotify", "polling"]),
    poll_interval=seconds(0.01, 3600),
    settle=seconds(0, 3600),
    limits=st.builds(Limits, st.integers(1_000, 100_000_000), st.integers(100, 10_000_000)),
    retention=st.builds(Retention, days(), days(), st.none() | st.integers(10**6, 2**60)),
    http=st.builds(
        Http,
        st.none() | st.integers(1, 65_535),
        st.ip_addresses().map(str),
        seconds(0.1, 604_800),
        st.integers(0, 1_000_000),
    ),
    log=st.builds(
        Log,
        st.sampled_from(["text", "json"]),
        st.sampled_from(["debug", "info", "warning", "error"]),
    ),
)


@settings(max_examples=examples(50))
@given(configs)
@example(Config(sources=(SourceConfig("/not-utf-8-\udcff"),), store=Path("/\udcff")))
@example(Config(sources=(SourceConfig("/\x1b[31m\u202e"),), settle=1e-300))
def test_what_is_shown_loads_to_the_same(config: Config) -> None:
    text = to_yaml(config)
    again = parse(text, FILE, formats=FORMATS)
    assert again == config
    assert to_yaml(again) == text
    assert safe_lines(text) == text
    assert json.loads(json.dumps(plain(config))) == plain(config)


@given(st.text(max_size=200) | st.lists(st.sampled_from([
    "sources:", "  - path: a", "- ", "store: ", "log:", "  level: ", "[", "]", "{", "}", "&a", "*a",
    "!!int", "<<:", "? ", "'", '"', "\n", "\t", "  ", "null", "5d", ":", "#", "---",
])).map("\n".join))  # fmt: skip
def test_whatever_a_file_holds_it_is_a_configuration_or_told(text: str) -> None:
    try:
        parse(text, FILE, formats=FORMATS)
    except ConfigFaultsError as told:
        faults = list(told.faults)
    except ConfigError as told:
        faults = [told]
    else:
        return
    assert all(str(fault.where).startswith("/etc/connwatch/c.yml") for fault in faults)
