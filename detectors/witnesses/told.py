"""What each kind of record can tell of a connection, and a rule's condition taken apart by that.

A test is made of records that can tell what it asks for: `zeek.connection.service` of Zeek's
alone, ports of all. What a program would show with other options (`ss -p`, `tcpdump -e`) counts as
what it can tell. Tests that the same records can make stay together as one `Claim`, made of one
record as a rule about one record is; `and` and `or` between claims are those of the condition,
after every `not` was moved down to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, reduce
from hashlib import sha256
from typing import Final, Literal, TypeAlias

from connwatch.schema import DERIVED

from ..sigma.tree import Atom, Branch, Node, mark

#: stored columns that only who saw the packets tells, those of them that Zeek alone does, and
#: beginnings of the names of those that socket tables alone do; all others every record has
_PACKETS: Final = frozenset(
    {
        "event.duration", "source.bytes", "source.packets", "source.mac", "destination.bytes",
        "destination.packets", "destination.mac", "zeek.session_id", "zeek.connection.state",
        "zeek.connection.history", "zeek.connection.missed_bytes", "zeek.connection.orig_bytes",
        "zeek.connection.resp_bytes", "zeek.connection.icmp.type", "zeek.connection.icmp.code",
        "zeek.connection.vlan", "zeek.connection.inner_vlan",
    }
)  # fmt: skip
_ZEEK: Final = frozenset(
    {
        "zeek.connection.service", "zeek.connection.local_orig", "zeek.connection.local_resp",
        "zeek.connection.tunnel_parents", "zeek.connection.label",
        "zeek.connection.detailed_label",
    }
)  # fmt: skip
_SOCKETS: Final = ("process.", "user.", "host.", "socket.")
#: programs that tell some of these
_PROGRAMS: Final[dict[str, frozenset[str]]] = {
    "packets": frozenset({"zeek", "tcpdump"}),
    "zeek": frozenset({"zeek"}),
    "sockets": frozenset({"ss", "netstat", "proc_net"}),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """Tests that are made together of one record. place: by what it is noted that a record of a
    connection met them. tellers: the datasets whose records can."""

    node: Node
    tellers: frozenset[str]
    place: str


@dataclass(frozen=True, slots=True)
class Joint:
    """and, or over claims of different records."""

    kind: Literal["and", "or"]
    parts: tuple[Part, ...]


Part: TypeAlias = Claim | Joint


def apart(node: Node, datasets: frozenset[str], *, denied: bool = False) -> Part:
    """A condition (or that it does not hold) of a rule about these datasets, by who can tell."""
    tellers = _same_tellers(node, datasets)
    if tellers is not None:
        return _claim(_turned(node, denied=denied), tellers)
    assert isinstance(node, Branch)  # noqa: S101  one comparison has one set of tellers
    if node.kind == "not":
        return apart(node.children[0], datasets, denied=not denied)
    kind = _effective(node.kind, denied=denied)
    together: dict[frozenset[str], list[Node]] = {}
    parts: list[Part] = []
    for child, turned in _flat(node, datasets, kind, denied=denied):
        own = _same_tellers(child, datasets)
        if own is None:
            parts.append(apart(child, datasets, denied=turned))
        else:
            together.setdefault(own, []).append(_turned(child, denied=turned))
    for own, nodes in together.items():
        parts.append(_claim(nodes[0] if len(nodes) == 1 else Branch(kind, tuple(nodes)), own))
    return Joint(kind, tuple(parts))


def _flat(
    node: Node, datasets: frozenset[str], kind: Literal["and", "or"], *, denied: bool
) -> Iterator[tuple[Node, bool]]:
    """What an `and` or `or` joins, whatever the brackets, and whether it is denied."""
    if isinstance(node, Branch) and _same_tellers(node, datasets) is None:
        if node.kind == "not":
            yield from _flat(node.children[0], datasets, kind, denied=not denied)
            return
        if _effective(node.kind, denied=denied) == kind:
            for child in node.children:
                yield from _flat(child, datasets, kind, denied=denied)
            return
    yield node, denied


def _turned(node: Node, *, denied: bool) -> Node:
    return Branch("not", (node,)) if denied else node


def _effective(kind: Literal["and", "or"], *, denied: bool) -> Literal["and", "or"]:
    """What a branch is when `not` before it is moved behind it."""
    return ("or" if kind == "and" else "and") if denied else kind


def mixes(part: Part) -> bool:
    """Whether what no record can tell alone may make the condition true."""
    return frozenset() in _ways(part)


def claims(part: Part) -> Iterator[Claim]:
    """All claims of a condition."""
    if isinstance(part, Claim):
        yield part
    else:
        for one in part.parts:
            yield from claims(one)


def tells(dataset: str, column: str) -> bool:
    """Whether records of a dataset can tell a column of the schema."""
    who = _tellers_of(column)
    return not who or any(dataset.split(".")[0] in _PROGRAMS[one] for one in who)


def _claim(node: Node, tellers: frozenset[str]) -> Claim:
    text = f"{mark(node)} {sorted(tellers)}"
    return Claim(node, tellers, sha256(text.encode()).hexdigest())


def _ways(part: Part) -> frozenset[frozenset[str]]:
    """Of each way to meet a condition the datasets whose records can make every test of it."""
    if isinstance(part, Claim):
        return frozenset({part.tellers})
    ways = [_ways(one) for one in part.parts]
    if part.kind == "or":
        return frozenset().union(*ways)
    return reduce(lambda one, other: frozenset(a & b for a in one for b in other), ways)


def _same_tellers(node: Node, datasets: frozenset[str]) -> frozenset[str] | None:
    """The datasets whose records can make each test of a condition; None: of each test others."""
    found = {_tellers(atom.columns, datasets) for atom in _atoms(node)}
    return found.pop() if len(found) == 1 else None


def _atoms(node: Node) -> Iterator[Atom]:
    if isinstance(node, Atom):
        yield node
    else:
        for child in node.children:
            yield from _atoms(child)


@cache
def _tellers(columns: tuple[str, ...], datasets: frozenset[str]) -> frozenset[str]:
    """The datasets whose records can make a test: of a keyword all, as it is looked for in whatever
    a record has; and of what nobody tells all, as it is missing everywhere alike."""
    told = frozenset(one for one in datasets if all(tells(one, column) for column in columns))
    return told if told and len(columns) == 1 else datasets


@cache
def _tellers_of(column: str) -> frozenset[str]:
    """Which of `_PROGRAMS` tell a column; none: all do."""
    if column in DERIVED:
        kinds = [_tellers_of(root) for root in DERIVED[column].meta.root_names()]
        return frozenset() if not all(kinds) else frozenset[str]().union(*kinds)
    if column in _ZEEK:
        return frozenset({"zeek"})
    if column in _PACKETS:
        return frozenset({"packets"})
    return frozenset({"sockets"} if column.startswith(_SOCKETS) else ())
