"""Opening a source: plain or compressed, recognised by content; problems as InputError."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib
from pathlib import Path
from typing import BinaryIO, Final, Protocol

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
    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class Counted(io.RawIOBase):
    """Counts the bytes read from a file, so that a decompression ratio can be known."""

    def __init__(self, inner: BinaryIO) -> None:
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
        data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        self.taken += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
        super().close()


class Opened:
    """An open source: `read` gives decompressed bytes, `taken` is how many were read from disk.

    compression: gzip, zstd, bzip2, xz or "". size: bytes on disk when it was opened, None for a
    pipe.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.size: int | None = None
        try:
            raw: BinaryIO
            if path == STDIN:
                raw = sys.stdin.buffer
            else:
                raw = Path(path).open("rb")  # noqa: SIM115  closed by close()
                if Path(path).is_file():
                    self.size = Path(path).stat().st_size
        except OSError as error:
            raise InputError(error.strerror or str(error), where=path) from error
        self._counted = Counted(raw)
        buffered: BinaryIO = io.BufferedReader(self._counted, 1 << 20)
        try:
            magic = buffered.peek(8)[:8]  # type: ignore[attr-defined]
        except OSError as error:
            buffered.close()
            raise InputError(error.strerror or str(error), where=path) from error
        self.compression = next((kind for start, kind in _MAGIC if magic.startswith(start)), "")
        self._stream = _decompressed(buffered, self.compression)
        self._buffered = buffered

    @property
    def taken(self) -> int:
        return self._counted.taken

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end. InputError when the file is damaged."""
        parts = []
        left = size
        while left:
            try:
                part = self._stream.read(left)
            except DAMAGED as error:
                raise InputError(
                    f"{self.compression or 'file'}: {error}",
                    where=self.path,
                    hint="the file is cut off or damaged; what came before was read",
                ) from error
            if not part:
                break
            parts.append(part)
            left -= len(part)
        return b"".join(parts) if len(parts) != 1 else parts[0]

    def seek(self, offset: int) -> None:
        """Go on from here; only of a plain file."""
        self._buffered.seek(offset)

    def close(self) -> None:
        if self._stream is not self._buffered:
            self._stream.close()
        if self.path != STDIN:
            self._buffered.close()


def _decompressed(raw: BinaryIO, compression: str) -> _Readable:
    match compression:
        case "gzip":
            return gzip.GzipFile(fileobj=raw, mode="rb")
        case "bzip2":
            return bz2.BZ2File(raw)
        case "xz":
            return lzma.LZMAFile(raw)
        case "zstd":
            reader = zstandard.ZstdDecompressor(max_window_size=1 << 27)
            return reader.stream_reader(raw, read_across_frames=True, closefd=False)
    return raw
