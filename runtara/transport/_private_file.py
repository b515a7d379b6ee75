"""Files that only their owner may read: how they are made, replaced and read.

For what would let somebody else in: keys, secrets, private keys. What it is that they hold is not known here.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from runtara.disk import sync_folder
from runtara.errors import ConfigError, StoreInUse
from runtara.ids import new_id

__all__ = [
    "PRIVATE_MAX_BYTES",
    "make_once",
    "open_folder",
    "own_folder",
    "read_private",
    "wait_lock",
    "write_private",
]

PRIVATE_MAX_BYTES = 16 * 1024 * 1024
"""Largest such file."""

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_private(path: Path) -> bytes:
    """Return what a file holds. Raises `ConfigError` if others may read or write it, or if it cannot be read."""
    try:
        with path.open("rb") as file:
            _check_mode(path, os.fstat(file.fileno()).st_mode)
            content = file.read(PRIVATE_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; look at its owner and mode") from error
    if len(content) > PRIVATE_MAX_BYTES:
        raise ConfigError(f"{path} has more than {PRIVATE_MAX_BYTES} bytes: this is not the file that was written")
    return content


def _check_mode(path: Path, mode: int) -> None:
    if os.name == "posix" and (not stat.S_ISREG(mode) or mode & _OTHERS):
        raise ConfigError(
            f"{path} may be read by others (mode {stat.S_IMODE(mode):04o}): make it private with chmod 600, "
            "and replace what it holds if somebody may have seen it"
        )


def write_private(path: Path, content: bytes) -> None:
    """Replace what a file holds, all at once: whoever reads it, or loses power, finds either the old or the new."""
    temporary = _write_beside(path, content)
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_once(path: Path, content: bytes) -> None:
    """Make a file unless there is one; of several processes that do so at once, exactly one succeeds."""
    if path.exists():
        return
    open_folder(path.parent)
    temporary = _write_beside(path, content)
    try:
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temporary)
    finally:
        temporary.unlink()
    sync_folder(path.parent)


@contextlib.contextmanager
def wait_lock(path: Path) -> Iterator[None]:
    """Wait until nobody else is about to replace a file, and keep others from it for the length of the block.

    Raises `ConfigError` if its folder cannot be written.
    """
    try:
        open_folder(path.parent)
        descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise ConfigError(f"{path} cannot be changed: {error.strerror}; look at its folder") from error
    try:
        if os.name == "posix":
            import fcntl  # where there is none, whoever writes last wins

            fcntl.flock(descriptor, fcntl.LOCK_EX)  # let go of when the descriptor is closed, however that happens
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Keep other processes from owning a folder for the length of the block. Raises `StoreInUse` if one does."""
    open_folder(folder)
    descriptor = os.open(folder / "owner.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        if os.name == "posix":
            import fcntl

            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreInUse(
                    f"another server works with the data folder {folder}: stop it, or give each its own "
                    "(RUNTARA_DATA_DIR)"
                ) from None
        yield
    finally:
        os.close(descriptor)


def open_folder(folder: Path) -> Path:
    """Return the folder, made for its owner only where it is missing."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _write_beside(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{new_id()}")
    with _exclusive(temporary) as descriptor, os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return temporary


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[int]:
    """Open a new file for its owner only, and take it away again if the block fails."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        yield descriptor
    except BaseException:
        path.unlink(missing_ok=True)
        raise
