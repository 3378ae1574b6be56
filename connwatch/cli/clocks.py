"""Clocks of hosts on the command line, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import click

from connwatch.attribution import Offset
from connwatch.attribution.questions import Clocks
from connwatch.cli.common import say
from connwatch.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

_MEASURED: Final = "measured"
_SECOND: Final = 1_000_000
#: years that a clock may be off: more is a mistake
_MOST: Final = 100 * 366 * 86_400


def clock_option(command: Command) -> Command:
    """--clock-offset, several times."""
    return click.option(
        "--clock-offset",
        "offsets",
        multiple=True,
        metavar="[HOST=]SECONDS|measured",
        help="Add this to the times of snapshots (of this host), where clocks are apart; "
        "'measured' finds out how much.",
    )(command)


def clocks(offsets: Iterable[str]) -> Clocks:
    """What --clock-offset says. UsageError: it says no number."""
    given: dict[str, int] = {}
    measure = False
    for text in offsets:
        host, _, number = text.rpartition("=")
        if number == _MEASURED and not host:
            measure = True
            continue
        try:
            seconds = float(number)
        except ValueError:
            seconds = _MOST + 1
        if not abs(seconds) <= _MOST:
            raise UsageError(
                f"{text!r} is no number of seconds",
                where="--clock-offset",
                hint="write -3.5, ws=3600, or measured",
            )
        given[host] = round(seconds * _SECOND)
    return Clocks(given, measure)


def tell_offsets(found: Iterable[Offset], used: Clocks) -> None:
    """Say which clocks seem to be apart, and whether that was set right."""
    for one in found:
        if not one.told or one.host in used.given or (not used.measure and "" in used.given):
            continue
        seconds = f"{one.offset / _SECOND:+.3f} s"
        fits = f"{one.fits} of {one.sockets} sockets fit then, {one.as_is} as it is"
        if used.measure:
            say(f"clock of {one.host}: {seconds} ({fits})")
        else:
            say(f"the clock of {one.host} seems to be off: {seconds} ({fits})")
            given = f"{one.host}={one.offset / _SECOND:.3f}"
            say(f"  --clock-offset {given} or --clock-offset measured sets it right")
