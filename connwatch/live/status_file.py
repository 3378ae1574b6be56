"""`status.json` beside the catalogue, by which a live run tells other processes how it is."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from connwatch.errors import StoreError

NAME: Final = "status.json"
#: bytes: what a disk gives at once; what a status may grow by and still fit where the last one is
_BLOCK: Final = 4_096
_SPARE: Final = 2_048
#: times that a status is read before it is said to be none
_TRIES: Final = 10


def write_status(folder: Path, document: Mapping[str, object]) -> None:
    """Put a status where another process finds it; on a disk without room, in the place of the last
    one. StoreError when that does not work either."""
    place = folder / NAME
    temporary = place.with_suffix(".part")
    try:
        temporary.write_bytes(_padded(document))
        temporary.replace(place)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if not _overwritten(place, document):
            reason = f"status cannot be written: {error.strerror}"
            raise StoreError(reason, where=str(place)) from error


def read_status(folder: Path) -> dict[str, Any]:
    """What the live run of a store wrote last. StoreError when there is none."""
    for _ in range(_TRIES):
        try:
            return _status_in(folder)
        except ValueError as error:  # it may just be written
            last = error
            time.sleep(0.02)
    raise StoreError(f"the status cannot be read: {last}", where=str(folder / NAME))


def _status_in(folder: Path) -> dict[str, object]:
    try:
        found = json.loads((folder / NAME).read_bytes())
    except FileNotFoundError:
        raise StoreError(
            "nothing has followed logs into this store",
            where=str(folder),
            hint="start `connwatch run -c FILE`, or name its store with --store",
        ) from None
    except OSError as error:
        raise StoreError(f"the status cannot be read: {error}", where=str(folder / NAME)) from error
    if not isinstance(found, dict):
        raise StoreError("the status is not one", where=str(folder / NAME))
    return found


def _padded(document: Mapping[str, object]) -> bytes:
    """With room for another one in the same blocks of the disk, see `_overwritten`."""
    text = json.dumps(document).encode()
    return text.ljust(-(-(len(text) + _SPARE) // _BLOCK) * _BLOCK)


def _overwritten(place: Path, document: Mapping[str, object]) -> bool:
    """Put a status in the place of the one that is there, which takes no room on a full disk; of
    a long one, what matters most. Whether that worked."""
    short = {**document, "sources": [], "errors": [], "problems": [], "skipped": {}}
    try:
        with place.open("r+b", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            for one in (document, short):
                text = json.dumps(one).encode()
                if len(text) <= size:
                    return file.write(text.ljust(size)) == size
    except OSError:
        return False
    return False
