"""The servers of one test session: which are needed, started together, stopped without fail."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pytest
from certificates import Authority
from elastic import RELEASES, Elastic, MissingError, Node, artifact, ask, java, password_line

ROOT = Path(__file__).resolve().parent.parent
#: a server of one's own
OWN: Final = os.environ.get("CONNWATCH_TEST_ES")
VERSIONS: Final = ("own",) if OWN else tuple(RELEASES)
SECURED: Final = tuple(RELEASES)
PASSWORDS: Final = {
    "admin": "admin-secret-1",
    "connwatch": "connwatch-secret-2",
    "reader": "reader-secret-3",
    "nobody": "nobody-secret-4",
}


def _roles() -> dict[str, Any]:
    """Role by user: the one of deploy/ for the prefixes of tests, and lesser ones."""
    text = (ROOT / "deploy" / "elasticsearch" / "role.json").read_text(encoding="utf-8")
    return {
        "connwatch": json.loads(text.replace('"connwatch-', '"test-*-')),
        "reader": {"cluster": ["monitor"], "indices": [{"names": ["test-*"], "privileges": ["read"]}]},
        "nobody": {"cluster": [], "indices": []},
    }  # fmt: skip


def secured_node(version: str, folder: Path) -> Node:
    """A server with TLS, and users with passwords and roles."""
    made = folder / f"certificates-{version}"
    made.mkdir()
    authority = Authority(made)
    certificate, key = authority.issue("server", "127.0.0.1", "localhost")
    roles = _roles()
    return Node(
        version,
        folder,
        name=f"secured-{version}",
        settings={
            "xpack.security.enabled": "true",
            "xpack.security.http.ssl.enabled": "true",
            "xpack.security.http.ssl.certificate": "server.pem",
            "xpack.security.http.ssl.key": "server.key",
        },
        files={
            "server.pem": certificate.read_text(),
            "server.key": key.read_text(),
            "roles.yml": "".join(f"{name}: {json.dumps(role)}\n" for name, role in roles.items()),
            "users": "".join(password_line(*user) for user in PASSWORDS.items()),
            "users_roles": "superuser:admin\n" + "".join(f"{name}:{name}\n" for name in roles),
        },
        ca=authority.ca,
    )


class Servers:
    """Starts servers when the first is asked for: that one and all that are wanted, in parallel.

    wanted: versions, with "secured " before those that have security on.
    """

    def __init__(self, wanted: Iterable[str]) -> None:
        self.wanted = set(wanted)
        self.nodes: dict[str, Node] = {}
        self._folder: Path | None = None
        self._ready: set[str] = set()

    @property
    def folder(self) -> Path:
        """Where unprivileged users may read."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="connwatch-elastic-"))
            self._folder.chmod(0o755)
        return self._folder

    def get(self, which: str = "9.5") -> Elastic:
        """A running server, with a prefix that nobody else has."""
        prefix = f"test-{secrets.token_hex(4)}"
        if OWN and "secured" not in which:
            status, told = ask(OWN, "GET", "/_nodes/_local/_none?filter_path=nodes.*.version")
            assert status == 200, f"CONNWATCH_TEST_ES={OWN}: {status} {told}"
            (node,) = told["nodes"].values()
            return Elastic(OWN, node["version"], prefix)
        if which not in self.nodes:
            self._start({which, *self.wanted} - set(self.nodes))
        node = self.nodes[which]
        if which not in self._ready:
            node.wait()
            self._ready.add(which)
        users = PASSWORDS if node.ca else {}
        return Elastic(node.url, RELEASES[node.version], prefix, node.ca, users, node)

    def _start(self, names: set[str]) -> None:
        versions = {name.removeprefix("secured ") for name in names}
        try:
            for version in versions:
                java(version)
                artifact(version)
        except MissingError as error:
            lacking(str(error))
        for name in sorted(names):
            version = name.removeprefix("secured ")
            secured = version != name
            node = (
                secured_node(version, self.folder)
                if secured
                else Node(version, self.folder, name=f"plain-{version}")
            )
            node.start()
            self.nodes[name] = node

    def stop(self) -> None:
        for node in self.nodes.values():
            node.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def lacking(what: str) -> None:
    """Skip, or fail where everything has to be there."""
    told = f"NO ELASTICSEARCH: nothing is tested with a real server: {what}"
    if os.environ.get("CONNWATCH_CI"):
        pytest.fail(told)
    pytest.skip(told)


def wanted(items: Iterable[pytest.Item]) -> set[str]:
    """Which servers the parametrised fixtures of these tests will ask for."""
    found = set()
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if "elasticsearch" in params and not OWN:
            found.add(params["elasticsearch"])
        if "secured" in params:
            found.add(f"secured {params['secured']}")
    return found
