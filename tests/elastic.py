"""Real Elasticsearch servers for tests, without containers: found or fetched, started, stopped.

The server is the zip that Elasticsearch publishes for integration tests (Maven), which holds the
core modules only: no `GET /`, ILM, data streams, ES|QL, ingest pipelines or API keys. It runs with
whatever Java is there. Every server lives in a temporary folder, on free ports of the loopback
address, as an unprivileged user, under a guard that outlives the tests by a moment: when the process
that started it is gone, for whatever reason, the guard kills the server and removes the folder.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import pwd
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

#: what is tested, by the name that tests have for it
RELEASES: Final = {"8.19": "8.19.0", "9.5": "9.5.0"}
_LEAST_JAVA: Final = {"8.19": 17, "9.5": 21}
#: a server that is not ready by then has failed; seconds
_PATIENCE: Final = 300.0
#: ready with half the work (9.5: 9 s of a core, 17 without), at the price of speed later
_QUICK: Final = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData"
_REPOSITORY: Final = Path(
    os.environ.get("CONNWATCH_MAVEN_REPOSITORY", "~/.m2/repository")
).expanduser()

#: Starts a server, and kills it when standard input ends: on purpose (after a byte), or because
#: whoever holds the other end is gone, and then the folder goes too.
_GUARD: Final = """
import os, shutil, signal, subprocess, sys, threading
folder, log, *command = sys.argv[1:]
with open(log, "ab") as out:
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
ending = threading.Event()
def watch():
    server.wait()
    if not ending.is_set():
        os._exit(1)
threading.Thread(target=watch, daemon=True).start()
asked = os.read(0, 1)
ending.set()
try:
    os.killpg(server.pid, signal.SIGKILL)
except ProcessLookupError:
    pass
if not asked:
    shutil.rmtree(folder, ignore_errors=True)
