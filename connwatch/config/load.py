"""From a configuration file to what takes effect: checked once, all faults told together."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from connwatch.errors import ConfigError, ConfigFaultsError

from .document import document, file_text, place
from .kinds import NO_STORE, Context, Kind, Scalar, shown, suggestion
from .model import Config, Retention
from .setting import ListOf, MapOf, Section, Setting

#: faults that are told, of a file that has more
MOST_FAULTS: Final = 100
#: values that a file may hold, aliases counted as often as they are used
MOST_VALUES: Final = 200_000

_YAML: Final = "tag:yaml.org,2002:"
_NULL: Final = f"{_YAML}null"
_MERGE: Final = f"{_YAML}merge"
#: what a value without a tag of its own can be taken for
_PLAIN: Final = frozenset(
    f"{_YAML}{kind}" for kind in ("str", "int", "float", "bool", "timestamp", "value", "merge")
)
_LABEL: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")


def load(path: Path, *, formats: Collection[str]) -> Config:
    """The configuration in a file.

    formats: names of log formats that can be followed. Nothing is read but this file and the
    environment (`${NAME}` in paths, `CONNWATCH_STORE` where no store is named). ConfigFaultsError
    holds all that is wrong with the values, a plain ConfigError says why they could not be looked
    at.
    """
    return parse(file_text(path), path, formats=formats)


def parse(text: str, path: Path, *, formats: Collection[str]) -> Config:
    """The configuration that `text` would be as the file `path`."""
    root = document(text, path)
    reader = _Reader(path, Context(path.absolute().parent, formats))
    complete, config = True, None
    try:
        config = reader.section(Config, root, "")
        if isinstance(config, Config) and not reader.faults:
            reader.without_store(root, config)
    except _Enough:
        complete = False
    if not isinstance(config, Config) or reader.faults:
        raise ConfigFaultsError(reader.in_order(), complete=complete)
    return config


class _Enough(Exception):  # noqa: N818  it ends the reading, it is no error
    """There is no use in going on."""


class _Reader:
    """Reads nodes and collects what is wrong. Where a value is, what it returns does not matter."""

    def __init__(self, path: Path, context: Context) -> None:
        self.path = path
        self.context = context
        self.faults: list[tuple[int, int, ConfigError]] = []
        self._values = 0

    def in_order(self) -> list[ConfigError]:
        """The faults as they stand in the file."""
        return [error for *_, error in sorted(self.faults, key=lambda fault: fault[:2])]

    def without_store(self, root: yaml.MappingNode, config: Config) -> None:
        """What `store: none` needs, and what makes no sense with it."""
        if config.store != NO_STORE:
            return
        at = {key.value: key for key, _ in root.value}
        if not config.elasticsearch.named:
            told = "store: none keeps nothing, and no server is named that would"
            self._fault(at["store"], told, "name one: elasticsearch.nodes; or name a store")
        if config.retention != Retention():
            told = "retention is of the store, and there is none (store: none)"
            hint = "elasticsearch.keep_events and keep_alerts are of the server"
            self._fault(at["retention"], told, hint)

    def section(self, of: type, node: yaml.Node, name: str) -> Any:
        """An instance of a class of the model. name: of the key it stands under, "" at the top."""
        given = self._given(of, node, name)
        arguments: dict[str, Any] = {}
        for field in dataclasses.fields(of):
            setting: Setting = field.metadata["setting"]
            key = f"{name}.{field.name}" if name else field.name
            if field.name in given:
                arguments[field.name] = self._value(field, setting, given[field.name], key)
            elif _required(field):
                self._fault(node, f"{key} is missing", f"add {field.name}: {_example(setting)}")
                return None
        return of(**arguments)

    def _given(self, of: type, node: yaml.Node, name: str) -> dict[str, yaml.Node]:
        """The values of the keys that the class knows."""
        known = [field.name for field in dataclasses.fields(of)]
        given: dict[str, yaml.Node] = {}
        for key, mark, value in self._pairs(node, name):
            if key in known:
                given[key] = value
            else:
                where = f" under {name}" if name else ""
                self._fault(mark, f"unknown key {shown(key)}{where}", _meant(key, known))
        return given

    def _pairs(self, node: yaml.Node, name: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Key, its node, and its value, of a mapping; none where it is none."""
        self._count()
        if not isinstance(node, yaml.MappingNode) or node.tag != f"{_YAML}map":
            self._fault(node, f"{name} holds {_found(node)}, not keys with values")
            return
        lines: dict[str, int] = {}
        for key, value in node.value:
            self._count()
            if key.tag == _MERGE:
                self._fault(key, "'<<' is not read here", "write out what it stands for")
            elif not isinstance(key, yaml.ScalarNode):
                self._fault(key, f"a key is {_found(key)}, not a word")
            elif key.value in lines:
                self._fault(
                    key, f"the key {shown(key.value)} stands in line {lines[key.value]} already"
                )
            else:
                lines[key.value] = key.start_mark.line + 1
                yield key.value, key, value

    def _value(
        self, field: dataclasses.Field[Any], setting: Setting, node: yaml.Node, key: str
    ) -> Any:
        kind = setting.kind
        if node.tag == _NULL:
            if isinstance(kind, Section) and not kind.several:
                return kind.of()
            if field.default is not None:
                hint = f"leave {field.name} out for its default"
                self._fault(node, f"{key} has no value", None if _required(field) else hint)
            return None
        if isinstance(kind, Section):
            read = self._sections if kind.several else self._one
            return read(kind, node, key)
        if isinstance(kind, ListOf):
            return tuple(self._scalar(kind.kind, one, key) for one in self._items(node, key))
        if isinstance(kind, MapOf):
            return dict(self._named(kind, node, key))
        return self._scalar(kind, node, key)

    def _one(self, kind: Section, node: yaml.Node, key: str) -> Any:
        return self.section(kind.of, node, key)

    def _sections(self, kind: Section, node: yaml.Node, key: str) -> tuple[Any, ...]:
        items = self._items(node, key)
        if not items and isinstance(node, yaml.SequenceNode):
            self._fault(node, f"{key} is empty", f"add - {kind.unique[0]}: …")
        made: list[Any] = []
        lines: dict[Any, int] = {}
        for number, item in enumerate(items):
            if isinstance(item, yaml.ScalarNode):
                hint = f"write {kind.unique[0]}: {item.value[:80]}"
                self._fault(item, f"{key} has a value without a key", hint)
                continue
            before = len(self.faults)
            one = self.section(kind.of, item, f"{key}[{number}]")
            if len(self.faults) > before:
                continue
            name = self._named_by(kind, one, item, f"{key}[{number}]")
            value = getattr(one, name)
            line = item.start_mark.line + 1
            if value in lines:
                text = shlex.join(value) if isinstance(value, tuple) else str(value)
                told = f"{shown(text)} stands in line {lines[value]} already"
                self._fault(item, f"{key}[{number}].{name}: {told}")
            lines.setdefault(value, line)
            made.append(one)
        return tuple(made)

    def _named_by(self, kind: Section, one: Any, node: yaml.Node, key: str) -> str:
        """The one of the fields that tell a section from others which it has."""
        given = [name for name in kind.unique if getattr(one, name)]
        if not given:
            name = kind.unique[0]
            of = next(field for field in dataclasses.fields(kind.of) if field.name == name)
            hint = f"add {name}: {_example(of.metadata['setting'])}"
            self._fault(node, f"{key}.{name} is missing", hint)
        elif len(given) > 1:
            self._fault(node, f"{key} has {' and '.join(given)}", "one of them is enough")
        return given[0] if given else kind.unique[0]

    def _named(self, kind: MapOf, node: yaml.Node, key: str) -> Iterator[tuple[str, Any]]:
        for name, mark, value in self._pairs(node, key):
            if not _LABEL.fullmatch(name):
                self._fault(
                    mark,
                    f"{key} has the name {shown(name)}",
                    "a name is up to 100 letters, digits, '_' and '-'",
                )
            yield name, self._scalar(kind.kind, value, f"{key}.{name}")

    def _items(self, node: yaml.Node, key: str) -> list[yaml.Node]:
        self._count()
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_YAML}seq":
            return list(node.value)
        hint = None
        if isinstance(node, yaml.ScalarNode):
            # What may hold a password is not repeated.
            hint = "write it within [ ]" if "@" in node.value else f"write [{node.value[:80]}]"
            if key.endswith(".command"):
                hint = "write the program and its arguments as [ss, -tunapoie]; no shell sees them"
        elif isinstance(node, yaml.MappingNode):
            hint = "begin each with '- '"
        self._fault(node, f"{key} holds {_found(node)}, not a list", hint)
        return []

    def _scalar(self, kind: Kind, node: yaml.Node, key: str) -> Any:
        self._count()
        if isinstance(node, yaml.ScalarNode) and node.tag == _NULL:
            hint = "put it in quotes if it is this word" if node.value else "'' is an empty text"
            self._fault(node, f"{key} has no value", hint)
        elif not isinstance(node, yaml.ScalarNode) or node.tag not in _PLAIN:
            self._fault(node, f"{key} holds {_found(node)}, not one value")
        else:
            try:
                scalar = Scalar(node.value, quoted=node.style is not None)
                return kind.read(scalar, self.context)
            except ConfigError as error:
                self._fault(node, f"{key}: {error.message}", error.hint)
        return None

    def _count(self) -> None:
        self._values += 1
        if self._values > MOST_VALUES:
            told = f"holds more than {MOST_VALUES:,} values"
            self.faults.append((0, 0, ConfigError(told, where=str(self.path))))
            raise _Enough

    def _fault(self, at: yaml.Node, message: str, hint: str | None = None) -> None:
        mark = at.start_mark
        error = ConfigError(message, where=place(self.path, mark), hint=hint)
        self.faults.append((mark.line, mark.column, error))
        if len(self.faults) >= MOST_FAULTS:
            raise _Enough


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _example(setting: Setting) -> str:
    if isinstance(setting.kind, Section):
        first = dataclasses.fields(setting.kind.of)[0]
        return f"[{{{first.name}: {first.metadata['setting'].example}}}]"
    return setting.example


def _found(node: yaml.Node) -> str:
    if node.tag == _NULL:
        return "nothing"
    if node.tag in _PLAIN:
        return "a single value"
    plain = {f"{_YAML}seq": "a list", f"{_YAML}map": "keys with values"}
    return plain.get(node.tag, f"the tag {shown(node.tag.removeprefix(_YAML))}")


def _meant(key: str, known: list[str]) -> str:
    """What an unknown key was meant to be: one of these, else one that stands elsewhere."""
    hint = suggestion(key, known)
    if hint.startswith("did"):
        return hint
    for field in dataclasses.fields(Config):
        kind = field.metadata["setting"].kind
        if key == field.name:
            return f"{key} stands at the top, without indentation"
        if isinstance(kind, Section) and key in {one.name for one in dataclasses.fields(kind.of)}:
            return f"{key} stands under {field.name}"
    return hint
