"""Flows do not depend on how their packets are cut into blocks, nor on saving what is between."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from unittest import mock

import numpy as np
import polars as pl
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from support import parse

from connwatch.ingest.flows import connections, fill, packets
from connwatch.ingest.flows.assemble import Assembler, State
from connwatch.ingest.flows.events import events
from connwatch.ingest.formats import FORMATS
from connwatch.ingest.sockets.rows import hashed
from connwatch.ingest.tcpdump.packet import PACKET
from connwatch.ingest.zeek_events import Origin

ORIGIN = Origin("dump.txt", "tcpdump.connection", "", "tcpdump")
#: few ends, so that packets meet; a step of an hour and more, so that flows end and are reported
ENDS = (("10.0.0.1", 1025), ("10.0.0.2", 80), ("2001:db8::3", 53))
STEPS = (0, 1, 900_000, 4_999_999, 5_000_000, 61_000_000, 299_000_000, 300_000_000, 4_000_000_000)
FLAGS = ("S", "S.", ".", "P.", "F.", "R", "R.", "FS", "none")
SECOND = 1_000_000

packet = st.tuples(
    st.sampled_from(STEPS),
    st.sampled_from((6, 6, 6, 17, 1)),
    st.sampled_from(list(itertools.permutations(ENDS, 2))),
    st.sampled_from(FLAGS),
    st.one_of(st.none(), st.sampled_from((0, 1, 2, 101, 4_294_967_290)), st.integers(0, 1 << 33)),
    st.one_of(st.none(), st.sampled_from((0, 1, 2, 101, 4_294_967_290)), st.integers(0, 1 << 33)),
    st.sampled_from((0, 0, 1, 100)),
    st.sampled_from((False, False, False, True)),
    st.sampled_from((0, 512)),
)


def frame(made: list[tuple]) -> pl.DataFrame:  # type: ignore[type-arg]
    rows = []
    time = 1_795_000_000 * SECOND
    for line, (step, number, (source, target), flags, seq, ack, size, bad, window) in enumerate(
        made, 1
    ):
        time += step
        tcp = number == 6
        rows.append(
            {
                "line": line, "offset": line * 90, "lines": 1, "raw": f"{time} {source} > {target} {number} {flags} {seq}",
                "time": time, "depth": 0, "number": number,
                "transport": {6: "tcp", 17: "udp", 1: "icmp"}[number],
                "src": source[0], "dst": target[0],
                "sport": None if number == 1 else source[1],
                "dport": None if number == 1 else target[1],
                "size": size + 40, "payload": size, "bad": bad,
                "flags": flags if tcp else None, "seq": seq if tcp else None,
                "ack": ack if tcp and "." in flags else None, "window": window if tcp else None,
                "icmp_type": 8 if number == 1 else None, "icmp_code": 0 if number == 1 else None,
            }
        )  # fmt: skip
    return pl.DataFrame(rows, schema=PACKET)


def assembled(shown: pl.DataFrame, cuts: list[int], assembler: Assembler) -> pl.DataFrame:
    state, parts = State(), []
    bounds = sorted({0, shown.height, *(cut for cut in cuts if cut < shown.height)})
    for start, end in itertools.pairwise(bounds):
        flows, state = assembler.assemble(shown[start:end], state)
        state = State.restored(json.loads(json.dumps(state.saved())))
        parts.append(flows)
    return events(pl.concat([*parts, assembler.finish(state)]), ORIGIN)


@settings(max_examples=examples(150))
@given(
    st.lists(packet, min_size=1, max_size=40),
    st.lists(st.integers(1, 40), max_size=8),
    st.sampled_from((3, 7, 1 << 17)),
    st.sampled_from((1, 200_000)),
)
def test_any_cut_of_the_packets_gives_the_same_flows_in_the_same_order(
    made: list[tuple],  # type: ignore[type-arg]
    cuts: list[int],
    size: int,
    limit: int,
) -> None:
    shown = frame(made)
    assembler = Assembler("test", limit, size)
    whole = assembled(shown, [], assembler)
    assert_frame_equal(whole, assembled(shown, cuts, assembler))
    over = whole.filter(pl.col("event.dataset") == "tcpdump.connection")
    assert over["event.id"].n_unique() == over.height
    # Every packet is of one flow; damaged ones count only for UDP, as for Zeek.
    counted = shown.filter(~pl.col("bad") | (pl.col("number") == 17)).height
    assert over["source.packets"].sum() + over["destination.packets"].sum() == counted


@settings(max_examples=examples(150))
@given(st.lists(packet, min_size=1, max_size=60), st.integers(1, 60))
def test_conversations_step_together_as_they_do_one_by_one(
    made: list[tuple],  # type: ignore[type-arg]
    cut: int,
) -> None:
    shown = frame(made)
    with mock.patch.object(connections, "_FEW", 0):
        together = assembled(shown, [cut], Assembler())
    with mock.patch.object(connections, "_FEW", len(made)):
        assert_frame_equal(together, assembled(shown, [cut], Assembler()))


@settings(max_examples=examples(100))
@given(st.lists(packet, min_size=1, max_size=40), st.integers(1, 40))
def test_conversations_that_are_mixed_up_are_told_apart(
    made: list[tuple],  # type: ignore[type-arg]
    cut: int,
) -> None:
    shown, real = frame(made), packets._Ends.of
    whole = assembled(shown, [cut], Assembler())

    def of(*given: object) -> packets._Ends:
        """Ends of which few bits are alike in all conversations of TCP, and in all others."""
        ends = real(*given)
        return replace(ends, mixed=ends.mixed >> np.uint64(47) << np.uint64(47))

    with mock.patch.object(packets._Ends, "of", of):
        assert_frame_equal(whole, assembled(shown, [cut], Assembler()))


@settings(max_examples=examples(100))
@given(st.data(), st.lists(packet, min_size=1, max_size=12), st.sampled_from(("", "sensor")))
def test_an_id_is_that_of_its_flow_alone_whatever_begins_beside_it(
    data: st.DataObject,
    made: list[tuple],  # type: ignore[type-arg]
    prefix: str,
) -> None:
    """Mostly all flows of a block lie at depth 0 and are the first of their time; then less text is
    put together, and the hash must not tell."""
    few = st.sampled_from(data.draw(st.sampled_from(((0,), (0, 0, 1), (0, 1, 12)))))
    numbers = st.lists(few, min_size=len(made), max_size=len(made))
    depths, ordinals = data.draw(numbers), data.draw(numbers)
    shown = frame(made).with_columns(depth=pl.Series(depths, dtype=PACKET["depth"]))
    place = data.draw(st.lists(st.integers(0, len(made) - 1), min_size=1, unique=True))
    ordinal = np.array([ordinals[row] for row in place], np.int64)
    kept = packets.relevant(shown, None)
    ids = fill._ids(kept, np.array(place, np.int64), ordinal, prefix)
    for one, row in zip(ids, place, strict=True):
        told = "\0".join((prefix, str(depths[row]), str(ordinals[row]), shown["raw"][row]))
        assert one == pl.select(hashed(pl.lit(told))).item()


TEXT = (
    (
        b"2026-11-21 07:26:24.1 IP 10.0.0.1.1025 > 10.0.0.2.80: Flags [S], seq 5, win 9, length 0\n"
        b"2026-11-21 07:26:24.2 IP 10.0.0.2.80 > 10.0.0.1.1025: Flags [S.], seq 8, ack 6, win 9, length 0\n"
        b"2026-11-21 07:26:24.3 ARP, Request who-has 10.0.0.9 tell 10.0.0.1, length 28\n"
        b"2026-11-21 07:26:24.3 IP 10.0.0.1.1025 > 10.0.0.2.80: Flags [P.], seq 1:5, ack 1, win 9, length 4\n"
        b"2026-11-21 07:27:59.0 IP 10.0.0.1.9 > 10.0.0.2.53: UDP, length 7\n"
        b"2026-11-21 07:29:59.0 ARP, Request who-has 10.0.0.9 tell 10.0.0.1, length 28\n"
        b"2026-11-21 07:39:59.0 IP 10.0.0.1.9 > 10.0.0.2.53: UDP, length 7\n"
    )
    .replace(b".1 IP", b".100000 IP")
    .replace(b".2 IP", b".200000 IP")
    .replace(b".3 ", b".300000 ")
    .replace(b".0 IP", b".000000 IP")
    .replace(b".0 ARP", b".000000 ARP")
)


@settings(max_examples=examples(100))
@given(st.lists(st.integers(1, 7), max_size=6))
def test_any_blocks_of_the_text_give_the_same_events_in_the_same_order(cuts: list[int]) -> None:
    whole = parse(FORMATS["tcpdump"](""), TEXT, path="dump.txt").events
    made = parse(FORMATS["tcpdump"](""), TEXT, cuts, path="dump.txt").events
    assert whole["event.dataset"].to_list().count("tcpdump.frame") == 2
    assert_frame_equal(whole, made)
