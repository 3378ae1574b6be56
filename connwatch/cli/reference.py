"""`connwatch schema` and `connwatch version`: what this program is and what its columns mean."""

from __future__ import annotations

import click

import connwatch
from connwatch.reference import schema_markdown


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(f"connwatch {connwatch.__version__}")


@click.command()
def schema() -> None:
    """Print every column of an event: type, unit, meaning, and what null means."""
    click.echo(schema_markdown(), nl=False)
