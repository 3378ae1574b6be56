"""The command line: arguments in, exit code out. Nothing is decided here."""

from __future__ import annotations

import sys

import click

import connwatch
from connwatch.errors import ConnwatchError
from connwatch.reference import schema_markdown


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """Read network connection logs, match rules against them, and keep what was found."""


@commands.command()
def version() -> None:
    """Print the version."""
    click.echo(f"connwatch {connwatch.__version__}")


@commands.command()
def schema() -> None:
    """Print every column of an event: type, unit, meaning, and what null means."""
    click.echo(schema_markdown(), nl=False)


def main() -> None:
    """Entry point of the `connwatch` command."""
    try:
        commands(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except ConnwatchError as error:
        click.echo(f"connwatch: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
