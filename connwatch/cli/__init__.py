"""The command line: arguments in, exit code out. Nothing is decided here.

Exit codes: 0 done; 1 alerts at or above --fail-on, --check found a difference, or lint a warning;
2 wrong use, configuration or rule; 3 an input or the store failed. A reader that closes the pipe,
and Ctrl-C, end the command quietly (141 and 130, as a shell would report the signals).
"""

from __future__ import annotations

import os
import sys

import click

from connwatch.cli.alerts import alerts
from connwatch.cli.common import complain, say
from connwatch.cli.config import config
from connwatch.cli.copy import copy
from connwatch.cli.dead_letters import dead_letters
from connwatch.cli.elasticsearch import elasticsearch
from connwatch.cli.evaluate import evaluate
from connwatch.cli.explain import explain
from connwatch.cli.indicators import indicators
from connwatch.cli.processes import flow, process
from connwatch.cli.reconcile import reconcile
from connwatch.cli.reference import schema, version
from connwatch.cli.replay import replay
from connwatch.cli.rules import rules
from connwatch.cli.rules_lint import lint
from connwatch.cli.run import reload, status, tail
from connwatch.cli.run import run as follow
from connwatch.cli.search import search
from connwatch.cli.sockets import sockets
from connwatch.cli.store import formats, rejects, store
from connwatch.errors import ConnwatchError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """Read network connection logs, match rules against them, and keep what was found."""


for command in (
    replay, follow, tail, status, reload, search, sockets, alerts, explain,
    process, flow, reconcile, rules, indicators, evaluate,
    store, copy, elasticsearch, dead_letters, rejects, config, formats, schema, version,
):  # fmt: skip
    commands.add_command(command)
rules.add_command(lint)


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
