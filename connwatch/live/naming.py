"""Looking for the processes behind alerts while a run follows logs, in background."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

from connwatch.attribution.naming import name_some
from connwatch.errors import StoreError
from connwatch.sinks.embedded import EmbeddedStore

#: seconds between two rounds, at least
_PAUSE: Final = 2.0
#: a round costs at most one part in this of the time, and begins nothing after so many seconds; the
#: last one, when the run ends, after so many
_SHARE: Final = 20
_ROUND: Final = 2.0
_LAST: Final = 1.0
#: alerts that are looked at together
_PAGE: Final = 500
#: seconds between two tries after an error, at most
_LONGEST: Final = 60.0


@dataclass(slots=True)
class Naming:
    """A thread that writes processes into alerts until `close`. What it does not come to waits in
    the store, for its next round or for the next run. An error is kept, and the round tried again:
    it never ends the run, which meets what is wrong with the store by itself.

    looked: alerts looked at since the start, one as often as something new was there. seconds: that
    all rounds took. error: why it does not go on at the moment.
    """

    store: EmbeddedStore
    looked: int = 0
    seconds: float = 0.0
    error: str | None = None
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="naming", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after a last round."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def measures(self) -> dict[str, Any]:
        """For the status."""
        return {"looked": self.looked, "seconds": round(self.seconds, 3), "error": self.error}

    def _run(self) -> None:
        pause = _PAUSE
        while not self._end.wait(pause):
            took = self._round(_ROUND)
            pause = min(_LONGEST, 2 * pause) if self.error else max(_PAUSE, _SHARE * took)
        self._round(_LAST)

    def _round(self, seconds: float) -> float:
        """Look at what waits, page by page; how many seconds that took."""
        begun = time.monotonic()
        took = 0.0
        try:
            while took < seconds and (looked := name_some(self.store, _PAGE)):
                self.looked += looked
                took = time.monotonic() - begun
            self.error = None
        except (StoreError, OSError) as error:
            self.error = str(error)
        took = time.monotonic() - begun
        self.seconds += took
        return took
