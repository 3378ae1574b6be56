"""What README and docs say is what happens: every command in them is run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from connwatch.query import parse

pytestmark = pytest.mark.source

#: a block of commands, and the output that follows it is not compared
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
SERVER = "http://127.0.0.1:9200"
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "formats").glob("*.md")),
]
#: pages that `make test` runs, too
_QUICK = ("README.md", "configuration.md")


def commands(page: Path) -> list[str]:
    """The lines that begin with $, in order, each with the lines after it that begin with >."""
    found: list[str] = []
    for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(line[2:])
            elif line.startswith("> "):
                found[-1] += f"\n{line[2:]}"
    return found


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=() if page.name in _QUICK else pytest.mark.slow)
        for page in PAGES
        if commands(page)
    ],
)
def test_the_commands_of_a_page_work(
    page: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """In their order, in one folder, with `make` left to the tests that run the whole suite. Where
    a page has the address of an Elasticsearch, a real one takes its place."""
    server = SERVER
    if any(SERVER in command for command in commands(page)):
        server = request.getfixturevalue("elastic_servers").get().url
    shutil.copytree(ROOT / "sample_logs", tmp_path / "sample_logs")
    shutil.copytree(ROOT / "rules", tmp_path / "rules")
    bin_folder = Path(sys.executable).parent
    environment = {
        "PATH": f"{bin_folder}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
    }
    for command in commands(page):
        if shlex.split(command)[0] in ("make", "git", "cd"):
            continue
        done = subprocess.run(
            ["bash", "-c", command.replace(SERVER, server)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr


def test_every_page_is_linked_and_every_link_leads_somewhere() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for page in PAGES[1:]:
        assert page.name in text.replace(page.read_text(encoding="utf-8"), ""), (
            f"{page.name} is linked nowhere"
        )
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_queries_in_the_page_on_queries_can_be_read() -> None:
    page = (ROOT / "docs" / "query.md").read_text(encoding="utf-8")
    queries = [
        line
        for block in re.findall(r"```kql\n(.*?)```", page, re.DOTALL)
        for line in block.splitlines()
        if line
    ]
    assert len(queries) >= 10
    for query in queries:
        parse(query)


def test_the_example_of_a_new_format_works(tmp_path: Path) -> None:
    """docs/extending.md shows a whole format in one file; it is run here as it stands there."""
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "pfsense.py").write_text(code, encoding="utf-8")
    sample = re.findall(r"```text\n(.*?)```", page, re.DOTALL)[0]
    (tmp_path / "filter.csv").write_text(sample, encoding="utf-8")
    script = (
        "from pfsense import FirewallCsv\nfrom pathlib import Path\n"
        "from connwatch.ingest.files import discover\nfrom connwatch.ingest.streams import streams\n"
        "from connwatch.ingest.merge import merged\n"
        "found = discover(['filter.csv'], [FirewallCsv()])\n"
        "frames = list(merged(streams(found.sources)[0], lambda *a: print(a[1].rejects.height, 'rejects'), print))\n"
        "print(frames[0].select('source.ip', 'destination.port', 'network.transport').rows())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "1 rejects" in done.stdout
    assert "('198.51.100.7', 22, 'tcp')" in done.stdout