"""


class MissingError(Exception):
    """What a server needs is not on this machine; the text says what to install."""


def java(version: str) -> Path:
    """The newest Java that runs this version, of JAVA_HOME, /usr/lib/jvm and the path."""
    named = os.environ.get("JAVA_HOME")
    program = shutil.which("java")
    homes = [Path(named)] if named else []
    homes += sorted(Path("/usr/lib/jvm").glob("*"))
    homes += sorted(Path("/Library/Java/JavaVirtualMachines").glob("*/Contents/Home"))
    homes += [Path(program).resolve().parent.parent] if program else []
    found: dict[int, Path] = {}
    for home in homes:
        about = home / "release"
        if not about.is_file():
            continue
        told = about.read_text(encoding="utf-8", errors="replace")
        number = re.search(r'JAVA_VERSION="(\d+)', told)
        if number and "jdk.incubator.vector" in told and (home / "bin" / "java").exists():
            found.setdefault(int(number[1]), home)
    fit = [number for number in found if number >= _LEAST_JAVA[version]]
    if not fit:
        raise MissingError(
            f"no JDK of {_LEAST_JAVA[version]} or newer (apt-get install openjdk-21-jdk-headless)"
        )
    return found[max(fit)]


def artifact(version: str) -> Path:
    """The zip of a server, fetched by Maven unless it is there."""
    release = RELEASES[version]
    path = (
        _REPOSITORY / "org/elasticsearch/distribution/integ-test-zip/elasticsearch"
        f"/{release}/elasticsearch-{release}.zip"
    )
    if path.is_file():
        return path
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingError("no Maven to fetch Elasticsearch with (apt-get install maven)")
    name = f"org.elasticsearch.distribution.integ-test-zip:elasticsearch:{release}:zip"
    done = subprocess.run(
        [
            maven,
            "-q",
            "-B",
            "dependency:get",
            f"-Dartifact={name}",
            "-Dtransitive=false",
            f"-Dmaven.repo.local={_REPOSITORY}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode != 0 or not path.is_file():
        raise MissingError(f"Maven cannot fetch {name}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return path


def unpacked(version: str, folder: Path) -> Path:
    """The home of a server under `folder`, for any number of nodes."""
    home = folder / f"elasticsearch-{RELEASES[version]}"
    if not home.is_dir():
        with zipfile.ZipFile(artifact(version)) as archive:
            archive.extractall(folder)
        for program in (home / "bin").iterdir():
            program.chmod(0o755)
        for more in home.glob("lib/tools/server-launcher/server-launcher"):
            more.chmod(0o755)
    return home


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def password_line(name: str, password: str) -> str:
    """A user of the file realm, as `bin/elasticsearch-users useradd` would write it."""
    salt = b"s" * 32
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 1000, 32)
    text = (base64.b64encode(part).decode() for part in (salt, digest))
    return f"{name}:{{PBKDF2}}1000${'$'.join(text)}\n"


@dataclass
class Node:
    """One server. folder: for everything, and removed with it. settings: lines of
    elasticsearch.yml beyond the usual, by key. files: more files of its configuration, by name,
    such as roles.yml. ca: for https. options: of Java, "" where speed is measured. A
    node of several wants discovery.type: multi-node, discovery.seed_hosts and
    cluster.initial_master_nodes. `kill` and `start` again keep port and data."""

    version: str
    folder: Path
    name: str = "node"
    settings: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    ca: Path | None = None
    heap: str = "512m"
    options: str = _QUICK
    port: int = field(default_factory=free_port)
    transport_port: int = field(default_factory=free_port)
    _guard: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.ca else 'http'}://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / self.name / "console.log"

    def start(self) -> None:
        """Start it, without waiting. MissingError if this machine cannot."""
        home, jdk = unpacked(self.version, self.folder), java(self.version)
        here = self.folder / self.name
        if not here.is_dir():
            self._configure(home, here)
        environment = {
            "PATH": "/usr/bin:/bin", "HOME": str(here), "ES_JAVA_HOME": str(jdk),
            "ES_PATH_CONF": str(here / "config"), "ES_TMPDIR": str(here / "tmp"),
            "ES_JAVA_OPTS": f"-Xms{self.heap} -Xmx{self.heap} {self.options}",
        }  # fmt: skip
        command = [str(home / "bin" / "elasticsearch")]
        if os.getuid() == 0:
            user = pwd.getpwnam("nobody")
            shutil.chown(here, user.pw_uid, user.pw_gid)
            for path in here.rglob("*"):
                shutil.chown(path, user.pw_uid, user.pw_gid)
            command = [
                "setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid),
                "--clear-groups", "--pdeathsig", "KILL", *command,
            ]  # fmt: skip
        self._guard = subprocess.Popen(
            [sys.executable, "-c", _GUARD, str(self.folder), str(self.log), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=environment,
            cwd=here,
            start_new_session=True,
        )

    def _configure(self, home: Path, here: Path) -> None:
        shutil.copytree(home / "config", here / "config")
        (here / "tmp").mkdir()
        options = here / "config" / "jvm.options"
        lines = options.read_text().splitlines()
        kept = [line for line in lines if "gc.log" not in line and "UseG1GC" not in line]
        options.write_text("\n".join(kept) + "\n")
        settings = {
            "node.name": self.name,
            "discovery.type": "single-node",
            "network.host": "127.0.0.1",
            "http.port": str(self.port),
            "transport.port": str(self.transport_port),
            "path.data": str(here / "data"),
            "path.logs": str(here / "logs"),
            "xpack.security.enabled": "false",
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            # With a collector that waits until it must, garbage would count as being in use.
            "indices.breaker.total.use_real_memory": "false",
            **self.settings,
        }
        text = "".join(f"{key}: {value}\n" for key, value in settings.items())
        (here / "config" / "elasticsearch.yml").write_text(text)
        for name, held in self.files.items():
            (here / "config" / name).write_text(held)

    def wait(self) -> None:
        """Until it answers."""
        assert self._guard is not None
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            if self._guard.poll() is not None:
                raise AssertionError(f"Elasticsearch ended:\n{self.log.read_text()[-4000:]}")
            try:
                status, _ = ask(self.url, "GET", "/_cluster/health?local=true", ca=self.ca)
            except (OSError, http.client.HTTPException):
                status = 0
            if status in (200, 401):
                return
            time.sleep(0.1)
        self.kill()
        raise AssertionError(f"Elasticsearch does not answer:\n{self.log.read_text()[-4000:]}")

    def kill(self) -> None:
        """As `kill -9` does. Its folder stays."""
        guard, self._guard = self._guard, None
        if guard is None:
            return
        assert guard.stdin is not None
        if guard.poll() is None:
            guard.stdin.write(b"k")
        guard.stdin.close()
        guard.wait(timeout=30)

    def processes(self) -> list[int]:
        """The ids of its processes (Linux)."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"ES_PATH_CONF={self.folder / self.name}/".encode() in entry.read_bytes():
                    found.append(int(entry.parent.name))
            except OSError:
                continue
        return found

    def signal(self, number: signal.Signals) -> None:
        """To all its processes: SIGSTOP and SIGCONT make it hang and go on."""
        for process in self.processes():
            os.kill(process, number)


