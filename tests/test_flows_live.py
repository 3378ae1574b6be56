"""Text of tcpdump that is followed: flows are those of a replay, whatever is read and saved when."""

from __future__ import annotations

import pytest
from growing import GROWING, Steps, grown, steps
from hypothesis import given
from support import ordered
from test_flows import tcp, udp

#: long flows begin before short ones that end first, and two-hour silences put records in doubt
DUMP = "".join(
    f"{line}\n"
    for line in (
        *tcp(">S,100 <S.,900,101 >.,,1 >P.,1:11,1/10"),
        udp(1, "10.0.0.1.9000", "10.0.0.2.9001"),
        udp(2, "10.0.0.3.9000", "10.0.0.2.9001"),
        udp(70, "10.0.0.4.9000", "10.0.0.2.9001"),
        *(udp(n * 50, "10.0.0.1.9000", "10.0.0.2.9001") for n in range(2, 9)),
        udp(9000, "10.0.0.5.9000", "10.0.0.2.9001"),
        udp(9001, "10.0.0.6.9000", "10.0.0.2.9001"),
        udp(20000, "10.0.0.5.9000", "10.0.0.2.9001"),
        udp(20100, "10.0.0.5.9000", "10.0.0.2.9001"),
    )
).encode()


@GROWING
@given(steps=steps(3))
def test_a_dump_that_grows_gives_the_flows_that_its_replay_does(
    tmp_path_factory: pytest.TempPathFactory, steps: Steps
) -> None:
    path = tmp_path_factory.mktemp("live") / "dump.txt"
    made = grown(path, DUMP, 400, steps)
    whole, _, _ = ordered([path])
    assert made.height == 9
    assert made["event.id"].to_list() == whole["event.id"].to_list()
