"""Files that are complete or not there: written under another name, put on stable storage, then renamed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from runtara.disk import NO_ROOM, sync_folder
from runtara.errors import AlreadyExists, RuntaraError, StoreFull, StoreUnavailable

__all__ = ["new_file"]


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Give the block a file to write into, which stands at `path`, for its owner only, once the block has ended.

    Until then, and where the block fails, there is nothing at `path`. Raises `AlreadyExists`, `StoreFull` or
    `StoreUnavailable`.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        if path.exists():
            raise AlreadyExists(f"there is a file {path} already: choose another name, or remove it")
        descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        kind: type[RuntaraError] = StoreFull if error.errno in NO_ROOM else StoreUnavailable
        raise kind(f"{path} cannot be written: {error.strerror}; look at its disk and its folder") from error
