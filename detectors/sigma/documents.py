"""Rule files as documents that know the line on which each of their keys and values stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from connwatch.errors import RuleError

_SUFFIXES: Final = (".yml", ".yaml")
#: files beside the rules that hold no rules
_CASES: Final = (".events.yml", ".events.yaml")
#: keys whose values are prose: a word in them is not what an error is about
_PROSE: Final = frozenset(
    {"title", "description", "author", "falsepositives", "references", "message"}
)
#: characters of a text that libyaml reads
_SHORT: Final = 4_096


@dataclass(frozen=True, slots=True)
class RuleDocument:
    """One YAML document. nodes: every scalar in it, keys included, with its line and the top-level
    key it stands under."""

    path: str
    line: int
    content: Any
    nodes: tuple[tuple[str, int, str], ...]

    def where(self, *texts: str, section: str | None = None) -> str:
        """`file:line` of the first key or value that is, or holds, the first of `texts` found.

        section: look under this top-level key only, and at it when nothing is found; without one,
        prose (titles, descriptions) is not looked at."""
        nodes = [
            (value, line)
            for value, line, key in self.nodes
            if (section is None and (key not in _PROSE or value == key)) or section == key
        ]
        for text in texts:
            for value, line in nodes:
                if value == text:
                    return f"{self.path}:{line}"
            for value, line in nodes:
                if re.search(rf"(?<![\w.-]){re.escape(text)}(?![\w.-])", value):
                    return f"{self.path}:{line}"
        return f"{self.path}:{nodes[0][1] if section and nodes else self.line}"


def rule_files(paths: Sequence[Path]) -> list[Path]:
    """The rule files under `paths`, each once. RuleError for a path that does not exist."""
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in _SUFFIXES and p.is_file())
            for file in inside:
                parts = file.relative_to(path).parts
                if not file.name.endswith(_CASES) and "fields" not in parts[:-1]:
                    found.setdefault(file.resolve(), file)
        elif path.exists():
            found.setdefault(path.resolve(), path)
        else:
            raise RuleError("no such rule file or folder", where=str(path))
    return list(found.values())


def read(path: Path) -> tuple[list[RuleDocument], list[RuleError]]:
    """The documents of a file, and why others in it cannot be read."""
    documents: list[RuleDocument] = []
    errors: list[RuleError] = []
    try:
        text = path.read_text(encoding="utf-8-sig")
        for node in _composed(text):
            try:
                document = _document(node, path)
            except RuleError as error:
                errors.append(error)
                continue
            if document.content is not None:  # what stands after a closing --- is nothing
                documents.append(document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        errors.append(RuleError(f"is not YAML: {error.problem}", where=where))
    except yaml.YAMLError as error:
        errors.append(RuleError(f"is not YAML: {error}", where=str(path)))
    except UnicodeDecodeError:
        errors.append(RuleError("is not UTF-8 text", where=str(path)))
    except OSError as error:
        errors.append(RuleError(error.strerror or str(error), where=str(path)))
    except RecursionError:
        errors.append(RuleError("is nested too deeply", where=str(path)))
    return documents, errors


def _composed(text: str) -> Iterator[yaml.Node]:
    """The nodes of a text's documents; of a short one by libyaml, in a tenth of the time.

    That goes into itself without a bound, which ends the program where a text is nested deeply, and
    a short one cannot be. What is wrong with a text is said in the words of the other one.
    """
    if yaml.__with_libyaml__ and len(text) <= _SHORT:
        try:
            yield from list(yaml.compose_all(text, Loader=yaml.CSafeLoader))
        except yaml.YAMLError:
            pass
        else:
            return
    yield from yaml.compose_all(text, Loader=yaml.SafeLoader)


def _document(node: yaml.Node, path: Path) -> RuleDocument:
    nodes: list[tuple[str, int, str]] = []
    for one, section in _nodes(node):
        line = one.start_mark.line + 1
        if isinstance(one, yaml.MappingNode):
            _refuse_doubled_keys(one, path)
        elif isinstance(one, yaml.ScalarNode):
            nodes.append((str(one.value), line, section))
    try:
        content = yaml.SafeLoader("").construct_document(node)
    except ValueError as error:  # a 13th month, an !!int that is none
        raise RuleError(f"a value cannot be read: {error}", where=_unreadable(node, path)) from None
    return RuleDocument(str(path), node.start_mark.line + 1, content, tuple(nodes))


def _unreadable(root: yaml.Node, path: Path) -> str:
    """`file:line` of the first value that YAML cannot make."""
    for node, _ in _nodes(root):
        if isinstance(node, yaml.ScalarNode):
            try:
                yaml.SafeLoader("").construct_document(node)
            except ValueError:
                return f"{path}:{node.start_mark.line + 1}"
    return str(path)


def _refuse_doubled_keys(mapping: yaml.MappingNode, path: Path) -> None:
    """YAML would keep the last and say nothing: half a condition would be gone."""
    first: dict[str, int] = {}
    for key, _ in mapping.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            continue
        line = key.start_mark.line + 1
        if key.value in first:
            raise RuleError(
                f"the key {key.value!r} stands in line {first[key.value]} already",
                where=f"{path}:{line}",
                hint="several values of one key are a list; add |all where all must hold",
            )
        first[key.value] = line


def _nodes(root: yaml.Node) -> Iterator[tuple[yaml.Node, str]]:
    """Every node under a document's, in order, with its top-level key; each node once, whatever
    refers to it."""
    seen: set[int] = set()
    waiting = [(root, "")]
    while waiting:
        one, section = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one, section
        if isinstance(one, yaml.MappingNode):
            for key, value in reversed(one.value):
                name = str(key.value) if one is root else section
                waiting.extend(((value, name), (key, name)))
        elif isinstance(one, yaml.SequenceNode):
            waiting.extend((item, section) for item in reversed(one.value))
