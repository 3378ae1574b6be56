"""A configuration file as YAML nodes that know where they stand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import yaml

from connwatch.errors import ConfigError

#: bytes of a configuration file
LARGEST: Final = 1_048_576
_INIT: Final = "connwatch config init writes an example"


def place(path: Path, mark: yaml.Mark | None) -> str:
    """`file:line:column`, both from 1, the column in characters."""
    return str(path) if mark is None else f"{path}:{mark.line + 1}:{mark.column + 1}"


def file_text(path: Path) -> str:
    """The text of the file. ConfigError when there is none, or it is too large or not UTF-8."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = _INIT if isinstance(error, FileNotFoundError) else None
        raise ConfigError(f"cannot be read: {reason}", where=str(path), hint=hint) from None
    except ValueError:  # a NUL in its name
        raise ConfigError("is not the name of a file", where=repr(os.fspath(path))) from None
    if len(data) > LARGEST:
        raise ConfigError(f"is larger than {LARGEST:,} bytes", where=str(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            "is not UTF-8 text", where=f"{path}:{line}", hint="save it as UTF-8"
        ) from None


def document(text: str, path: Path) -> yaml.MappingNode:
    """The mapping that the file holds. ConfigError when it is not YAML or holds anything else."""
    try:
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(error, path) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        raise ConfigError(
            f"holds the character U+{_code(error.character):04X}, which YAML does not allow",
            where=f"{path}:{line}:{column}",
            hint="write it as an escape in double quotes, or leave it out",
        ) from None
    except RecursionError:
        raise ConfigError("is nested too deeply", where=str(path)) from None
    if not nodes or _is_nothing(nodes[0]):
        raise ConfigError("is empty", where=str(path), hint=_INIT)
    if len(nodes) > 1:
        raise ConfigError(
            "holds a second document",
            where=place(path, nodes[1].start_mark),
            hint="a configuration is one document: take out the '---'",
        )
    if not isinstance(nodes[0], yaml.MappingNode):
        found = "a list" if isinstance(nodes[0], yaml.SequenceNode) else "a single value"
        raise ConfigError(
            f"holds {found}, not keys with values",
            where=place(path, nodes[0].start_mark),
            hint=_INIT,
        )
    return nodes[0]


def _is_nothing(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _code(character: str | int) -> int:
    return character if isinstance(character, int) else ord(character)


def _not_yaml(error: yaml.MarkedYAMLError, path: Path) -> ConfigError:
    problem, hint = str(error.problem or error.context), None
    if "'\\t'" in problem:
        problem, hint = "a tab stands where none may", "indent with spaces"
    elif "undefined alias" in problem or "scanning an alias" in str(error.context):
        hint = "put a value that begins with * in quotes"
    elif "mapping values are not allowed" in problem:
        hint = "put a value that holds ': ' in quotes, and look at the indentation"
    where = place(path, error.problem_mark or error.context_mark)
    return ConfigError(f"is not YAML: {problem}", where=where, hint=hint)
