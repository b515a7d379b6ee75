"""The bytes of an archive, decompressed as they are read, never more than the limits allow.

How it is compressed is seen from its first bytes. What comes out is counted against what goes in, so that a small file
cannot fill memory or disk; no single read is larger than asked for.
"""

import bz2
import contextlib
import hashlib
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final, Protocol

from runtara.errors import InvalidInput, TooLarge
from runtara.images._limits import ExtractLimits

__all__ = ["Source", "compression_of", "open_source"]

_CHUNK: Final = 64 * 1024
"""Compressed bytes that are read at a time."""
_BLOCK: Final = 256 * 1024
"""Bytes that come out at a time, at most."""
_FREE: Final = 4 * 1024 * 1024
"""Bytes that may come out before the ratio counts: a small archive of empty blocks is no bomb."""
_XZ_MEMORY: Final = 192 * 1024 * 1024
"""Memory that a file compressed with xz may ask for; the strongest setting needs 65 MiB."""


class _Inflater(Protocol):
    """What the decompressors of the standard library have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Gzip:
    """zlib's decompressor, with the interface of the others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


class _Plain:
    """What is not compressed, with the interface of the others."""

    eof = False
    unused_data = b""

    def __init__(self) -> None:
        self._left = b""

    @property
    def needs_input(self) -> bool:
        return not self._left

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        data = self._left + data
        self._left = data[max_length:]
        return data[:max_length]


def _zstd() -> _Inflater:
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # from Python 3.14 on
    except ImportError:
        raise InvalidInput(
            "the archive is compressed with zstd, which Python reads from version 3.14 on: compress it with gzip"
        ) from None
    made: _Inflater = zstd.ZstdDecompressor()
    return made


_KINDS: Final[dict[bytes, tuple[str, Callable[[], _Inflater]]]] = {
    b"\x1f\x8b": ("gzip", _Gzip),
    b"BZh": ("bzip2", bz2.BZ2Decompressor),
    b"\xfd7zXZ\0": ("xz", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
}
"""The first bytes of what is compressed, how that is called, and who reads it."""

_BROKEN: Final = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)
"""What the decompressors say of bytes that are not theirs; the file itself is read outside of where they are caught."""


def compression_of(start: bytes) -> str | None:
    """Return how a file that begins like this is compressed; None where it is not."""
    return next((name for magic, (name, _) in _KINDS.items() if start.startswith(magic)), None)


class Source:
    """Reads what an archive holds, from start to end. `sha256` is that of all that was read, decompressed."""

    def __init__(self, file: IO[bytes], limits: ExtractLimits) -> None:
        self._file = file
        self._limits = limits
        self._start: bytes | None = file.read(_CHUNK)
        self._make = next((make for magic, (_, make) in _KINDS.items() if self._start.startswith(magic)), _Plain)
        self._inflater = self._make()
        self._taken = 0
        self._given = 0
        self._hash = hashlib.sha256()
        self._block = b""
        self._at = 0

    @property
    def sha256(self) -> str:
        """Of all that the archive holds, decompressed; to be asked for after `drain`."""
        return self._hash.hexdigest()

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes, fewer only at the end. Raises `InvalidInput` or `TooLarge`."""
        parts: list[bytes] = []
        while size:
            if self._at == len(self._block) and not self._fill():
                break
            part = self._block[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def drain(self) -> None:
        """Read to the end: so the checksums of compression are seen, and `sha256` is that of everything."""
        while self._fill():
            pass

    def _fill(self) -> bool:
        """Decompress the next block. False at the end."""
        self._block, self._at = self._next_block(), 0
        self._hash.update(self._block)
        self._given += len(self._block)
        if self._given > _FREE + self._taken * self._limits.ratio:
            raise TooLarge(
                f"the archive grows to more than {self._limits.ratio} times its size when it is unpacked: "
                "leave out what is empty, or push it uncompressed"
            )
        return bool(self._block)

    def _next_block(self) -> bytes:
        while True:
            if self._inflater.eof and not self._begin_next():
                return b""
            data = self._more() if self._inflater.needs_input else b""
            if not data and self._inflater.needs_input:
                return self._end()
            block = self._inflate(data)
            if block:
                return block

    def _more(self) -> bytes:
        if self._start is not None:
            data, self._start = self._start, None
        else:
            data = self._file.read(_CHUNK)
        self._taken += len(data)
        return data

    def _inflate(self, data: bytes) -> bytes:
        try:
            return self._inflater.decompress(data, _BLOCK)
        except _BROKEN as error:
            raise InvalidInput(f"the archive is damaged: {error}; make it and push it again") from None

    def _begin_next(self) -> bool:
        """Go on with what was compressed separately and appended. False at the end of the file."""
        left = self._inflater.unused_data or self._more()
        left = left.lstrip(b"\0")  # padding, as tapes have it
        while not left:
            left = self._more()
            if not left:
                return False
            left = left.lstrip(b"\0")
        self._taken -= len(left)
        self._start = left
        self._inflater = self._make()
        return True

    def _end(self) -> bytes:
        if not isinstance(self._inflater, _Plain):
            raise InvalidInput("the archive ends in the middle of what is compressed: make it and push it again")
        return b""


@contextlib.contextmanager
def open_source(path: Path, limits: ExtractLimits) -> Iterator[Source]:
    """Open an archive for the length of the block. Raises `OSError` where the file cannot be read."""
    with path.open("rb", buffering=0) as file:
        yield Source(file, limits)
