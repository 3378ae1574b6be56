"""Blocks through their format, whatever they hold."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, TypeVar

from connwatch.contracts import Block, Format, Parsed, Stepped
from connwatch.schema import empty
from connwatch.stages import ahead

from .rejects import reject_rows, text

State = TypeVar("State")


def parsed(one: Format[State], block: Block, state: State) -> tuple[Parsed, State]:
    """What a format makes of a block; the beginning of an overlong line is a reject."""
    return (_overlong(one, block), state) if block.overlong else one.parse(block, state)


def each_parsed(
    one: Format[State], blocks: Iterator[Block], state: State
) -> Generator[Parsed, None, None]:
    """The same of each block of a file. Where the format has two steps, blocks are read further
    ahead, and the first step is done in a thread of its own."""
    if not isinstance(one, Stepped):
        for block in blocks:
            made, state = parsed(one, block, state)
            yield made
        return
    with closing(ahead(_begun(one, blocks, state), 1)) as begun:
        for block, found in begun:
            if block.overlong:
                yield _overlong(one, block)
            else:
                made, state = one.second(block, found, state)
                yield made


def _begun(
    one: Stepped[State], blocks: Iterator[Block], state: State
) -> Iterator[tuple[Block, Any]]:
    for block in blocks:
        found = None
        if not block.overlong:
            found, state = one.first(block, state)
        yield block, found


def _overlong(one: Format[State], block: Block) -> Parsed:
    rejects = reject_rows(
        path=block.path,
        line=[block.line],
        offset=[block.offset],
        format_name=one.name,
        field=[None],
        reason=["is longer than a line may be (1 MiB)"],
        raw=[text(block.data)],
    )
    return Parsed(empty(), rejects, 1, 0, 0)
