"""Goes through a root file system that another program has unpacked, and takes away what has no business there.

The second line of defence: the members were judged before, so it should find little but modes. It follows no link, and
refuses the whole tree where a link leads out of it or a file has a name somewhere else.
"""

import contextlib
import os
import stat
from collections import Counter
from pathlib import Path
from typing import Final

from runtara.errors import InvalidInput
from runtara.images._limits import Account
from runtara.images._members import SYSTEM, Place, check_target, shown
from runtara.images._scratch import remove_tree
from runtara.images._tree import FILE_MODE, FOLDER_MODE, PROGRAM_MODE, Tree

__all__ = ["sweep"]

_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_FOLDER: Final = _FLAGS | getattr(os, "O_DIRECTORY", 0)
_HANDLE: Final = getattr(os, "O_PATH", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def sweep(root: Path, account: Account) -> None:
    """Leave only files, folders and links in the tree `root`, with plain modes and no attributes.

    Its system folders are empty afterwards. Raises `InvalidInput`, or `TooLarge` for more members than allowed.
    """
    broom = _Broom(account)
    descriptor = _open_folder(os.fsencode(root), None)
    try:
        broom.folder(descriptor, ())
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)
    broom.check_names()
    _empty_system_folders(root)


def _empty_system_folders(root: Path) -> None:
    for name in map(os.fsdecode, SYSTEM):
        path = root / name
        if path.is_symlink() or path.is_file():
            path.unlink()
        remove_tree(path)
    with Tree(root) as tree:
        for system in SYSTEM:
            tree.make_folder((system,))


class _Broom:
    """One walk through a tree. It counts the names of each file, to find those that have one outside."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._names: Counter[tuple[int, int]] = Counter()
        self._links: dict[tuple[int, int], tuple[int, Place]] = {}

    def folder(self, descriptor: int, place: Place) -> None:
        if len(place) > self._account.limits.depth:
            raise InvalidInput(f"the unpacked image has folders more than {self._account.limits.depth} deep")
        _strip(descriptor)
        for name in sorted(map(os.fsencode, os.listdir(descriptor))):
            self._entry(descriptor, name, (*place, name))

    def check_names(self) -> None:
        """Refuse a file that has more names than were found."""
        for file, (links, place) in self._links.items():
            if self._names[file] != links:
                raise InvalidInput(f"{shown(b'/'.join(place))} of the unpacked image has a second name outside of it")

    def _entry(self, parent: int, name: bytes, place: Place) -> None:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            self._account.add(0)
            self._deeper(parent, name, place)
        elif stat.S_ISREG(found.st_mode):
            self._account.add(found.st_size)
            self._file(parent, name, place, found)
        elif stat.S_ISLNK(found.st_mode):
            self._account.add(0)
            check_target(place, os.readlink(name, dir_fd=parent), self._account)
        else:
            os.unlink(name, dir_fd=parent)

    def _deeper(self, parent: int, name: bytes, place: Place) -> None:
        descriptor = _open_folder(name, parent)
        try:
            self.folder(descriptor, place)
            os.fchmod(descriptor, FOLDER_MODE)
        finally:
            os.close(descriptor)

    def _file(self, parent: int, name: bytes, place: Place, found: os.stat_result) -> None:
        file = (found.st_dev, found.st_ino)
        self._names[file] += 1
        if found.st_nlink > 1:
            self._links[file] = (found.st_nlink, place)
        mode = PROGRAM_MODE if found.st_mode & stat.S_IXUSR else FILE_MODE
        _chmod(name, parent, mode)  # first, so that it can be opened
        descriptor = os.open(name, _FLAGS, dir_fd=parent)
        try:
            _strip(descriptor)
        finally:
            os.close(descriptor)


def _open_folder(name: bytes, parent: int | None) -> int:
    _chmod(name, parent, 0o700)
    return os.open(name, _FOLDER, dir_fd=parent)


def _chmod(name: bytes, parent: int | None, mode: int) -> None:
    """Change a mode without following a link, for which Linux has no call before 6.6."""
    handle = os.open(name, _HANDLE, dir_fd=parent)
    try:
        Path(f"/proc/self/fd/{handle}").chmod(mode)
    finally:
        os.close(handle)


def _strip(descriptor: int) -> None:
    """Remove the extended attributes of an open file or folder."""
    with contextlib.suppress(OSError):  # a disk without any, or one that does not let go of its own (security labels)
        for attribute in os.listxattr(descriptor):
            with contextlib.suppress(OSError):
                os.removexattr(descriptor, attribute)
