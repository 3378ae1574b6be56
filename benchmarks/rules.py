"""A hundred rules for the benchmark, in Sigma and as plain Python.

Ten of them find something, in the traffic of eight hosts of 250: half a percent of the records.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

RULES: Final = 100
#: ports and states of the made-up traffic (traffic.KINDS), which every tenth rule looks for
_SEEN: Final = ((445, "S0"), (22, "RSTO"), (8080, "REJ"), (443, "RSTR"), (8443, "OTH"))

#: hosts of that traffic
_FEW: Final = tuple(f"192.168.0.{host}" for host in range(2, 10))

#: each rule: ports, states, smallest number of bytes, sources (none: all of the network)
SETTINGS: Final = tuple(
    (
        (*(20_000 + rule * 7 + step for step in range(4)), _SEEN[rule // 10 % 5][0])
        if rule % 10 == 0
        else tuple(20_000 + rule * 7 + step for step in range(5)),
        (_SEEN[rule // 10 % 5][1], "SH"),
        rule * 60,
        _FEW if rule % 10 == 0 else (),
    )
    for rule in range(RULES)
)


def write_rules(folder: Path, sources: tuple[str, ...] = _FEW) -> Path:
    """The rules as Sigma files. sources: hosts that every tenth is about; none: the network."""
    folder.mkdir(exist_ok=True)
    for number, (ports, states, size, own) in enumerate(SETTINGS):
        few = sources if own else ()
        (folder / f"{number}.yml").write_text(
            f"title: Rule {number}\nlogsource: {{category: network, service: connection}}\n"
            f"detection:\n  port:\n    destination.port: {list(ports)}\n"
            f"    zeek.connection.state: [{', '.join(states)}]\n"
            f"  size:\n    source.bytes|gte: {size}\n"
            f"  home:\n    source.ip{f': {list(few)}' if few else '|cidr: 192.168.0.0/16'}\n"
            "  name:\n    zeek.connection.service|contains: tls\n"
            "  condition: (port and size and home) or name\n"
            "group-by: [source.ip]\nsuppress: 1h\n",
            encoding="utf-8",
        )
    return folder
