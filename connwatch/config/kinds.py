"""The kinds of value that a configuration file may hold: how each is read, and written again.

`read` takes what stands in the file and returns the value, or raises a ConfigError without a place,
which the caller knows. `plain` gives what YAML writes for the value; reading that gives the value
again. `name` is what the reference page calls the kind.
"""

from __future__ import annotations

import functools
import ipaddress
import math
import os
import re
import zoneinfo
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

from connwatch.errors import ConfigError

#: a rule folder and a source that are words, not paths
BUNDLED: Final = Path("bundled")
STDIN: Final = "-"
NO_STORE: Final = Path("none")

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN: Final = re.compile(r"([0-9]{1,12}) ?([smhdw])")
_BYTES: Final = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_SIZE: Final = re.compile(r"([0-9]{1,20}) ?([A-Za-z]{1,3})")
_VARIABLE: Final = re.compile(r"\$?\$\{([^}]*)\}")
_LONGEST: Final = timedelta(days=36_500)
_LARGEST: Final = 2**60


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value as it stands in the file. text: without quotes. quoted: it had some, so that it is
    text whatever it looks like."""

    text: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Context:
    """What values are read against. folder: of the file, absolute. formats: names of those that
    can be followed."""

    folder: Path
    formats: Collection[str]


class Kind(Protocol):
    """One kind of single value."""

    @property
    def name(self) -> str: ...

    def read(self, scalar: Scalar, context: Context) -> Any: ...

    def plain(self, value: Any) -> Any: ...


def of_option(kind: Kind, text: str, option: str) -> Any:
    """The value of an option of the command line, which is written as in the file. ConfigError."""
    try:
        return kind.read(Scalar(text, quoted=False), Context(Path(), ()))
    except ConfigError as error:
        raise ConfigError(error.message, where=option, hint=error.hint) from None


def shown(text: str) -> str:
    """Text from the file within a message: quoted, escaped, and not long."""
    return repr(text if len(text) <= 80 else f"{text[:80]}…")


def suggestion(word: str, known: Iterable[str]) -> str:
    """What was probably meant, else what there is."""
    names = list(known)
    near = get_close_matches(word[:80], names, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"


class Itself:
    """A kind whose values YAML writes as they are."""

    __slots__ = ()

    def plain(self, value: Any) -> Any:
        return value


@dataclass(frozen=True, slots=True)
class Words(Itself):
    """Text, taken as it is written: `no` and `012` are these letters."""

    name: ClassVar[str] = "text"

    def read(self, scalar: Scalar, _: Context) -> str:
        try:
            scalar.text.encode()
        except UnicodeEncodeError:
            raise ConfigError("holds half a character, which is no text") from None
        return scalar.text


@dataclass(frozen=True, slots=True)
class OneOf(Itself):
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def name(self) -> str:
        return " or ".join(self.words)

    def read(self, scalar: Scalar, _: Context) -> str:
        if scalar.text not in self.words:
            raise ConfigError(
                f"{shown(scalar.text)} is not known here", hint=suggestion(scalar.text, self.words)
            )
        return scalar.text


@dataclass(frozen=True, slots=True)
class Format(Itself):
    """The name of a log format that can be followed."""

    name: ClassVar[str] = "name of a format"

    def read(self, scalar: Scalar, context: Context) -> str:
        if scalar.text not in context.formats:
            raise ConfigError(
                f"{shown(scalar.text)} is no format that can be followed",
                hint=suggestion(scalar.text, context.formats),
            )
        return scalar.text


@dataclass(frozen=True, slots=True)
class Whole(Itself):
    """A whole number within bounds."""

    least: int
    most: int

    @property
    def name(self) -> str:
        return f"whole number from {self.least:,} to {self.most:,}"

    def read(self, scalar: Scalar, _: Context) -> int:
        hint = f"it is a {self.name}" + (", without quotes" if scalar.quoted else "")
        if scalar.quoted or not re.fullmatch(r"(0|[1-9][0-9_]{0,20})", scalar.text):
            raise ConfigError(f"{shown(scalar.text)} is not a whole number", hint=hint)
        value = int(scalar.text.replace("_", ""))
        if not self.least <= value <= self.most:
            raise ConfigError(f"{shown(scalar.text)} is out of range", hint=hint)
        return value


@dataclass(frozen=True, slots=True)
class Seconds(Itself):
    """A short time: a number of seconds, or a whole number with a unit."""

    least: float
    most: float

    @property
    def name(self) -> str:
        return f"seconds from {self.least:,g} to {self.most:,.0f}, also as 30s, 2m"

    def read(self, scalar: Scalar, _: Context) -> float:
        span = _SPAN.fullmatch(scalar.text)
        if span:
            value = float(int(span[1]) * _SECONDS[span[2]])
        elif not scalar.quoted and re.fullmatch(r"[0-9]{1,12}(\.[0-9]*)?(e-?[0-9]+)?", scalar.text):
            value = float(scalar.text)
        else:
            raise ConfigError(f"{shown(scalar.text)} is not a time", hint=f"it is {self.name}")
        if not (math.isfinite(value) and self.least <= value <= self.most):
            raise ConfigError(f"{shown(scalar.text)} is out of range", hint=f"it is {self.name}")
        return value

    def plain(self, value: float) -> float | int:
        return int(value) if value == int(value) else value


@dataclass(frozen=True, slots=True)
class Days:
    """A long time: a whole number with a unit, a day at least."""

    name: ClassVar[str] = "time of a day or more such as 36h, 30d, 52w"

    def read(self, scalar: Scalar, _: Context) -> timedelta:
        span = _SPAN.fullmatch(scalar.text)
        if span is None:
            raise ConfigError(
                f"{shown(scalar.text)} is not a time",
                hint=f"did you mean '{scalar.text}d'?" if scalar.text.isdecimal() else _UNITS,
            )
        seconds = int(span[1]) * _SECONDS[span[2]]
        if not timedelta(days=1).total_seconds() <= seconds <= _LONGEST.total_seconds():
            raise ConfigError(f"{shown(scalar.text)} is out of range", hint="from 1d to 36500d")
        return timedelta(seconds=seconds)

    def plain(self, value: timedelta) -> str:
        seconds = int(value.total_seconds())
        unit = next(unit for unit in "dhms" if seconds % _SECONDS[unit] == 0)
        return f"{seconds // _SECONDS[unit]}{unit}"


_UNITS: Final = "a whole number and one of s, m, h, d, w, such as 30d"


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes: a whole number with a unit."""

    least: int

    name: ClassVar[str] = "size such as 50GB, 500MiB"

    def read(self, scalar: Scalar, _: Context) -> int:
        hint = f"a whole number and one of {', '.join(_BYTES)}, such as 50GB"
        found = _SIZE.fullmatch(scalar.text)
        units = {unit.lower(): factor for unit, factor in _BYTES.items()}
        if found is None or found[2].lower() not in units:
            raise ConfigError(f"{shown(scalar.text)} is not a size", hint=hint)
        value = int(found[1]) * units[found[2].lower()]
        if not self.least <= value <= _LARGEST:
            raise ConfigError(
                f"{shown(scalar.text)} is out of range", hint=f"at least {self.plain(self.least)}"
            )
        return value

    def plain(self, value: int) -> str:
        unit = max((unit for unit in _BYTES if value % _BYTES[unit] == 0), key=lambda u: _BYTES[u])
        return f"{value // _BYTES[unit]}{unit}"


