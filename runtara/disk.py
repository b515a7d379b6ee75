"""What survives a loss of power, and what a disk refuses."""

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from runtara.errors import StoreFull, StoreUnavailable

__all__ = ["NO_ROOM", "answer_refusals", "sync_disk", "sync_folder"]

NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What the system says where a disk or a quota is full, or a file has the size that it may have."""


@contextlib.contextmanager
def answer_refusals(what: str) -> Iterator[None]:
    """Turn what a disk refuses inside the block into `StoreFull` or `StoreUnavailable`; `what` says what was tried."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise StoreFull(f"{what}: {error.strerror}; make room on the disk and try again") from error
        raise StoreUnavailable(f"{what}: {error.strerror or error}; look at the disk and at who owns it") from error


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on stable storage, where the system has a way to. Raises `OSError`."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_disk(folder: Path) -> None:
    """Put all that was written to the disk of a folder on stable storage. Raises `OSError`.

    For thousands of files this takes a fraction of what syncing one after the other does.
    """
    if os.name != "posix":
        return
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)  # Linux; Python has no call for it
    if syncfs is None:
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(descriptor):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(descriptor)
