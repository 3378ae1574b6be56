"""`kill -9` at any moment, while logs are written and logrotate rotates them, changes nothing.

CONNWATCH_KILLS says how many kills, CONNWATCH_KILL_MINUTES how long it may go on; `make crash` asks
for 1,000 and keeps what comes out.
"""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from crash.lane import Lane, Result
from crash.needs import need_logrotate

#: lines that one log is written in for each kill, at the most
_LINES = 4_000


def test_nothing_is_lost_or_doubled_by_kills(tmp_path: Path) -> None:
    need_logrotate()
    kills = int(os.environ.get("CONNWATCH_KILLS", "50"))
    seconds = 60 * float(os.environ.get("CONNWATCH_KILL_MINUTES", "inf"))
    each = -(-kills // 2)
    number = min(_LINES * each, 1_000_000)
    lanes = [
        Lane(tmp_path / "one", {"a": "create-compress-delayed", "b": "copytruncate"}, 1, number),
        Lane(
            tmp_path / "two",
            {"a": "create-compress", "b": "copytruncate-compress"},
            2,
            number,
            batch=37,
        ),
    ]
    begun = time.monotonic()
    with ThreadPoolExecutor(len(lanes)) as pool:
        results = list(pool.map(lambda lane: lane.run(each, seconds), lanes))
    _tell(results, time.monotonic() - begun)
    for result in results:
        assert result.is_whole, result
        assert result.rotations > 0, result


def _tell(results: list[Result], seconds: float) -> None:
    """What came out, for who asked for it."""
    place = os.environ.get("CONNWATCH_CRASH_RESULT")
    told = json.dumps({"seconds": round(seconds), "lanes": [asdict(one) for one in results]})
    print(told)
    if place:
        Path(place).write_text(told + "\n")