def ask(
    url: str,
    method: str,
    path: str,
    body: Any = None,
    *,
    ca: Path | None = None,
    user: tuple[str, str] | None = None,
) -> tuple[int, Any]:
    """Status and answer of one request, without the client that is tested. body: JSON, or None."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=str(ca))
        connection = http.client.HTTPSConnection(host, port, timeout=30, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=30)
    headers = {"Content-Type": "application/json"}
    if user is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(':'.join(user).encode()).decode()}"
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, headers)
        answer = connection.getresponse()
        told = answer.read()
        return answer.status, json.loads(told) if told.startswith((b"{", b"[")) else told.decode()
    finally:
        connection.close()


@dataclass(frozen=True)
class Elastic:
    """A running server, and a prefix for the names of what a test makes there.

    users: passwords by name, empty without security. node: None for a server of one's own.
    """

    url: str
    version: str
    prefix: str = ""
    ca: Path | None = None
    users: Mapping[str, str] = field(default_factory=dict)
    node: Node | None = None

    def ask(self, method: str, path: str, body: Any = None, *, user: str = "admin") -> Any:
        """The answer of a request that must succeed."""
        status, told = self.asked(method, path, body, user=user)
        assert status < 300, f"{method} {path}: {status} {told}"
        return told

    def asked(
        self, method: str, path: str, body: Any = None, *, user: str = "admin"
    ) -> tuple[int, Any]:
        """Status and answer of a request. user: where there is security."""
        known = (user, self.users[user]) if user in self.users else None
        return ask(self.url, method, path, body, ca=self.ca, user=known)

    def clean(self) -> None:
        """Remove everything whose name begins with the prefix."""
        assert self.prefix
        self.asked("DELETE", f"/_data_stream/{self.prefix}*")
        for index in self._names(
            f"/{self.prefix}*?expand_wildcards=all&filter_path=*.settings.index.uuid"
        ):
            self.asked("PUT", f"/{index}/_settings", {"index.blocks.read_only_allow_delete": None})
            self.ask("DELETE", f"/{index}")
        for kind, key in (
            ("_index_template", "index_templates"),
            ("_component_template", "component_templates"),
        ):
            status, told = self.asked("GET", f"/{kind}/{self.prefix}*")
            for one in told[key] if status == 200 else ():
                self.ask("DELETE", f"/{kind}/{quote(one['name'])}")
        status, told = self.asked("GET", "/_ilm/policy")
        for name in told if status == 200 else ():
            if name.startswith(self.prefix):
                self.ask("DELETE", f"/_ilm/policy/{quote(name)}")

    def _names(self, path: str) -> Iterator[str]:
        status, told = self.asked("GET", path)
        if status == 200:
            yield from (quote(name) for name in told)
