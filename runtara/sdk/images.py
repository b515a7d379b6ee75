"""How a program gets to a server as an image, and back: pushed in parts, from where an interrupted push had come to.

Each way is a flow, for all faces of the SDK; `push_image` and `pull_image` go it blocking the thread.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from errno import EEXIST
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

import msgspec

from runtara.errors import Busy, InvalidInput
from runtara.images.pack import kind_of, pack_folder
from runtara.messages import GetImage, ImageInfo, PushImage, ReadImage, WriteImage
from runtara.records import ImageKind, ImageOptions
from runtara.sdk._drive import drive_blocking
from runtara.sdk._flows import Flow
from runtara.sdk._wishes import ask, perform_blocking, work
from runtara.transport.door import Door

__all__ = ["PART_BYTES", "Source", "pull_image", "pulling", "push_image", "pushing", "unwatched"]

PART_BYTES: Final = 1024 * 1024
"""How much is sent at once."""

Source = str | Path | BinaryIO
"""What is pushed: a file or a folder by its path, or an open file, which is read from where it is to its end."""


def unwatched(_sent: int, _size: int) -> None:
    """Do nothing: nobody looks how far a push has come."""


def push_image(
    door: Door,
    name: str,
    source: Source,
    *,
    kind: ImageKind | None = None,
    description: str = "",
    metadata: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    options: ImageOptions | None = None,
    progress: Callable[[int, int], None] = unwatched,
) -> ImageInfo:
    """Push a file or folder under a name and return the version that it became; blocks the calling thread.

    `kind` is found out where it is not given. `progress` is called with how many bytes have arrived, and of how many.
    Interrupted by whatever, it may be called again and sends only what is missing; the same push again changes nothing.

    Raises `InvalidInput` for what cannot be pushed, and what the server refuses with.
    """
    said = {"description": description, "metadata": metadata, "defaults": defaults, "options": options}
    return drive_blocking(pushing(door, name, source, kind=kind, progress=progress, **said), perform_blocking)


def pull_image(door: Door, named: str, path: str | Path) -> ImageInfo:
    """Write what was pushed into a new file, and return which version it is; blocks the calling thread.

    Raises `InvalidInput` for a file that exists, `Busy` where what came is not what was pushed, and what the server
    refuses with.
    """
    return drive_blocking(pulling(door, named, path), perform_blocking)


# Pushed ---------------------------------------------------------------------------------------------------------------


def pushing(
    door: Door,
    name: str,
    source: Source,
    *,
    kind: ImageKind | None,
    progress: Callable[[int, int], None],
    **said: Any,  # the other arguments of `push_image`
) -> Flow[ImageInfo]:
    """Push a file or folder under a name. See `push_image`."""
    with ExitStack() as opened:
        file, kind = yield from work(lambda: opened.enter_context(_opened(source, kind)))
        digest, size = yield from work(partial(_measure, file))
        command = _command(name, kind, digest, size, **said)
        while True:
            pushed = yield from ask(door, command)
            progress(pushed.offset, size)
            if pushed.image is not None:
                return pushed.image
            yield from _send(door, file, command, pushed.offset, progress)
    raise AssertionError("the stack swallows nothing")


def _command(
    name: str,
    kind: ImageKind,
    digest: str,
    size: int,
    *,
    description: str,
    metadata: Mapping[str, Any] | None,
    defaults: Mapping[str, Any] | None,
    options: ImageOptions | None,
) -> PushImage:
    return PushImage(
        name=name,
        kind=kind,
        digest=digest,
        size=size,
        description=description,
        metadata=msgspec.json.encode(metadata or {}),
        defaults=None if defaults is None else msgspec.json.encode(defaults),
        options=options or ImageOptions(),
    )


def _measure(file: IO[bytes]) -> tuple[str, int]:
    """Return digest and size of what is in a file."""
    digest = hashlib.sha256()
    while part := file.read(PART_BYTES):
        digest.update(part)
    return digest.hexdigest(), file.tell()


def _send(
    door: Door, file: IO[bytes], command: PushImage, offset: int, progress: Callable[[int, int], None]
) -> Flow[None]:
    while offset < command.size:
        part = yield from work(partial(_read, file, offset, min(PART_BYTES, command.size - offset)))
        if not part:
            raise InvalidInput(f"what is pushed as {command.name!r} has become shorter meanwhile: push it again")
        yield from ask(door, WriteImage(digest=command.digest, offset=offset, data=part))
        offset += len(part)
        progress(offset, command.size)


def _read(file: IO[bytes], offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)


@contextmanager
def _opened(source: Source, kind: ImageKind | None) -> Iterator[tuple[IO[bytes], ImageKind]]:
    """Have the file that is to be pushed, and what it is; one that must be made is there for the block only."""
    if not isinstance(source, str | Path):
        if kind is None:
            raise InvalidInput("of an open file nobody knows what it is: say its kind")
        with tempfile.TemporaryFile() as copied:
            shutil.copyfileobj(source, copied, PART_BYTES)
            copied.seek(0)
            yield copied, kind
        return
    path = Path(source)
    kind = kind or kind_of(path)
    try:
        with path.open("rb") if not path.is_dir() else _packed(path, kind) as file:
            yield file, kind
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from None


@contextmanager
def _packed(path: Path, kind: ImageKind) -> Iterator[IO[bytes]]:
    if kind != "folder":
        raise InvalidInput(f"{path} is a folder, and cannot be pushed as {kind}: push it as what it is")
    with tempfile.TemporaryFile() as packed:
        pack_folder(path, packed)
        packed.seek(0)
        yield packed


# Pulled ---------------------------------------------------------------------------------------------------------------


def pulling(door: Door, named: str, path: str | Path) -> Flow[ImageInfo]:
    """Write what was pushed into a new file. See `pull_image`."""
    info = yield from ask(door, GetImage(image=named))
    try:
        if os.path.lexists(path):
            raise FileExistsError(EEXIST, "it exists already")
        with tempfile.NamedTemporaryFile(dir=Path(path).parent, prefix=f".{Path(path).name}.") as file:
            digest = yield from _fetch(door, info, file)
            if digest != info.digest:
                raise Busy(f"what came of {named!r} is not what was pushed: pull it again")
            yield from work(file.flush)
            os.link(file.name, path)  # complete or not there; and never over what somebody else has made meanwhile
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror or error}") from None
    return info


def _fetch(door: Door, info: ImageInfo, file: IO[bytes]) -> Flow[str]:
    """Write an image into a file, as far as it comes; return the digest of that."""
    named, digest, offset = f"{info.image_id}@{info.version}", hashlib.sha256(), 0
    while offset < info.size:
        part = yield from ask(door, ReadImage(image=named, offset=offset, limit=PART_BYTES))
        if not part.data:
            break
        digest.update(part.data)
        offset += len(part.data)
        yield from work(partial(file.write, part.data))
    return digest.hexdigest()
