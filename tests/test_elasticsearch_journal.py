"""A run that keeps no store, killed while it sends: the server has what a run with a store has."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from elastic import Elastic
from elastic_sent import configured, documents, followed, same
from live_support import header, lines

from connwatch.cli import run as command
from connwatch.sinks.embedded import EmbeddedStore

#: seconds; the first records are of two years before the others of these tests
_APART = 3 * 86_400.0
_FIRST = -2 * 365 * 86_400.0


@pytest.mark.slow
def test_a_run_without_a_store_is_killed_while_it_sends(
    elasticsearch: Elastic, tmp_path: Path
) -> None:
    """Records of twelve days; of what is old and acknowledged nothing is left here."""
    whole = configured(tmp_path, elasticsearch)
    config = tmp_path / "none.yml"
    config.write_text(whole.read_text().replace("store: store", "store: none\njournal: journal"))
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "conn.log"
    log.write_bytes(header())
    made = [
        line for part in range(4) for line in lines(1_500, part + 1, start=_FIRST + part * _APART)
    ]
    chance = random.Random(3)
    for part in range(4):
        with followed(config), log.open("ab") as out:
            for start in range(part * 1_500, (part + 1) * 1_500, 150):
                out.write(b"".join(made[start : start + 150]))
                out.flush()
                time.sleep(chance.random() / 4)
    with log.open("ab") as out:
        out.write(b"".join(lines(20, 9, start=_FIRST + 4 * _APART)))
    for _ in range(2):  # the second lets go of what the first had sent at its very end
        with followed(config, "--until-idle", "2") as last:
            _, said = last.communicate(timeout=120)
            assert last.returncode == 0, said
    kept = tmp_path / "kept.yml"
    kept.write_text(whole.read_text().partition("elasticsearch:")[0])
    assert command(["run", "-c", str(kept), "--until-idle", "1"]) == 0
    assert same(elasticsearch, tmp_path / "store") == 6_020
    journal = tmp_path / "journal"
    with EmbeddedStore(journal) as opened:
        outbox = opened.open_outbox(1)
        assert (outbox.rows, outbox.alerts) == (0, 0)
        left = opened.database.execute("SELECT count(*) FROM alerts").fetchone()[0]
    assert left < len(documents(elasticsearch, "alerts")) / 20
    assert not (journal / "events").exists()
    size, full = (
        sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for folder in (journal, tmp_path / "store")
    )
    assert size < full / 5