@dataclass(frozen=True, slots=True)
class Zone(Itself):
    """An IANA time zone."""

    name: ClassVar[str] = "time zone such as Europe/Berlin"

    def read(self, scalar: Scalar, _: Context) -> str:
        try:
            zoneinfo.ZoneInfo(scalar.text)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            if scalar.text == "UTC":  # known even where no zones are installed
                return scalar.text
            near = get_close_matches(scalar.text[:80], _zones(), n=1)
            raise ConfigError(
                f"unknown time zone {shown(scalar.text)}",
                hint=f"did you mean {near[0]!r}?" if near else "such as UTC or Europe/Berlin",
            ) from None
        return scalar.text


@functools.cache
def _zones() -> list[str]:
    return sorted(zoneinfo.available_timezones())


@dataclass(frozen=True, slots=True)
class Network(Itself):
    """An address or network, kept in CIDR notation."""

    name: ClassVar[str] = "network such as 192.168.0.0/16"

    def read(self, scalar: Scalar, _: Context) -> str:
        try:
            return str(ipaddress.ip_network(scalar.text.strip(), strict=False))
        except ValueError:
            raise ConfigError(
                f"{shown(scalar.text)} is not a network",
                hint="write an address or a network such as 192.168.0.0/16 or 2001:db8::/32",
            ) from None


