"""What a file that no format reads seems to be, for the message that names it."""

from __future__ import annotations

import json
import re
from typing import Final

from .rejects import text

_PCAP: Final = "a packet capture; tcpdump -nn -tttt -v -r FILE prints it as text that can be read"
_KINDS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\xd4\xc3\xb2\xa1", _PCAP),
    (b"\xa1\xb2\xc3\xd4", _PCAP),
    (b"\x4d\x3c\xb2\xa1", _PCAP),
    (b"\x0a\x0d\x0d\x0a", _PCAP),
    (b"PK\x03\x04", "a zip archive"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"PAR1", "a Parquet file"),
    (b"\x7fELF", "a program"),
)
_TAR: Final = slice(257, 262)


def describe(head: bytes) -> str:
    """A few words on what `head` (first bytes, decompressed) seems to begin."""
    for magic, what in _KINDS:
        if head.startswith(magic):
            return what
    if head[_TAR] == b"ustar":
        return "a tar archive; extract it first"
    if path := re.search(rb"^[ \t]*#path[\t ]+(\S+)", head, re.MULTILINE):
        return f"a Zeek {text(path.group(1))} log, not one of connections"
    first = head.lstrip().partition(b"\n")[0]
    if first.startswith(b"{"):
        return _json(first)
    if b"\x00" in head:
        return "binary data"
    if first.count(b"\t") >= 10 and re.match(rb"\d+\.\d+\tC", first):
        return "a Zeek log without its header"
    return "text of an unknown kind"


def _json(first: bytes) -> str:
    try:
        record = json.loads(first)
    except ValueError:
        return "JSON of an unknown kind"
    if not isinstance(record, dict):
        return "JSON of an unknown kind"
    if isinstance(path := record.get("_path"), str):
        return f"a Zeek {path} log (JSON), not one of connections"
    if "event_type" in record:
        return "Suricata EVE, which this version does not read yet"
    if "ts" in record and "uid" in record:
        return "a Zeek log (JSON), not one of connections"
    return "JSON of an unknown kind"
