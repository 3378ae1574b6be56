"""Every error that connwatch raises on purpose.

    ConnwatchError            something a user can act on; message says where, what, and what to do
    ├── UsageError            the command line asks for what cannot be (exit 2)
    │   ├── ConfigError       a configuration file or option value is wrong
    │   │   └── ConfigFaultsError all that is wrong with the values of one file
    │   ├── RuleError         a rule, field map or filter cannot be used
    │   └── QueryError        a KQL query or a time expression cannot be read
    ├── InputError            a source cannot be opened or read any further (exit 3)
    ├── StoreError            the store cannot be opened, written or read (exit 3)
    │   ├── StoreBusyError    another process is writing to it
    │   ├── StoreFullError    no space is left on the device
    │   └── StoreDamagedError what is on disk contradicts the catalogue
    └── ServerError           Elasticsearch cannot be used as it is (exit 3)
        ├── ServerAwayError   it does not answer, or not in time; later it may
        ├── ServerTrustError  the two sides of a TLS connection do not accept one another
        ├── ServerAccessError it does not know who asks, or does not allow it
        ├── ServerKindError   not Elasticsearch, or not a version that is supported
        └── ServerLockedError it takes no writes

Callers catch a branch. The command line turns a branch into an exit code (`exit_code`).
"""

from __future__ import annotations

from collections.abc import Sequence


class ConnwatchError(Exception):
    """Base of all errors of the product.

    `where` names the file, line or option (None: nowhere in particular), `hint` says what to do
    (None: nothing better to say than the message). `str()` gives all three, the hint on a line of
    its own.
    """

    exit_code = 3

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class UsageError(ConnwatchError):
    """The command line asks for what cannot be."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file or an option's value is wrong."""


class ConfigFaultsError(ConfigError):
    """All that is wrong with the values of one configuration file, as `faults`.

    complete: there is nothing else. `str()` gives them one after the other.
    """

    def __init__(self, faults: Sequence[ConfigError], *, complete: bool = True) -> None:
        rest = [] if complete else ["there may be more"]
        super().__init__("\n".join([*map(str, faults), *rest]))
        self.faults = tuple(faults)
        self.complete = complete


class RuleError(UsageError):
    """A rule, a field map or a filter cannot be used."""


class QueryError(UsageError):
    """A KQL query or a time expression cannot be read."""


class InputError(ConnwatchError):
    """A source cannot be opened or read any further."""


class StoreError(ConnwatchError):
    """The store cannot be opened, written or read."""


class StoreBusyError(StoreError):
    """Another process is writing to the store."""


class StoreFullError(StoreError):
    """No space is left where the store is kept."""


class StoreDamagedError(StoreError):
    """What is on disk contradicts the catalogue."""


class ServerError(ConnwatchError):
    """Elasticsearch cannot be used as it is. `where` is its address."""


class ServerAwayError(ServerError):
    """It does not answer, or not in time; later it may."""


class ServerTrustError(ServerError):
    """A certificate is not accepted, or there is no TLS where there should be."""


class ServerAccessError(ServerError):
    """The server does not know who asks (401), or does not allow it (403)."""


class ServerKindError(ServerError):
    """What answers is not Elasticsearch, or not a version that is supported."""


class ServerLockedError(ServerError):
    """The server takes no writes."""