@dataclass(frozen=True, slots=True)
class Address(Itself):
    """An address of this machine to listen on."""

    name: ClassVar[str] = "IP address"

    def read(self, scalar: Scalar, _: Context) -> str:
        try:
            return str(ipaddress.ip_address(scalar.text))
        except ValueError:
            raise ConfigError(
                f"{shown(scalar.text)} is not an IP address",
                hint="127.0.0.1 for this machine only, 0.0.0.0 for all its networks",
            ) from None


@dataclass(frozen=True, slots=True)
class File:
    """A file or folder, made absolute. words: that stand for themselves."""

    words: tuple[Path, ...] = ()

    name: ClassVar[str] = "path"

    def read(self, scalar: Scalar, context: Context) -> Path:
        if any(scalar.text == str(word) for word in self.words):
            return Path(scalar.text)
        return Path(_absolute(scalar.text, context.folder, pattern=False))

    def plain(self, value: Path) -> str:
        return str(value) if value in self.words else _escaped(str(value))


@dataclass(frozen=True, slots=True)
class Pattern:
    """A path or pattern of paths, made absolute. words: that stand for themselves. names: without
    a slash it is the pattern of a name, in whatever folder."""

    words: tuple[str, ...] = ()
    names: bool = False

    name: ClassVar[str] = "path or pattern"

    def read(self, scalar: Scalar, context: Context) -> str:
        if scalar.text in self.words:
            return scalar.text
        if self.names and "/" not in _expanded(scalar.text):
            return _checked(_expanded(scalar.text))
        return _absolute(scalar.text, context.folder, pattern=True)

    def plain(self, value: str) -> str:
        return value if value in self.words else _escaped(value)


def _absolute(text: str, folder: Path, *, pattern: bool) -> str:
    """The path meant, with its variables and `~`; what is relative is so to `folder`, whose own
    name is no pattern."""
    path = _checked(_expanded(text))
    if path.split("/", 1)[0].startswith("~"):
        try:
            path = str(Path(path).expanduser())
        except RuntimeError:
            raise ConfigError(
                f"no home folder is known for {shown(path.split('/', 1)[0])}"
            ) from None
    if pattern and re.search(r"[*?[]", path) and not Path(path).is_absolute():
        return str(Path(re.sub(r"([*?[])", r"[\1]", str(folder))) / path)
    return str(folder / path)


def _checked(path: str) -> str:
    if not path:
        raise ConfigError("an empty path", hint="'.' is the folder of this file")
    try:
        if b"\0" not in os.fsencode(path):
            return path
    except UnicodeEncodeError:
        pass
    raise ConfigError("holds a character that no path can have")


def _expanded(text: str) -> str:
    """`text` with `${NAME}` replaced by that environment variable; `$${` is `${`."""

    def value(found: re.Match[str]) -> str:
        if found[0].startswith("$$"):
            return found[0][1:]
        name = found[1]
        if not os.environ.get(name):
            raise ConfigError(
                f"the environment variable {shown(name)} is not set",
                hint="set it, or write $${ for these two characters",
            )
        return os.environ[name]

    return _VARIABLE.sub(value, text)


def _escaped(path: str) -> str:
    return _VARIABLE.sub(lambda found: f"${found[0]}", path)
