"""Opening a source: plain or compressed, recognised by content; problems as InputError."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import zlib
from pathlib import Path
from typing import Final, Protocol, cast

import zstandard

from connwatch.errors import InputError

STDIN: Final = "-"

#: first bytes of a compressed file -> its kind
_MAGIC: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)

#: what a decompressor raises when a file is cut off or damaged
DAMAGED: Final = (EOFError, OSError, lzma.LZMAError, zstandard.ZstdError, zlib.error)


class _Readable(Protocol):
    def read1(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class _Zstd:
    """Zstandard frames one after another; unlike the library's reader it notices a cut-off end."""

    #: compressed bytes taken at once: even a bomb unpacks to no more than some MB from so few
    STEP: Final = 1024

    def __init__(self, raw: io.BufferedReader[Counted]) -> None:
        self._raw = raw
        self._rest = b""
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._made = b""

    def read1(self, size: int, /) -> bytes:
        while not self._made:
            data = self._rest or self._raw.read(self.STEP)
            self._rest = b""
            if not data:
                if self._frame is not None:
                    raise EOFError("the file ends in the middle of a frame")
                return b""
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
            self._made = self._frame.decompress(data)
            if self._frame.eof:
                self._rest, self._frame = self._frame.unused_data, None
        part, self._made = self._made[:size], self._made[size:]
        return part

    def close(self) -> None:
        self._frame = None


class Counted(io.RawIOBase):
    """Counts the bytes read from a file, so that a decompression ratio can be known."""

    def __init__(self, inner: io.BufferedIOBase) -> None:
        super().__init__()
        self._inner = inner
        self.taken = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._inner.seekable()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        taken = self._inner.readinto(buffer)
        self.taken += taken
        return taken

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
        super().close()


class Opened:
    """An open source: `read` gives decompressed bytes, `taken` is how many were read from disk.

    compression: gzip, zstd, bzip2, xz or "". size: bytes on disk when it was opened, None for a
    pipe. descriptor: of the file, open already; it stays open.
    """

    def __init__(self, path: str, descriptor: int | None = None) -> None:
        self.path = path
        self.size: int | None = None
        self._failure: InputError | None = None
        try:
            raw: io.BufferedIOBase
            if descriptor is not None:
                raw = os.fdopen(os.dup(descriptor), "rb")
                raw.seek(0)
                self.size = os.fstat(descriptor).st_size
            elif path == STDIN:
                raw = cast(io.BufferedIOBase, sys.stdin.buffer)
            else:
                raw = Path(path).open("rb")  # noqa: SIM115  closed by close()
                if Path(path).is_file():
                    self.size = Path(path).stat().st_size
        except OSError as error:
            raise InputError(error.strerror or str(error), where=path) from error
        self._counted = Counted(raw)
        buffered = io.BufferedReader(self._counted, 1 << 20)
        try:
            magic = buffered.peek(8)[:8]
        except OSError as error:
            buffered.close()
            raise InputError(error.strerror or str(error), where=path) from error
        self.compression = compression(magic)
        self._stream = _decompressed(buffered, self.compression)
        self._buffered = buffered

    @property
    def taken(self) -> int:
        return self._counted.taken

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end. InputError when the file is damaged, after
        everything before the damage was given."""
        if self._failure is not None:
            raise self._failure
        parts: list[bytes] = []
        left = size
        while left:
            try:
                part = self._stream.read1(left)
            except DAMAGED as error:
                self._failure = InputError(
                    f"{self.compression or 'file'}: {error}",
                    where=self.path,
                    hint="the file is cut off or damaged; what came before was read",
                )
                if not parts:
                    raise self._failure from error
                break
            if not part:
                break
            parts.append(part)
            left -= len(part)
        return b"".join(parts) if len(parts) != 1 else parts[0]

    def seek(self, offset: int) -> None:
        """Go on from here; only of a plain file."""
        self._buffered.seek(offset)

    def close(self) -> None:
        if self.compression:
            self._stream.close()
        if self.path != STDIN:
            self._buffered.close()


def compression(start: bytes) -> str:
    """What a file that begins with these bytes is compressed with; "" if it is not."""
    return next((kind for magic, kind in _MAGIC if start.startswith(magic)), "")


def may_be_compressed(start: bytes) -> bool:
    """Whether these few first bytes could become those of a compressed file."""
    return any(magic.startswith(start) for magic, _ in _MAGIC)


def _decompressed(raw: io.BufferedReader[Counted], compression: str) -> _Readable:
    match compression:
        case "gzip":
            return gzip.GzipFile(fileobj=raw, mode="rb")
        case "bzip2":
            return bz2.BZ2File(raw)
        case "xz":
            return lzma.LZMAFile(raw)
        case "zstd":
            return _Zstd(raw)
    return raw
