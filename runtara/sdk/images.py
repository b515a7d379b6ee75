"""How a program gets to a server as an image, and back: pushed in parts, from where an interrupted push had come to."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from errno import EEXIST
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import msgspec

from runtara.errors import Busy, InvalidInput
from runtara.images.pack import kind_of, pack_folder
from runtara.messages import GetImage, ImageInfo, PushImage, ReadImage, WriteImage
from runtara.records import ImageKind, ImageOptions
from runtara.transport.door import Door

__all__ = ["PART_BYTES", "pull_image", "push_image"]

PART_BYTES: Final = 1024 * 1024
"""How much is sent at once."""


def push_image(
    door: Door,
    name: str,
    path: str | Path,
    *,
    kind: ImageKind | None = None,
    description: str = "",
    metadata: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    options: ImageOptions | None = None,
    progress: Callable[[int, int], None] = lambda _sent, _size: None,
) -> ImageInfo:
    """Push a file or folder under a name and return the version that it became; blocks the calling thread.

    `kind` is found out where it is not given. `progress` is called with how many bytes have arrived, and of how many.
    Interrupted by whatever, it may be called again and sends only what is missing; the same push again changes nothing.

    Raises `InvalidInput` for what cannot be pushed, and what the server refuses with.
    """
    path = Path(path)
    kind = kind or kind_of(path)
    with _opened(path, kind) as file:
        digest = _digest(file)
        size = file.tell()
        command = PushImage(
            name=name,
            kind=kind,
            digest=digest,
            size=size,
            description=description,
            metadata=msgspec.json.encode(metadata or {}),
            defaults=None if defaults is None else msgspec.json.encode(defaults),
            options=options or ImageOptions(),
        )
        while True:
            pushed = door.call_from_thread(command)
            progress(pushed.offset, size)
            if pushed.image is not None:
                return pushed.image
            _send(door, file, command, pushed.offset, progress)


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while part := file.read(PART_BYTES):
        digest.update(part)
    return digest.hexdigest()


def _send(door: Door, file: BinaryIO, command: PushImage, offset: int, progress: Callable[[int, int], None]) -> None:
    file.seek(offset)
    while offset < command.size:
        part = file.read(min(PART_BYTES, command.size - offset))
        if not part:
            raise InvalidInput(f"what is pushed as {command.name!r} has become shorter meanwhile: push it again")
        door.call_from_thread(WriteImage(digest=command.digest, offset=offset, data=part))
        offset += len(part)
        progress(offset, command.size)


@contextmanager
def _opened(path: Path, kind: ImageKind) -> Iterator[BinaryIO]:
    """Have the file that is to be pushed; that of a folder is made for the length of the block."""
    try:
        if not path.is_dir():
            with path.open("rb") as file:
                yield file
            return
        if kind != "folder":
            raise InvalidInput(f"{path} is a folder, and cannot be pushed as {kind}: push it as what it is")
        with tempfile.TemporaryFile() as packed:
            pack_folder(path, packed)
            packed.seek(0)
            yield packed
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from None


def pull_image(door: Door, named: str, path: str | Path) -> ImageInfo:
    """Write what was pushed into a new file, and return which version it is; blocks the calling thread.

    Raises `InvalidInput` for a file that exists, `Busy` where what came is not what was pushed, and what the server
    refuses with.
    """
    info = door.call_from_thread(GetImage(image=named))
    try:
        if os.path.lexists(path):
            raise FileExistsError(EEXIST, "it exists already")
        with tempfile.NamedTemporaryFile(dir=Path(path).parent, prefix=f".{Path(path).name}.") as file:
            digest = _fetch(door, info, file)
            if digest != info.digest:
                raise Busy(f"what came of {named!r} is not what was pushed: pull it again")
            file.flush()
            os.link(file.name, path)  # complete or not there; and never over what somebody else has made meanwhile
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror or error}") from None
    return info


def _fetch(door: Door, info: ImageInfo, file: IO[bytes]) -> str:
    """Write an image into a file, as far as it comes; return the digest of that."""
    named, digest = f"{info.image_id}@{info.version}", hashlib.sha256()
    while file.tell() < info.size:
        part = door.call_from_thread(ReadImage(image=named, offset=file.tell(), limit=PART_BYTES))
        if not part.data:
            break
        digest.update(part.data)
        file.write(part.data)
    return digest.hexdigest()
