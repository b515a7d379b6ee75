"""Folders and files that are complete or not there, and the locks of those who make them.

What is made lies in ``<target>.new-<random>`` until it is complete. Whoever is killed leaves only that behind, and
whoever makes the same thing next, or collects what nobody needs, removes it.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from runtara.disk import sync_disk, sync_folder
from runtara.ids import new_id

__all__ = ["NEW", "hold_lock", "make_folder", "remove_left", "remove_tree", "scratch_folder", "settle"]

NEW: Final = ".new-"
"""What the name of something unfinished holds."""


@contextlib.contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """Give the block an empty folder beside `target`, which is removed when the block ends, however it ends."""
    folder = target.with_name(f"{target.name}{NEW}{new_id()}")
    make_folder(folder)
    try:
        yield folder
    finally:
        remove_tree(folder)


def settle(made: Path, target: Path) -> None:
    """Put what was made on stable storage, and then under its final name. Raises `OSError` where that is taken."""
    sync_disk(made)
    made.rename(target)
    sync_folder(target.parent)


def make_folder(folder: Path) -> Path:
    """Return the folder, made for its owner only where it is missing, and so those that it lies in."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def remove_left(target: Path) -> None:
    """Remove what others left unfinished of `target`; only for who keeps everybody else from making it."""
    for left in target.parent.glob(f"{target.name}{NEW}*"):
        remove_tree(left)


def remove_tree(folder: Path) -> None:
    """Remove a folder and all below it, following no link; what somebody still writes into may stay."""
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def hold_lock(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Keep everybody else, of this process and of others, from the same lock for the length of the block.

    Gives the block True; where others have it and `wait` is false, False at once. A process that dies lets go.
    """
    make_folder(path.parent)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        yield _lock(descriptor, wait)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, wait: bool) -> bool:
    if os.name != "posix":  # whoever comes last wins
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
