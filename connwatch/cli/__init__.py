"""The command line: arguments in, exit code out. Nothing is decided here.

Exit codes: 0 done; 1 alerts at or above --fail-on, --check found a difference, or lint a warning;
2 wrong use, configuration or rule; 3 an input or the store failed. A reader that closes the pipe,
and Ctrl-C, end the command quietly (141 and 130, as a shell would report the signals).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Final

import click

from connwatch import loading
from connwatch.cli.common import complain, say
from connwatch.errors import ConnwatchError

#: commands by the module that they are in
_MODULES: Final = {
    "alerts": ("alerts",),
    "config": ("config",),
    "copy": ("copy",),
    "dead_letters": ("dead-letters",),
    "elasticsearch": ("elasticsearch",),
    "evaluate": ("evaluate",),
    "explain": ("explain",),
    "follow": ("reload", "run", "status", "tail"),
    "indicators": ("indicators",),
    "processes": ("flow", "process"),
    "reconcile": ("reconcile",),
    "reference": ("schema", "version"),
    "replay": ("replay",),
    "rules": ("rules",),
    "search": ("search",),
    "sockets": ("sockets",),
    "store": ("formats", "rejects", "store"),
}
#: modules with commands that load more, and say themselves when all of it is there
_LOADING: Final = frozenset({"follow"})


class _Commands(Mapping[str, click.Command]):
    """The commands by name. A module is imported when one of its commands is asked for: to import
    all takes longer than most commands do."""

    def __init__(self) -> None:
        self._modules = {name: module for module, names in _MODULES.items() for name in names}

    def __getitem__(self, name: str) -> click.Command:
        module = import_module(f"connwatch.cli.{self._modules[name]}")
        # Polars, which is loaded now, lets whatever waits for a file, a thread or a server wait on.
        signal.siginterrupt(signal.SIGINT, True)
        if self._modules[name] not in _LOADING:
            loading.end()
        command: click.Command = getattr(module, name.replace("-", "_"))
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, commands=_Commands())
def commands() -> None:
    """Read network connection logs, match rules against them, and keep what was found."""


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    try:
        result = commands.main(arguments, prog_name="connwatch", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except ConnwatchError as error:
        complain(error, "connwatch: ")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # What is still in the buffer has no reader either: let the interpreter flush it to nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        # An output that cannot be written: a full disk, a folder that is not there.
        reason = error.strerror or str(error)
        say(f"connwatch: {error.filename or 'output'}: {reason}")
        return 3
    return result if isinstance(result, int) else 0
