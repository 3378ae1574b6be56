"""What a field of the configuration is told with: kind, meaning, and what its absence means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .kinds import Kind


@dataclass(frozen=True, slots=True)
class ListOf:
    """Several values of one kind."""

    kind: Kind


@dataclass(frozen=True, slots=True)
class MapOf:
    """Values of one kind by names that the user chooses."""

    kind: Kind


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping whose keys are the fields of a class. several: a list of such mappings. unique: the
    field that no two of them have in common."""

    of: type
    several: bool = False
    unique: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """What a field is. unset: what None means. example: what `config init` writes for a key that
    must be given. shown: the default in words, where it is not a constant."""

    kind: Kind | ListOf | MapOf | Section
    meaning: str
    unset: str = ""
    example: str = ""
    shown: str = ""


def says(kind: Kind | ListOf | MapOf | Section, meaning: str, **more: str) -> dict[str, Any]:
    """The metadata of a field."""
    return {"setting": Setting(kind, meaning, **more)}
