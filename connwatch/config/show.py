"""A configuration written out: as it takes effect, and as a first file with every default."""

from __future__ import annotations

import dataclasses
import io
import textwrap
from typing import Any, Final

import yaml

from connwatch.paths import default_store
from connwatch.render import safe_lines

from .kinds import Kind
from .model import Config
from .setting import ListOf, MapOf, Section, Setting

_HEAD: Final = """\
# What connwatch follows, and how. Every key is explained in docs/configuration.md.
#
# A line that begins with # and a key shows a default: take the # away (and nothing else) to change
# it. Paths are relative to the folder of this file.
"""


def plain(config: Config) -> dict[str, Any]:
    """The configuration as YAML and JSON have it, every key with its value; what loads from it is
    equal to it."""
    return _section(config)


def to_yaml(config: Config) -> str:
    """`plain` as YAML that is safe to show on a terminal."""
    return _yaml(plain(config))


def _yaml(value: Any) -> str:
    def dumped(*, unicode: bool) -> str:
        return yaml.safe_dump(value, sort_keys=False, allow_unicode=unicode, width=1_000)

    text = dumped(unicode=True)
    return text if safe_lines(text) == text else dumped(unicode=False)


def _section(instance: Any) -> dict[str, Any]:
    return {
        field.name: _plain(field.metadata["setting"].kind, getattr(instance, field.name))
        for field in dataclasses.fields(instance)
    }


def _plain(kind: Kind | ListOf | MapOf | Section, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, Section):
        return [_section(one) for one in value] if kind.several else _section(value)
    if isinstance(kind, ListOf):
        return [kind.kind.plain(one) for one in value]
    if isinstance(kind, MapOf):
        return {name: kind.kind.plain(one) for name, one in value.items()}
    return kind.plain(value)


def first_file() -> str:
    """A configuration to begin with: what must be said, and every default as a comment."""
    out = io.StringIO()
    out.write(_HEAD)
    for field in dataclasses.fields(Config):
        setting: Setting = field.metadata["setting"]
        out.write("\n")
        if field.name == "store":
            _comment(out, setting, "")
            out.write(_yaml({field.name: str(default_store().absolute())}))
        elif isinstance(setting.kind, Section) and setting.kind.several:
            _comment(out, setting, "")
            out.write(f"{field.name}:\n")
            _fields(out, setting.kind.of, "    ", first="  - ")
        elif isinstance(setting.kind, Section):
            _comment(out, setting, "")
            out.write(f"#{field.name}:\n")
            _fields(out, setting.kind.of, "  ")
        else:
            _comment(out, setting, "")
            out.write(f"#{default_line(field)}")
    return out.getvalue()


def _fields(out: io.StringIO, of: type, indent: str, first: str = "") -> None:
    """The fields of a section. first: what stands before a field that must be given."""
    for field in dataclasses.fields(of):
        setting: Setting = field.metadata["setting"]
        _comment(out, setting, indent)
        if setting.example:
            out.write(f"{first}{_yaml({field.name: setting.example})}")
        else:
            out.write(f"#{indent}{default_line(field)}")


def _comment(out: io.StringIO, setting: Setting, indent: str) -> None:
    text = _told(setting).replace("`", "")
    # One space after the #: a default has none, or an even number of them.
    out.write(textwrap.fill(text, 100 - len(indent), initial_indent="# ", subsequent_indent="# "))
    out.write("\n")


def _told(setting: Setting) -> str:
    """Meaning, kind, and what it means to leave it out, in one line."""
    if isinstance(setting.kind, Section):
        return setting.meaning
    more = [kind_name(setting)]
    if setting.unset:
        more.append(f"null: {setting.unset}")
    if setting.shown:
        more.append(f"without it: {setting.shown}")
    return f"{setting.meaning} ({'; '.join(more)})"


def kind_name(setting: Setting) -> str:
    """What may stand there, for people."""
    kind = setting.kind
    if isinstance(kind, Section):
        return "list of sections" if kind.several else "section"
    if isinstance(kind, ListOf):
        return f"list: {kind.kind.name}"
    if isinstance(kind, MapOf):
        return f"names, each with: {kind.kind.name}"
    return kind.name


def default_line(field: dataclasses.Field[Any]) -> str:
    """`key: default` and a newline, on one line."""
    made = field.default_factory
    default = field.default if made is dataclasses.MISSING else made()
    value = _plain(field.metadata["setting"].kind, default)
    flow = None if isinstance(value, list | dict) else False
    return yaml.safe_dump({field.name: value}, default_flow_style=flow, width=1_000)
