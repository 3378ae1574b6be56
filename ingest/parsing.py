"""A block through its format, whatever it holds."""

from __future__ import annotations

from typing import TypeVar

from connwatch.contracts import Block, Format, Parsed
from connwatch.schema import empty

from .rejects import reject_rows, text

State = TypeVar("State")


def parsed(one: Format[State], block: Block, state: State) -> tuple[Parsed, State]:
    """What a format makes of a block; the beginning of an overlong line is a reject."""
    if not block.overlong:
        return one.parse(block, state)
    rejects = reject_rows(
        path=block.path,
        line=[block.line],
        offset=[block.offset],
        format_name=one.name,
        field=[None],
        reason=["is longer than a line may be (1 MiB)"],
        raw=[text(block.data)],
    )
    return Parsed(empty(), rejects, 1, 0, 0), state
