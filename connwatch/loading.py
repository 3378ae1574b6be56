"""Loading without looking for rubbish: what is loaded stays, and going through it again and again
takes longer than loading it."""

from __future__ import annotations

import gc


def begin() -> None:
    """Let nothing be looked through until `end`."""
    gc.disable()


def end(*, lasting: bool = False) -> None:
    """What is there now stays: look for rubbish in what comes from now on. Nothing without
    `begin`. lasting: for months, so that what loading left behind is to go first."""
    if not gc.isenabled():
        if lasting:
            gc.collect()
        gc.freeze()
        gc.enable()
