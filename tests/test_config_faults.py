"""What is said of configuration files that are wrong: where, what, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_config import FORMATS, SMALLEST, read

from connwatch.config import document as documents
from connwatch.config import load
from connwatch.errors import ConfigError, ConfigFaultsError

SOURCES = "sources: [{path: a.log}]\n"


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return str(caught.value).replace("/etc/connwatch/c.yml", "c.yml").replace("\n  hint: ", " | ")


UNREADABLE = {
    "an empty file": ("", "c.yml: is empty | connwatch config init writes an example"),
    "only comments": (
        "# nothing\n",
        "c.yml: is empty | connwatch config init writes an example",
    ),
    "a list at the top": (
        "- path: a\n",
        "c.yml:1:1: holds a list, not keys with values | connwatch config init writes an example",
    ),
    "a word": (
        "hello\n",
        "c.yml:1:1: holds a single value, not keys with values | connwatch config init writes an example",
    ),
    "a tab": (
        "log:\n\tlevel: info\n",
        "c.yml:2:1: is not YAML: a tab stands where none may | indent with spaces",
    ),
    "a pattern without quotes": (
        "sources: [{path: *.log}]\n",
        "c.yml:1:19: is not YAML: expected alphabetic or numeric character, but found '.' | put a value that begins with * in quotes",
    ),
    "an alias of nothing": (
        "sources: *all\n",
        "c.yml:1:10: is not YAML: found undefined alias 'all' | put a value that begins with * in quotes",
    ),
    "a colon within a value": (
        "store: a: b\n",
        "c.yml:1:9: is not YAML: mapping values are not allowed here | put a value that holds ': ' in quotes, and look at the indentation",
    ),
    "two documents": (
        "store: a\n---\nstore: b\n",
        "c.yml:3:1: holds a second document | a configuration is one document: take out the '---'",
    ),
    "a control character": (
        "store: a\nlog: \x07\n",
        "c.yml:2:6: holds the character U+0007, which YAML does not allow | write it as an escape in double quotes, or leave it out",
    ),
    "brackets without end": ("a: " + "[" * 5_000, "c.yml: is nested too deeply"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_looked_at(case: str) -> None:
    text, message = UNREADABLE[case]
    assert refused(text) == message


#: what stands above `sources: [{path: a.log}]`, and what is said of it
WRONG = {
    "an unknown key like a known one": (
        "sotre: x",
        "c.yml:1:1: unknown key 'sotre' | did you mean 'store'?",
    ),
    "an unknown key that stands elsewhere": (
        "port: 80",
        "c.yml:1:1: unknown key 'port' | port stands under http",
    ),
    "an unknown key in a section": (
        "log:\n  lvel: info",
        "c.yml:2:3: unknown key 'lvel' under log | did you mean 'level'?",
    ),
    "a key of the top in a section": (
        "log: {store: x}",
        "c.yml:1:7: unknown key 'store' under log | store stands at the top, without indentation",
    ),
    "a key like no other": (
        "log: {zzz: x}",
        "c.yml:1:7: unknown key 'zzz' under log | there are format, level",
    ),
    "a key that stands twice": (
        "batch: 5\nbatch: 6",
        "c.yml:2:1: the key 'batch' stands in line 1 already",
    ),
    "a merge key": (
        "<<: {batch: 5}",
        "c.yml:1:1: '<<' is not read here | write out what it stands for",
    ),
    "a key that is a list": ("? [a]\n: b", "c.yml:1:3: a key is a list, not a word"),
    "one value where a list is wanted": (
        "rules: rules/",
        "c.yml:1:8: rules holds a single value, not a list | write [rules/]",
    ),
    "a list where one value is wanted": (
        "store: [a]",
        "c.yml:1:8: store holds a list, not one value",
    ),
    "a list where keys are wanted": (
        "http: [80]",
        "c.yml:1:7: http holds a list, not keys with values",
    ),
    "a value that is missing": (
        "batch:",
        "c.yml:1:7: batch has no value | leave batch out for its default",
    ),
    "a list item that is missing": (
        "rules: [a, null]",
        "c.yml:1:12: rules has no value | put it in quotes if it is this word",
    ),
    "a number in quotes": (
        "batch: '5'",
        "c.yml:1:8: batch: '5' is not a whole number | it is a whole number from 1 to 10,000,000, without quotes",
    ),
    "a number with a point": (
        "batch: 5.5",
        "c.yml:1:8: batch: '5.5' is not a whole number | it is a whole number from 1 to 10,000,000",
    ),
    "an octal number": (
        "batch: 010",
        "c.yml:1:8: batch: '010' is not a whole number | it is a whole number from 1 to 10,000,000",
    ),
    "a port that is none": (
        "http: {port: 99999}",
        "c.yml:1:14: http.port: '99999' is out of range | it is a whole number from 1 to 65,535",
    ),
    "a time below nothing": (
        "idle_limit: -1",
        "c.yml:1:13: idle_limit: '-1' is not a time | it is seconds from 0.1 to 86,400, also as 30s, 2m",
    ),
    "a time without end": (
        "idle_limit: .inf",
        "c.yml:1:13: idle_limit: '.inf' is not a time | it is seconds from 0.1 to 86,400, also as 30s, 2m",
    ),
    "a time that is too long": (
        "poll_interval: 2d",
        "c.yml:1:16: poll_interval: '2d' is out of range | it is seconds from 0.01 to 3,600, also as 30s, 2m",
    ),
    "a retention without a unit": (
        "retention: {events: 30}",
        "c.yml:1:21: retention.events: '30' is not a time | did you mean '30d'?",
    ),
    "a retention of months": (
        "retention: {events: 3 months}",
        "c.yml:1:21: retention.events: '3 months' is not a time | a whole number and one of s, m, h, d, w, such as 30d",
    ),
    "a retention of minutes": (
        "retention: {alerts: 90m}",
        "c.yml:1:21: retention.alerts: '90m' is out of range | from 1d to 36500d",
    ),
    "a size of parsecs": (
        "retention: {max_size: 5 pc}",
        "c.yml:1:23: retention.max_size: '5 pc' is not a size | a whole number and one of B, KB, MB, GB, TB, KiB, MiB, GiB, TiB, such as 50GB",
    ),
    "a size that holds nothing": (
        "retention: {max_size: 500B}",
        "c.yml:1:23: retention.max_size: '500B' is out of range | at least 1KB",
    ),
    "a zone that is none": (
        "timezone: europe/berlin",
        "c.yml:1:11: timezone: unknown time zone 'europe/berlin' | did you mean 'Europe/Berlin'?",
    ),
    "a folder of zones": (
        "timezone: /etc",
        "c.yml:1:11: timezone: unknown time zone '/etc' | such as UTC or Europe/Berlin",
    ),
    "a network that is none": (
        "home_networks: [10.0.0.0/8, 10.0.0.0/33]",
        "c.yml:1:29: home_networks: '10.0.0.0/33' is not a network | write an address or a network such as 192.168.0.0/16 or 2001:db8::/32",
    ),
    "an address that is a name": (
        "http: {address: localhost}",
        "c.yml:1:17: http.address: 'localhost' is not an IP address | 127.0.0.1 for this machine only, 0.0.0.0 for all its networks",
    ),
    "a word that is none of these": (
        "watch: pooling",
        "c.yml:1:8: watch: 'pooling' is not known here | did you mean 'polling'?",
    ),
    "an empty path": (
        "store: ''",
        "c.yml:1:8: store: an empty path | '.' is the folder of this file",
    ),
    "a path with a NUL": (
        'store: "a\\0"',
        "c.yml:1:8: store: holds a character that no path can have",
    ),
    "a variable that is not set": (
        "store: ${NOT_SET}/x",
        "c.yml:1:8: store: the environment variable 'NOT_SET' is not set | set it, or write $${ for these two characters",
    ),
    "a user that is not known": (
        "store: ~nobody-here/x",
        "c.yml:1:8: store: no home folder is known for '~nobody-here'",
    ),
    "a tag": (
        "store: !!python/name:os.system x",
        "c.yml:1:8: store holds the tag 'python/name:os.system', not one value",
    ),
    "a tag on a section": (
        "log: !!set {level}",
        "c.yml:1:6: log holds the tag 'set', not keys with values",
    ),
    "a long value is cut": (
        f"watch: {'x' * 200}",
        f"c.yml:1:8: watch: '{'x' * 80}…' is not known here | there are auto, inotify, polling",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(case: str) -> None:
    text, message = WRONG[case]
    assert refused(f"{text}\n{SOURCES}") == message


WRONG_SOURCES = {
    "none": (
        "batch: 5",
        "c.yml:1:1: sources is missing | add sources: [{path: /var/log/zeek/current/conn.log}]",
    ),
    "null": ("sources:", "c.yml:1:9: sources has no value"),
    "an empty list": ("sources: []", "c.yml:1:10: sources is empty | add - path: …"),
    "a path alone": (
        "sources: [/a/b.log]",
        "c.yml:1:11: sources has a value without a key | write path: /a/b.log",
    ),
    "a command line": (
        "sources: [{command: 'ss -tnap | cat'}]",
        (
            "c.yml:1:21: sources[0].command holds a single value, not a list"
            " | write the program and its arguments as [ss, -tunapoie]; no shell sees them"
        ),
    ),
    "no dash": (
        "sources:\n  path: a",
        "c.yml:2:3: sources holds keys with values, not a list | begin each with '- '",
    ),
    "no path": (
        "sources: [{sensor: x}]",
        "c.yml:1:11: sources[0].path is missing | add path: /var/log/zeek/current/conn.log",
    ),
    "the same path twice": (
        "sources:\n  - path: a\n  - path: ./a",
        "c.yml:3:5: sources[1].path: '/etc/connwatch/a' stands in line 2 already",
    ),
    "a format that is not known": (
        "sources: [{path: a, format: zeektsv}]",
        (
            "c.yml:1:29: sources[0].format: 'zeektsv' is no format that can be followed"
            " | did you mean 'zeek-tsv'?"
        ),
    ),
    "a path and a command": (
        "sources: [{path: a, command: [ss]}]",
        "c.yml:1:11: sources[0] has path and command | one of them is enough",
    ),
    "the same command twice": (
        "sources:\n  - command: [ss, -t]\n  - command: [ss, -t]",
        "c.yml:3:5: sources[1].command: 'ss -t' stands in line 2 already",
    ),
    "a label without a value": (
        "sources: [{path: a, labels: {site: }}]",
        "c.yml:1:35: sources[0].labels.site has no value | '' is an empty text",
    ),
    "a label's name": (
        "sources: [{path: a, labels: {a.b: x}}]",
        "c.yml:1:30: sources[0].labels has the name 'a.b' | a name is up to 100 letters, digits, '_' and '-'",
    ),
    "half a character": (
        'sources: [{path: a, sensor: "\\ud800"}]',
        "c.yml:1:29: sources[0].sensor: holds half a character, which is no text",
    ),
}


@pytest.mark.parametrize("case", WRONG_SOURCES)
def test_what_is_wrong_with_sources_is_said(case: str) -> None:
    text, message = WRONG_SOURCES[case]
    assert refused(text) == message


def test_all_faults_are_told_in_their_order() -> None:
    with pytest.raises(ConfigFaultsError) as caught:
        read("sources: [{path: a, start: middle}]\nbatch: 0\nx: 1\nlog: {level: loud}\n")
    faults = caught.value.faults
    assert [fault.where for fault in faults] == [
        f"/etc/connwatch/c.yml:{at}" for at in ("1:28", "2:8", "3:1", "4:14")
    ]
    assert caught.value.complete
    assert caught.value.exit_code == 2


def test_a_file_of_faults_and_an_alias_bomb_end_soon() -> None:
    with pytest.raises(ConfigFaultsError) as caught:
        read("".join(f"unknown{n}: 1\n" for n in range(5_000)))
    assert len(caught.value.faults) == 100
    assert str(caught.value).endswith("\nthere may be more")
    names = ", ".join(f"n{n}" for n in range(1_000))
    sources = "".join(f"  - {{path: p{n}, exclude: *many}}\n" for n in range(1_000))
    assert "holds more than 200,000 values" in refused(
        f"sources:\n  - path: p\n    exclude: &many [{names}]\n{sources}"
    )
    assert "not one value" in refused(f"rules: &a [*a, *a]\n{SOURCES}")


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.yml"

    def message() -> str:
        with pytest.raises(ConfigError) as caught:
            load(file, formats=FORMATS)
        return str(caught.value).replace(str(file), "c.yml").replace("\n  hint: ", " | ")

    assert message() == (
        "c.yml: cannot be read: no such file or directory | connwatch config init writes an example"
    )
    file.write_bytes(b"store: a\nlog: \xff\n")
    assert message() == "c.yml:2: is not UTF-8 text | save it as UTF-8"
    file.write_bytes(SMALLEST.encode("utf-16"))
    assert message() == "c.yml:1: is not UTF-8 text | save it as UTF-8"
    monkeypatch.setattr(documents, "LARGEST", 10)
    assert message() == "c.yml: is larger than 10 bytes"
    file.unlink()
    file.mkdir()
    assert message() == "c.yml: cannot be read: is a directory"


def test_a_byte_order_mark_is_no_character(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_bytes(SMALLEST.encode("utf-8-sig"))
    assert load(file, formats=FORMATS).store == Path("/var/lib/connwatch")
