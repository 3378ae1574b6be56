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


@dataclass(frozen=True, slots=True)
class RuleDocument:
    """One YAML document. nodes: every scalar in it, keys included, with its line."""

    path: str
    line: int
    content: Any
    nodes: tuple[tuple[str, int], ...]

    def where(self, *texts: str) -> str:
        """`file:line` of the first key or value that is, or holds, the first of `texts` found."""
        for text in texts:
            for value, line in self.nodes:
                if value == text:
                    return f"{self.path}:{line}"
            for value, line in self.nodes:
                if re.search(rf"(?<![\w.-]){re.escape(text)}(?![\w.-])", value):
                    return f"{self.path}:{line}"
        return f"{self.path}:{self.line}"


def rule_files(paths: Sequence[Path]) -> list[Path]:
    """The rule files under `paths`, each once. RuleError for a path that does not exist."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in _SUFFIXES and p.is_file())
            for file in inside:
                parts = file.relative_to(path).parts
                if not file.name.endswith(_CASES) and "fields" not in parts[:-1]:
                    found[file] = None
        elif path.exists():
            found[path] = None
        else:
            raise RuleError("no such rule file or folder", where=str(path))
    return list(found)


def read(path: Path) -> tuple[list[RuleDocument], RuleError | None]:
    """The documents of a file, and why the rest of it cannot be read, if so."""
    documents: list[RuleDocument] = []
    try:
        text = path.read_text(encoding="utf-8-sig")
        for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
            nodes = tuple(_scalars(node))
            content = yaml.SafeLoader("").construct_document(node)
            line = node.start_mark.line + 1
            documents.append(RuleDocument(str(path), line, content, nodes))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        return documents, RuleError(f"is not YAML: {error.problem}", where=where)
    except yaml.YAMLError as error:
        return documents, RuleError(f"is not YAML: {error}", where=str(path))
    except UnicodeDecodeError:
        return documents, RuleError("is not UTF-8 text", where=str(path))
    except OSError as error:
        return documents, RuleError(error.strerror or str(error), where=str(path))
    except RecursionError:
        return documents, RuleError("is nested too deeply", where=str(path))
    return documents, None


def _scalars(node: yaml.Node) -> Iterator[tuple[str, int]]:
    """Every scalar under a node, in order; each node once, whatever refers to it."""
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, yaml.ScalarNode):
            yield str(one.value), one.start_mark.line + 1
        elif isinstance(one, yaml.MappingNode):
            waiting.extend(part for pair in reversed(one.value) for part in reversed(pair))
        elif isinstance(one, yaml.SequenceNode):
            waiting.extend(reversed(one.value))
