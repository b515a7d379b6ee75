"""What an attempt leaves in its folder, read back: the end of its streams, and its output.

It needs the standard library only, because it also runs on machines that have nothing else of this package. It reads
while the shim writes.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from runtara.actors.runners._shim import segments

__all__ = ["TAIL_BYTES", "read_log", "read_output", "read_tail", "written"]

TAIL_BYTES = 4_096
"""How much of the end of stderr is part of what an attempt has left."""

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def written(folder: Path, stream: str) -> int:
    """Return how much all attempts have written to a stream."""
    found = _segments(folder, stream)
    return found[-1][0] + found[-1][1] if found else 0


def read_log(folder: Path, stream: str, offset: int, limit: int) -> tuple[bytes, int]:
    """Return at most `limit` bytes from `offset` on (negative: counted from the end), and where they begin."""
    found = _segments(folder, stream)
    if offset < 0:
        end = found[-1][0] + found[-1][1] if found else 0
        offset = max(0, end + offset)
    for start, size, path in found:
        if offset < start + size:
            at = max(offset, start)
            with suppress(FileNotFoundError):  # it has just made room for a newer one
                return _read(path, at - start, limit), at
    return b"", offset


def read_tail(folder: Path, since: int) -> str:
    """Return the end of what was written to stderr from a byte on, as text."""
    end = written(folder, "stderr")
    offset = max(since, end - TAIL_BYTES)
    tail = b""
    while offset + len(tail) < end:
        data, at = read_log(folder, "stderr", offset + len(tail), TAIL_BYTES)
        if not data:
            break
        tail, offset = (tail, offset) if at == offset + len(tail) else (b"", at)
        tail += data
    return tail.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}").strip()


def read_output(path: Path, most: int) -> bytes | None:
    """Return what the program has left as its output, if it has.

    Raises `ValueError` where that is no file, or larger than `most`.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"the program's output cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("the program's output is not a file")
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"the program's output has more than {most} bytes: keep large data elsewhere")
    return data


def _segments(folder: Path, stream: str) -> list[tuple[int, int, Path]]:
    """Return start, size and path of each segment."""
    found = []
    with suppress(FileNotFoundError):
        for start, name in segments(str(folder), stream):
            with suppress(FileNotFoundError):
                found.append((start, (folder / name).stat().st_size, folder / name))
    return found


def _read(path: Path, offset: int, limit: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(limit)
