"""A folder that is filled, or walked, without ever following a link: every step is taken from an open folder.

Whatever lies in the tree, links planted by others included, nothing outside of it is opened, made or changed. Only for
Linux and what is like it.
"""

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from runtara.errors import InvalidInput
from runtara.images._members import Place, shown

__all__ = ["FILE_MODE", "FOLDER_MODE", "PROGRAM_MODE", "Tree"]

FOLDER_MODE: Final = 0o755
FILE_MODE: Final = 0o644
PROGRAM_MODE: Final = 0o755

_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_FOLDER: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)


class Tree:
    """The tree below `folder`, which exists. To be closed, or used as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._root = os.open(folder, _FOLDER | _NO_LINK)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        os.close(self._root)

    def make_folder(self, place: Place) -> None:
        """Make a folder, and those that it lies in, where they are missing."""
        with self._open_folder(place):
            pass

    def write(self, place: Place, chunks: Iterable[bytes], *, executable: bool, modified_at: int) -> None:
        """Make a file; what had its name, if it is no folder, is gone."""
        with self._open_folder(place[:-1]) as parent:
            _unlink(place[-1], parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK
            descriptor = os.open(place[-1], flags, 0o600, dir_fd=parent)
        try:
            for chunk in chunks:
                _write_all(descriptor, chunk)
            os.fchmod(descriptor, PROGRAM_MODE if executable else FILE_MODE)
            os.utime(descriptor, (modified_at, modified_at))
        finally:
            os.close(descriptor)

    def link(self, place: Place, origin: Place) -> None:
        """Give a file of the tree another name."""
        with self._open_folder(place[:-1]) as parent, self._open_folder(origin[:-1]) as there:
            if not stat.S_ISREG(os.stat(origin[-1], dir_fd=there, follow_symlinks=False).st_mode):
                raise InvalidInput(f"{shown(b'/'.join(origin))} is no file: only files have hard links")
            _unlink(place[-1], parent)
            os.link(origin[-1], place[-1], src_dir_fd=there, dst_dir_fd=parent, follow_symlinks=False)

    def symlink(self, place: Place, target: bytes) -> None:
        """Make a symbolic link; where it leads is for others to judge."""
        with self._open_folder(place[:-1]) as parent:
            _unlink(place[-1], parent)
            os.symlink(target, place[-1], dir_fd=parent)

    @contextlib.contextmanager
    def open_file(self, place: Place) -> Iterator[int]:
        """Open a file for reading. Raises `OSError` for what is none, a link included."""
        with self._open_folder(place[:-1], make=False) as parent:
            descriptor = os.open(place[-1], os.O_RDONLY | _NO_LINK | os.O_NONBLOCK, dir_fd=parent)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InvalidInput(f"{shown(b'/'.join(place))} is no file")
            yield descriptor
        finally:
            os.close(descriptor)

    def give(self, place: Place, path: Path) -> None:
        """Give a file of the tree a second name outside of it, where it will be read."""
        with self._open_folder(place[:-1], make=False) as parent:
            os.link(place[-1], path, src_dir_fd=parent, follow_symlinks=False)

    def link_target(self, place: Place) -> bytes | None:
        """Return where a symbolic link leads; None for what is none. Raises `OSError` for what is not there."""
        with self._open_folder(place[:-1], make=False) as parent:
            if not stat.S_ISLNK(os.stat(place[-1], dir_fd=parent, follow_symlinks=False).st_mode):
                return None
            return os.readlink(place[-1], dir_fd=parent)

    @contextlib.contextmanager
    def _open_folder(self, place: Place, *, make: bool = True) -> Iterator[int]:
        """Open a folder, step by step from the root; those that are missing are made."""
        descriptor = os.dup(self._root)
        try:
            for count, name in enumerate(place, 1):
                deeper = _step(descriptor, name, make, place[:count])
                os.close(descriptor)
                descriptor = deeper
            yield descriptor
        finally:
            os.close(descriptor)


def _step(parent: int, name: bytes, make: bool, place: Place) -> int:
    try:
        return os.open(name, _FOLDER | _NO_LINK, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    except OSError as error:
        kept = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        if stat.S_ISDIR(kept):
            raise
        raise InvalidInput(f"{shown(b'/'.join(place))} is no folder: nothing is written through it") from error
    os.mkdir(name, 0o700, dir_fd=parent)
    descriptor = os.open(name, _FOLDER | _NO_LINK, dir_fd=parent)
    os.fchmod(descriptor, FOLDER_MODE)
    return descriptor


def _unlink(name: bytes, parent: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=parent)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
