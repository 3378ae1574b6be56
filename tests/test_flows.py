"""Flows of what tcpdump prints: states, histories, sizes and ends as Zeek has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from support import parse

from connwatch.contracts import Block
from connwatch.ingest.flows.assemble import Assembler, State
from connwatch.ingest.formats import FORMATS
from connwatch.ingest.tcpdump.formats import TcpdumpFlows
from connwatch.ingest.tcpdump.packet import PACKET

BEGIN = datetime(2026, 11, 21, 7, 0, tzinfo=UTC)
A, B = "10.0.0.1.4000", "10.0.0.2.8443"
WEB = "10.0.0.2.443"


def line(after: float, source: str, target: str, rest: str) -> str:
    when = (BEGIN + timedelta(seconds=after)).strftime("%Y-%m-%d %H:%M:%S.%f")
    return f"{when} IP {source} > {target}: {rest}"


def tcp(spec: str, client: str = A, server: str = B) -> list[str]:
    """Packets of a connection, one a tenth of a second: > or <, flags, and what is printed behind
    them: `>S,100 <S.,900,101 >.,,1 >P.,1:11,1/10`."""
    made = []
    for number, word in enumerate(spec.split()):
        text, _, length = word[1:].partition("/")
        flags, seq, ack = (*text.split(","), "", "")[:3]
        rest = [
            f"Flags [{flags}]",
            *([f"seq {seq}"] if seq else []),
            *([f"ack {ack}"] if ack else []),
        ]
        ends = (client, server) if word[0] == ">" else (server, client)
        made.append(line(number / 10, *ends, f"{', '.join(rest)}, win 500, length {length or 0}"))
    return made


def flows(lines: list[str]) -> list[dict[str, Any]]:
    text = "".join(f"{one}\n" for one in lines).encode()
    made = parse(FORMATS["tcpdump"](""), text, path="dump.txt")
    assert made.rejects.is_empty()
    assert made.lines == made.record_lines
    return made.events.to_dicts()


def one(lines: list[str]) -> dict[str, Any]:
    (flow,) = flows(lines)
    return flow


OPEN = ">S,100 <S.,900,101 >.,,1"
STATES = {
    # an attempt, and how it can fail
    "S0": (">S,100", "S"),
    "REJ": (">S,100 <R.,0,101", "Sr"),
    "RSTOS0": (">S,100 >R,101", "SR"),
    "SH": (">S,100 >F.,1,1", "SF"),
    # established, and how it can end
    "S1": (f"{OPEN} >P.,1:11,1/10", "ShAD"),
    "SF": (f"{OPEN} >P.,1:11,1/10 <.,,11 >F.,11,1 <F.,1,12 >.,,2", "ShADaFf"),
    "S2": (f"{OPEN} >F.,1,1 <.,,2", "ShAFa"),
    "S3": (f"{OPEN} <F.,1,1 >.,,2", "ShAf"),
    "RSTO": (f"{OPEN} >R.,1,1", "ShAR"),
    "RSTR": (f"{OPEN} >P.,1:11,1/10 <R.,1,11", "ShADr"),
    "OTH": (">P.,500:510,900/10 <.,,11", "Da"),
}
ANSWERS = {
    # only what the server sent was seen
    "SHR": ("<S.,900,101 <F.,1,1", "^hf"),
    "RSTRH": ("<S.,900,101 <R.,1,1", "^hr"),
}


@pytest.mark.parametrize("state", STATES)
def test_state(state: str) -> None:
    spec, history = STATES[state]
    flow = one(tcp(spec))
    assert (flow["zeek.connection.state"], flow["zeek.connection.history"]) == (state, history)
    assert (flow["source.port"], flow["destination.port"]) == (4000, 8443)


@pytest.mark.parametrize("state", ANSWERS)
def test_the_port_tells_who_was_asked_where_only_the_answer_was_seen(state: str) -> None:
    spec, history = ANSWERS[state]
    flow = one(tcp(spec, server=WEB))
    # Zeek waits for the server to be heard before it says more than that nothing was.
    assert flow["zeek.connection.history"] == history
    assert flow["zeek.connection.state"] == state
    assert (flow["source.port"], flow["destination.port"]) == (4000, 443)
    assert (flow["source.packets"], flow["destination.packets"]) == (0, 2)


def test_a_syn_behind_its_answer_turns_the_roles() -> None:
    flow = one(tcp("<S.,900,101 >S,100 >.,,1"))
    assert flow["zeek.connection.history"] == "Hs^A"
    assert (flow["zeek.connection.state"], flow["source.port"]) == ("S1", 4000)


@pytest.mark.parametrize("seq", ["1:11", "101:111"], ids=["counted", "-S"])
def test_numbers_that_are_counted_and_those_that_are_not_mean_the_same(seq: str) -> None:
    low = 900 if seq.startswith("101") else 0
    flow = one(
        tcp(f">S,100 <S.,900,101 >.,,{low + 1} >P.,{seq},{low + 1}/10 >P.,{seq},{low + 1}/10")
    )
    assert flow["zeek.connection.orig_bytes"] == 10
    assert flow["zeek.connection.history"] == "ShADT"
    assert flow["source.packets"] == 4


def test_payload_goes_on_where_32_bits_end() -> None:
    start, size = (1 << 32) - 6, 1000
    words = [f">S,{start} <S.,900,{start + 1} >.,,1", f">P.,1:{size + 1},1/{size}"]
    flow = one(tcp(" ".join([*words, f">F.,{size + 1},1"])))
    assert flow["zeek.connection.orig_bytes"] == size
    absolute = [f">S,{start} <S.,900,{start + 1} >.,,901"]
    after = (start + 1 + size) % (1 << 32)
    flow = one(
        tcp(
            " ".join(
                [*absolute, f">P.,{start + 1}:{after},901/{size} >P.,{after}:{after + 5},901/5"]
            )
        )
    )
    assert flow["zeek.connection.orig_bytes"] == size + 5


def test_more_than_four_gigabytes_are_counted() -> None:
    step = 1 << 30
    parts = [
        f"<.,{(1 + n * step) % (1 << 32)}:{(1 + n * step + 1000) % (1 << 32)},1/1000"
        for n in range(6)
    ]
    flow = one(tcp(" ".join([OPEN, *parts])))
    assert flow["zeek.connection.resp_bytes"] == 5 * step + 1000


def test_bytes_that_are_acknowledged_and_not_seen_are_missed() -> None:
    flow = one(tcp(f"{OPEN} >P.,1:11,1/10 >P.,31:41,1/10 <.,,41"))
    assert flow["zeek.connection.missed_bytes"] == 20
    assert flow["zeek.connection.history"] == "ShADaG"
    late = one(tcp(f"{OPEN} >P.,1:11,1/10 >P.,31:41,1/10 >P.,11:31,1/20 <.,,41"))
    assert late["zeek.connection.missed_bytes"] == 0


def test_times_sent_again_are_noted_at_the_first_and_the_tenth() -> None:
    again = " ".join([">P.,1:11,1/10"] * 11)
    assert one(tcp(f"{OPEN} {again}"))["zeek.connection.history"] == "ShADTT"


def test_no_window_is_noted() -> None:
    lines = [
        text.replace("win 500", "win 0") if "> 10.0.0.1" in text else text
        for text in tcp(f"{OPEN} <.,,1")
    ]
    assert one(lines)["zeek.connection.history"] == "ShwAa"


def test_what_comes_behind_both_ends_is_not_part_of_the_duration() -> None:
    flow = one(tcp(f"{OPEN} >F.,1,1 <F.,1,2 >.,,2"))
    assert flow["event.duration"] == 400_000_000
    assert flow["source.packets"] == 4


def test_one_packet_has_no_duration_and_no_payload_bytes() -> None:
    flow = one(tcp(">S,100"))
    assert flow["event.duration"] is None
    assert flow["zeek.connection.orig_bytes"] is None
    assert (flow["source.packets"], flow["source.bytes"]) == (1, 40)


def udp(after: float, source: str, target: str, size: int = 7) -> str:
    return line(after, source, target, f"UDP, length {size}")


@pytest.mark.parametrize(
    ("gap", "count"), [(59.9, 1), (60, 2)], ids=["within a minute", "after a minute"]
)
def test_udp_is_over_after_a_minute(gap: float, count: int) -> None:
    made = flows(
        [udp(0, "10.0.0.1.9000", "10.0.0.2.9001"), udp(gap, "10.0.0.1.9000", "10.0.0.2.9001")]
    )
    assert len(made) == count
    assert {flow["zeek.connection.state"] for flow in made} == {"S0"}


def test_udp_pairs_question_and_answer_and_knows_its_services() -> None:
    flow = one([udp(0, "10.0.0.2.53", "10.0.0.1.4000"), udp(1, "10.0.0.1.4000", "10.0.0.2.53", 9)])
    assert (flow["source.port"], flow["zeek.connection.state"]) == (4000, "SF")
    assert flow["zeek.connection.history"] == "^dD"
    assert (flow["zeek.connection.orig_bytes"], flow["source.bytes"]) == (9, 37)


def test_echoes_are_paired_and_other_messages_go_one_way() -> None:
    echo = "ICMP echo {}, id 7, seq 1, length 64"
    made = flows(
        [
            line(0, "10.0.0.1", "10.0.0.2", echo.format("request")),
            line(1, "10.0.0.2", "10.0.0.1", echo.format("reply")),
            line(2, "10.0.0.2", "10.0.0.1", "ICMP host 10.0.0.3 unreachable, length 36"),
        ]
    )
    kinds = [
        (flow["zeek.connection.icmp.type"], flow["zeek.connection.icmp.code"]) for flow in made
    ]
    assert kinds == [(8, 0), (3, 1)]
    assert [flow["destination.packets"] for flow in made] == [1, 0]
    assert [flow["source.bytes"] for flow in made] == [84, 56]


def test_an_attempt_is_over_after_five_seconds_a_connection_after_five_minutes() -> None:
    syn = "Flags [S], seq 100, win 500, length 0"
    assert len(flows([line(0, A, B, syn), line(4.9, A, B, syn)])) == 1
    assert len(flows([line(0, A, B, syn), line(5, A, B, syn)])) == 2
    data = "Flags [P.], seq 1:3, ack 1, win 500, length 2"
    assert len(flows([*tcp(OPEN), line(300, A, B, data)])) == 1
    assert len(flows([*tcp(OPEN), line(300.2, A, B, data)])) == 2


def test_ports_used_again_begin_another_flow() -> None:
    made = flows(tcp(f"{OPEN} >F.,1,1 <F.,1,2 >.,,2 >S,777 <S.,5,778"))
    assert [flow["zeek.connection.state"] for flow in made] == ["SF", "S1"]
    assert len({flow["event.id"] for flow in made}) == 2
    same = flows(tcp(">S,100 >S,100"))
    assert [flow["zeek.connection.history"] for flow in same] == ["S"]
    other = flows(tcp(">S,100 >S,200"))
    assert [flow["source.packets"] for flow in other] == [1, 1]


def test_damaged_packets_count_for_nothing_but_a_letter() -> None:
    text = [
        "2026-11-21 07:00:00.000000 IP (tos 0x0, ttl 64, id 1, offset 0, flags [DF], proto TCP (6), length 40)",
        "    10.0.0.1.4000 > 10.0.0.2.8443: Flags [S], cksum 0x1 (incorrect -> 0x2), seq 100, win 5, length 0",
        "2026-11-21 07:00:01.000000 IP (tos 0x0, ttl 64, id 1, offset 0, flags [DF], proto TCP (6), length 40)",
        "    10.0.0.1.4000 > 10.0.0.2.8443: Flags [.], cksum 0x1 (correct), ack 5, win 5, length 0",
    ]
    flow = one(text)
    assert (flow["zeek.connection.history"], flow["source.packets"]) == ("CA", 1)


def test_without_flags_nothing_is_said_of_state_and_history() -> None:
    flow = one([line(0, A, B, "tcp 0"), line(1, B, A, "tcp 100")])
    assert flow["zeek.connection.state"] is None
    assert flow["zeek.connection.history"] is None
    assert flow["zeek.connection.resp_bytes"] is None
    assert (flow["source.packets"], flow["destination.packets"]) == (1, 1)


def test_names_stand_for_addresses_that_are_not_shown() -> None:
    flow = one([line(0, "client.4000", "server.example.9001", "UDP, length 7")])
    assert (flow["source.ip"], flow["source.domain"]) == (None, "client")
    assert flow["destination.domain"] == "server.example"


def test_a_flow_that_stays_open_is_reported_at_full_hours() -> None:
    lines = [
        *tcp(OPEN),
        *(
            line(200 * n, A, B, f"Flags [P.], seq {n}:{n + 1}, ack 1, win 5, length 1")
            for n in range(1, 41)
        ),
    ]
    made = flows(lines)
    assert [flow["event.dataset"] for flow in made] == [
        "tcpdump.open_connection",
        "tcpdump.open_connection",
        "tcpdump.connection",
    ]
    first, second, last = made
    assert first["zeek.session_id"] == second["zeek.session_id"] == last["event.id"]
    assert len({flow["event.id"] for flow in made}) == 3
    assert [flow["source.packets"] for flow in made] == [2 + 17, 2 + 35, 2 + 40]
    assert {flow["@timestamp"] for flow in made} == {BEGIN}


def packets(count: int) -> pl.DataFrame:
    rows = [
        {
            "line": n, "offset": n, "lines": 1, "raw": str(n), "time": n, "depth": 0,
            "number": 17, "src": "10.0.0.1", "dst": "10.0.0.2", "sport": n, "dport": 9, "size": 30,
        }
        for n in range(count)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=PACKET)


def test_the_flows_that_are_open_are_bounded() -> None:
    assembler = Assembler(limit=10, slice=16)
    done, state = assembler.assemble(packets(64), State())
    assert (state.open.height, state.evicted) == (10, 54)
    assert done.height + assembler.finish(state).height == 64


def test_it_is_said_how_many_flows_had_to_make_room() -> None:
    form = TcpdumpFlows()
    form.assembler = Assembler(limit=1, slice=4)
    text = "".join(udp(n / 10, f"10.0.0.1.{9000 + n}", "10.0.0.2.9") + "\n" for n in range(8))
    made, _ = form.parse(Block("dump.txt", text.encode(), 0, 1, True), form.begin(""))
    assert made.events.height == 8
    assert "dump.txt: 7 flows were closed early, since more than 1 were open" in made.notes
