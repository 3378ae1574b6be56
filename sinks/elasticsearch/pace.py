"""How fast a server can be written to: requests at once, bytes of each, pauses after failures.

Requests at once grow by one for each full round that went well, and are halved when the server has
too much to do or does not answer in time; pauses double. What the server says of pauses
(Retry-After) and of sizes (413) is kept to.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from connwatch.errors import ServerAwayError, ServerError, ServerLockedError

from .bulk import Outcome

#: a request is not made shorter than this for want of an answer, bytes
_SHORTEST: Final = 64_000


@dataclass(frozen=True, slots=True)
class Retrying:
    """How long a failure is put up with.

    first and longest: pauses between attempts, in seconds; each is twice the one before, and
    shortened by up to a half at random. attempts: answers in a row that somebody must do something
    about (rights, certificates, what is not Elasticsearch) after which sending ends; patience:
    seconds in which nothing was taken, for whatever reason, after which it does. None: never.
    """

    first: float = 0.5
    longest: float = 60.0
    attempts: int | None = None
    patience: float | None = None

    def pause(self, failures: int) -> float:
        """Before the attempt that follows so many failures, seconds."""
        if failures <= 0:
            return 0.0
        whole = min(self.longest, self.first * 2.0 ** min(failures - 1, 60))
        return whole * random.uniform(0.5, 1.0)  # noqa: S311  nobody's secret


class Pace:
    """What the answers so far say. Times are of `time.monotonic`.

    requests: at once, at most. limit: bytes of a request, at most. nodes: how many there are; when
    one does not answer the next is asked at once.
    """

    def __init__(self, retrying: Retrying, requests: int, limit: int, nodes: int = 1) -> None:
        self.retrying = retrying
        self.most = requests
        self.window = float(min(2, requests))
        self.limit = self.ceiling = limit
        self.nodes = nodes
        self.failures = 0
        self.helpless = 0
        self.until = 0.0
        self.progress = 0.0
        self.trouble: ServerError | None = None
        #: when it was last slowed down: requests that were begun before tell nothing new
        self._halved = self._shortened = self._failed = 0.0

    def begin(self, now: float) -> None:
        """A new send: patience begins anew, what is known of the server stays."""
        self.progress = now
        self.helpless = 0

    @property
    def requests(self) -> int:
        """How many may be under way: one, as long as it is not known whether the server is back."""
        return 1 if self.failures else int(self.window)

    def learn(
        self, outcome: Outcome, size: int, started: float, now: float, *, left: bool = False
    ) -> None:
        """What an answer says. size: of the request, in bytes; started: when it was sent. left:
        what waits for its own index is left, so that others need not wait."""
        if outcome.too_long:
            self.ceiling = self.limit = max(1, min(self.limit, size // 2))
        if outcome.busy and started >= self._halved:
            self.window, self._halved = max(1.0, self.window / 2), now
        if outcome.cut and started >= self._shortened:
            shorter = max(_SHORTEST, min(self.limit, size) // 2)
            self.limit, self._shortened = min(self.limit, shorter), now
        if outcome.trouble is None and outcome.divide is None:
            self.window = min(float(self.most), self.window + 1 / self.window)
            self.limit = min(self.ceiling, self.limit * 2)
        if outcome.final or outcome.divide is not None or left:
            self.failures = self.helpless = 0
            self.progress = now
        self.trouble = None if left else outcome.trouble
        if self.trouble is not None and outcome.trouble is not None and not outcome.final:
            self._fail(outcome.trouble, outcome.after, started, now)

    def _fail(self, trouble: ServerError, after: float, started: float, now: float) -> None:
        if started >= self._failed:
            self.failures, self._failed = self.failures + 1, now
            if not isinstance(trouble, (ServerAwayError, ServerLockedError)):
                self.helpless += 1
            others = self.nodes - 1 if isinstance(trouble, ServerAwayError) else 0
            self.until = max(self.until, now + self.retrying.pause(self.failures - others))
        self.until = max(self.until, now + after)

    def over(self, now: float) -> bool:
        """Whether it is time to give up."""
        attempts, patience = self.retrying.attempts, self.retrying.patience
        if attempts is not None and self.helpless >= attempts:
            return True
        return patience is not None and bool(self.trouble) and now - self.progress >= patience
