"""The tables of docs/configuration.md, made from the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from .model import Config
from .setting import Section, Setting
from .show import default_line, kind_name


def markdown() -> str:
    """The tables of docs/configuration.md."""
    return "\n".join(_tables())


def _tables() -> Iterator[str]:
    yield from _table("At the top", "", Config)
    for field in dataclasses.fields(Config):
        kind = field.metadata["setting"].kind
        if isinstance(kind, Section):
            title = f"Each of `{field.name}`" if kind.several else f"`{field.name}`"
            yield from _table(title, str(kind.of.__doc__), kind.of)


def _table(title: str, text: str, of: type) -> Iterator[str]:
    yield f"## {title}\n"
    if text:
        yield " ".join(text.split()) + "\n"
    yield "| key | kind | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for field in dataclasses.fields(of):
        setting: Setting = field.metadata["setting"]
        yield f"| `{field.name}` | {kind_name(setting)} | {_cell(field)} | {setting.meaning} |"
    yield ""


def _cell(field: dataclasses.Field[Any]) -> str:
    setting: Setting = field.metadata["setting"]
    if setting.shown or setting.unset:
        return setting.shown or setting.unset
    if isinstance(setting.kind, Section):
        return "must be given" if setting.kind.several else "see below"
    if field.default is dataclasses.MISSING and setting.example:
        return "must be given"
    return f"`{default_line(field).removeprefix(f'{field.name}: ').strip()}`"
