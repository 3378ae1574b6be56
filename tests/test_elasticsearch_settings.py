"""Where addresses and secrets come from, and what is refused before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from hypothesis import given
from hypothesis import strategies as st

from connwatch.addresses import base_address, is_loopback
from connwatch.cli import run
from connwatch.errors import ConfigError
from connwatch.sinks.elasticsearch import Secret, read_settings

HIDDEN = "pass-word-1"
NODE = {"nodes": ["https://es1:9200"]}
PASSWORD = {"CONNWATCH_ES_USERNAME": "ann", "CONNWATCH_ES_PASSWORD": HIDDEN}
KEY = {"CONNWATCH_ES_API_KEY": HIDDEN}

ADDRESSES = {
    "https://es1": "https://es1:443",
    "http://ES1": "http://es1:9200",
    "https://[2001:db8::1]:9243/": "https://[2001:db8::1]:9243",
    "http://127.0.0.1:1/es/behind/": "http://127.0.0.1:1/es/behind",
}
NO_ADDRESSES = (
    "", "es1:9200", "es1", "ftp://es1", "http://", "https://es1:99999", "https://es1:0",
    "https://es1:x", "http://[::1", "https://es 1", "https://es1?pretty", "https://es1#x",
    "https://es1\n", "https://müller", f"https://ann:{HIDDEN}@es1", f"https://{HIDDEN}@es1",
)  # fmt: skip


@pytest.mark.parametrize(("text", "address"), ADDRESSES.items())
def test_an_address(text: str, address: str) -> None:
    assert base_address(text) == address
    assert base_address(address) == address


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError) as told:
        base_address(text)
    assert told.value.hint
    assert HIDDEN not in str(told.value)


@given(
    st.text(max_size=40) | st.text(st.sampled_from("htps:/[]@.0a?#%\\ ")).map("https://".__add__)
)
def test_whatever_is_written_is_an_address_or_refused(text: str) -> None:
    try:
        address = base_address(text)
    except ConfigError:
        return
    assert base_address(address) == address
    assert "@" not in address


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_what_stays_on_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["es1", "10.0.0.1", "localhost.example", "0.0.0.0", "::"])
def test_what_leaves_this_machine(host: str) -> None:
    assert not is_loopback(host)


FAULTS: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "no server": ({}, {}, "elasticsearch.nodes: no server is named"),
    "nodes and cloud": (NODE | {"cloud_id": "a:b"}, {}, "both nodes and cloud_id"),
    "no cloud id": ({"cloud_id": "nonsense"}, {}, "elasticsearch.cloud_id: is not a cloud id"),
    "two ways": (NODE, PASSWORD | KEY, "CONNWATCH_ES_PASSWORD and CONNWATCH_ES_API_KEY"),
    "no name": (NODE, {"CONNWATCH_ES_PASSWORD": HIDDEN}, "there is a password, and no name"),
    "no password": (NODE | {"username": "ann"}, {}, "the name 'ann', and no password"),
    "a colon": (NODE, PASSWORD | {"CONNWATCH_ES_USERNAME": "a:b"}, "cannot hold ':'"),
    "two lines": (NODE, {"CONNWATCH_ES_API_KEY": f"{HIDDEN}\n{HIDDEN}"}, "more than one line"),
    "no file": (NODE | {"password_file": Path("/no/file")}, {}, "/no/file: cannot be read: No such"),
    "no ca": (NODE | {"ca": Path("/no/ca")}, {}, "elasticsearch.ca: /no/ca cannot be read"),
    "key alone": (NODE | {"client_key": Path("/k")}, {}, "elasticsearch.client_key: has no cert"),
    "no fingerprint": (NODE | {"fingerprint": "12:34"}, {}, "is not a SHA-256 fingerprint"),
    "in the clear": ({"nodes": ["http://es1"]}, PASSWORD, "would be sent in the clear"),
    "key in the clear": ({"nodes": ["https://es1", "http://es2"]}, KEY, "http://es2:9200: a password"),
    "through a proxy": (
        {"nodes": ["http://127.0.0.1"], "proxy": "http://proxy"}, KEY, "sent in the clear",
    ),
    "another is allowed": (
        {"nodes": ["http://es1"], "allow_plain_http_to": ["es2"]}, KEY, "allow_plain_http_to: [es1]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_refused(name: str) -> None:
    keys, environment, told = FAULTS[name]
    with pytest.raises(ConfigError) as error:
        read_settings(environment=environment, **keys)
    assert told in str(error.value)
    assert HIDDEN not in str(error.value)


CLEAR: list[dict[str, Any]] = [
    {"nodes": ["http://127.0.0.1", "http://[::1]:9201", "http://localhost"]},
    {"nodes": ["http://ES1"], "allow_plain_http_to": ["ES1"]},
    {"nodes": ["https://es1"]},
]


@pytest.mark.parametrize("keys", CLEAR)
def test_what_is_allowed(keys: dict[str, Any]) -> None:
    assert read_settings(environment=KEY, **keys).api_key == Secret(HIDDEN)


def test_a_cloud_id_is_an_address() -> None:
    cloud = "lab:ZXhhbXBsZS5jb20kYWJjJGRlZg=="  # example.com$abc$def
    assert read_settings(cloud_id=cloud, environment={}).nodes == ("https://abc.example.com:443",)


@pytest.mark.parametrize(
    ("mode", "warnings"), [(0o600, 0), (0o640, 0), (0o644, 1)], ids=["own", "group", "everyone"]
)
def test_a_secret_in_a_file(mode: int, warnings: int, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{HIDDEN}\n")
    file.chmod(mode)
    made = read_settings(**NODE, username="ann", password_file=file, environment={})
    assert (made.username, made.password) == ("ann", Secret(HIDDEN))
    assert len(made.warnings) == warnings
    told = {"CONNWATCH_ES_PASSWORD": "another", "CONNWATCH_ES_USERNAME": "bob"}
    made = read_settings(**NODE, username="ann", password_file=file, environment=told)
    assert (made.username, made.password) == ("bob", Secret("another"))


@pytest.mark.parametrize(
    ("data", "told"),
    [(b"", "is empty"), (b"a\nb", "more than one line"), (b"\xff", "holds no text")],
)
def test_a_file_that_holds_no_secret(data: bytes, told: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(data)
    with pytest.raises(ConfigError, match=told) as error:
        read_settings(**NODE, api_key_file=file, environment={})
    assert str(file) in str(error.value)


def test_the_authority_of_the_environment_wins(tmp_path: Path) -> None:
    ca = Authority(tmp_path).ca
    told = {"CONNWATCH_ES_CA": str(ca)}
    assert read_settings(**NODE, ca=Path("/no/ca"), environment=told).ca == ca


def test_files_that_are_no_certificates(tmp_path: Path) -> None:
    from connwatch.sinks.elasticsearch import connect

    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    for keys in ({"ca": junk}, {"client_certificate": junk}):
        with pytest.raises(ConfigError, match=r"junk\.pem"):
            connect(read_settings(**NODE, **keys, environment={}))
    ca = Authority(tmp_path).ca
    with pytest.raises(ConfigError, match="both ca and fingerprint"):
        read_settings(**NODE, ca=ca, fingerprint="0" * 64, environment={})


CONFIGURED = {
    "in nodes": ("elasticsearch: {{nodes: ['https://ann:{0}@es1']}}", "may not hold a name"),
    "as a value": ("elasticsearch: {{nodes: 'https://ann:{0}@es1'}}", "not a list"),
    "as a key": ("elasticsearch: {{password: '{0}'}}", "unknown key 'password'"),
    "in the proxy": ("elasticsearch: {{proxy: 'http://ann:{0}@es1'}}", "may not hold a name"),
    "prefix": ("elasticsearch: {{prefix: _x}}", "cannot begin the name of an index"),
    "in the clear": ("elasticsearch: {{nodes: ['http://es1']}}", "sent in the clear"),
}


@pytest.mark.parametrize("name", CONFIGURED)
def test_config_check_tells_it_without_the_secret(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONNWATCH_ES_API_KEY", HIDDEN)
    text, told = CONFIGURED[name]
    file = tmp_path / "c.yml"
    file.write_text(f"{text.format(HIDDEN)}\nstore: s\nsources: [{{path: a}}]\n")
    assert run(["config", "check", "-c", str(file)]) == 2
    said = "".join(capsys.readouterr())
    assert told in said
    assert HIDDEN not in said
