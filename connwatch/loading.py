"""Loading without looking for rubbish: what is loaded stays, and going through it again and again
takes longer than loading it."""

from __future__ import annotations

import gc


def begin() -> None:
    """Let nothing be looked through until `end`."""
    gc.disable()


def end() -> None:
    """What is there now stays: look for rubbish in what comes from now on. Nothing without
    `begin`."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
