"""`connwatch config`: check, show and begin a configuration of `connwatch run`."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from connwatch.cli.common import out, say
from connwatch.config import STDIN, Config, first_file, load, markdown, plain, to_yaml
from connwatch.detectors.indicators import Lists
from connwatch.detectors.ruleset import RuleSet, load_rules
from connwatch.detectors.sigma.documents import rule_files
from connwatch.errors import ConfigError, ConfigFaultsError, ConnwatchError, UsageError
from connwatch.ingest.formats import FORMATS
from connwatch.pipeline import bundled_rules
from connwatch.render import number, safe, safe_lines, to_json
from connwatch.retro import with_lists

Command = TypeVar("Command", bound=Callable[..., Any])


def config_option(command: Command) -> Command:
    """-c FILE, the configuration."""
    return click.option(
        "-c",
        "--config",
        "path",
        required=True,
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="The configuration file.",
    )(command)


def read_config(path: Path) -> Config:
    """The configuration in a file. ConfigError."""
    return load(path, formats=list(FORMATS))


def configured_rules(config: Config) -> RuleSet:
    """The rules that a configuration names, its indicators among them. Rules that cannot be used
    are in `errors`. RuleError for a path that does not exist, InputError for an unreadable list."""
    return with_lists(load_rules(config.rule_paths(bundled_rules())), config.indicators)


@click.group()
def config() -> None:
    """Check, show and begin the configuration of a live run."""


@config.command()
@config_option
def check(path: Path) -> int:
    """Say what is wrong with a configuration and the rules it names; exit 2 if anything is.

    Sources whose paths match nothing now are noted: their files may come later.
    """
    try:
        read = read_config(path)
    except ConfigFaultsError as told:
        _tell(told)
        return _failed(len(told.faults))
    except ConfigError as fault:
        _tell(fault)
        return _failed(1)
    faults, rules = _used(read)
    for one in (*faults, *rules.errors):
        _tell(one)
    for rule in rules.unfed:
        out(safe(f"note: {rule.where}: {rule.title}: {rule.reason}"))
    for text in _unmatched(read):
        out(safe(f"note: {text}: matches nothing now"))
    if faults or rules.errors:
        return _failed(len(faults) + len(rules.errors))
    out(f"ok: {_many(len(read.sources), 'source')}, {_many(len(rules.running), 'rule')}")
    return 0


@config.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print it as a JSON document.")
def show(path: Path, as_json: bool) -> None:
    """Print what a configuration comes to: every key, with its default where the file has none.

    The output is a configuration of the same meaning.
    """
    read = read_config(path)
    click.echo(to_json(plain(read), indent=2) + "\n" if as_json else to_yaml(read), nl=False)


@config.command()
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file; without it, to standard output.",
)
@click.option("--force", is_flag=True, help="Overwrite the file.")
def init(output: Path | None, force: bool) -> None:
    """Write a configuration to begin with: every key is in it, with its default as a comment."""
    if output is None:
        click.echo(first_file(), nl=False)
        return
    try:
        with output.open("w" if force else "x", encoding="utf-8") as file:
            file.write(first_file())
    except FileExistsError:
        raise UsageError(
            "is there already", where=str(output), hint="--force overwrites it"
        ) from None
    say(f"{output}: set the paths of the sources, then: connwatch config check -c {output}")


@config.command()
def keys() -> None:
    """Print every key as the Markdown tables of docs/configuration.md."""
    click.echo(markdown(), nl=False)


def _used(read: Config) -> tuple[list[ConnwatchError], RuleSet]:
    """What is wrong with the rules and lists that a configuration names, each path by itself, and
    the rules that were found."""
    faults: list[ConnwatchError] = []

    def sound(use: Callable[[Path], object], path: Path) -> bool:
        try:
            use(path)
        except ConnwatchError as error:
            faults.append(error)
            return False
        return True

    paths = [
        path for path in read.rule_paths(bundled_rules()) if sound(lambda p: rule_files([p]), path)
    ]
    lists = [path for path in read.indicators if sound(lambda p: Lists([p]), path)]
    for path in read.allow:
        sound(lambda p: Lists([p]), path)
    if read.elasticsearch.named:
        # Loaded when it is needed: the client takes half a second.
        from connwatch.elastic import connection_settings

        try:
            connection_settings(read.elasticsearch)
        except ConnwatchError as error:
            faults.append(error)
    return faults, with_lists(load_rules(paths), lists)


def _tell(error: ConnwatchError) -> None:
    out(safe_lines(str(error)))


def _failed(faults: int) -> int:
    out(f"failed: {_many(faults, 'fault')}")
    return 2


def _many(count: int, what: str) -> str:
    return f"{number(count)} {what}{'' if count == 1 else 's'}"


def _unmatched(read: Config) -> Iterator[str]:
    """Sources that lead to no file or program at present."""
    for source in read.sources:
        path = source.path
        if path is None:
            if shutil.which(source.command[0]) is None:
                yield source.name
        elif path != STDIN and not os.path.lexists(path):
            matches = glob.iglob(path, recursive=True, include_hidden=True)  # noqa: PTH207
            if next(matches, None) is None:
                yield path
