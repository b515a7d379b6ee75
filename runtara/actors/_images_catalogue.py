"""What can be seen of a tenant's images, and which of their versions count."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import trio
from msgspec.structs import replace

from runtara import messages
from runtara.actors._images_views import find_image, info_of
from runtara.actors._ref import Ref
from runtara.actors.neighbours import Neighbourhood
from runtara.actors.storage import Act, Query
from runtara.clock import Clock
from runtara.errors import InvalidInput, InvalidState, NotFound, RuntaraError
from runtara.ids import ImageRef
from runtara.images import Blobs
from runtara.messages import Call, ImageInfo
from runtara.records import Image

__all__ = ["PART_TIMEOUT", "Catalogue", "in_thread"]

T = TypeVar("T")

PART_TIMEOUT: Final = 30.0
"""Seconds that another node may take for a part of what was pushed to it."""


class Catalogue:
    """Answers calls about images that are there; what lies at a neighbour is read there."""

    def __init__(
        self, reader: Ref, writer: Ref, blobs: Blobs, clock: Clock, neighbours: Neighbourhood | None = None
    ) -> None:
        self._neighbours = neighbours
        self._reader = reader
        self._writer = writer
        self._blobs = blobs
        self._clock = clock
        self.answers: Final[dict[type, Callable[[Call], Awaitable[object]]]] = {
            messages.ReadImage: self._read,
            messages.GetImage: self._get,
            messages.ListImages: self._list,
            messages.ListImageVersions: self._list_versions,
            messages.UseImageVersion: self._use,
            messages.DeleteImage: self._delete,
        }
        """What it answers, and how."""

    async def _get(self, call: Call) -> ImageInfo:
        command = cast("messages.GetImage", call.command)
        image, version = await find_image(self._reader, call.key.tenant_id, command.image)
        return info_of(image, version)

    async def _read(self, call: Call) -> messages.ImageRead:
        command = cast("messages.ReadImage", call.command)
        image, version = await find_image(self._reader, call.key.tenant_id, command.image)
        path = await in_thread(self._blobs.find, version.digest)
        if path is not None:
            return messages.ImageRead(data=await in_thread(_part_of, path, command), size=version.size)
        if not call.passed_on and self._neighbours is not None:
            pinned = replace(command, image=f"{image.image_id}@{version.version}")
            found = await _read_there(self._neighbours, replace(call, command=pinned))
            if found is not None:
                return found
        raise NotFound(
            f"what was pushed as {command.image!r} is not on this node, nor on another one that can be asked: start "
            "the node again that it was pushed to, or push it again"
        )

    async def _list(self, call: Call) -> messages.ImagesFound:
        command, tenant_id = cast("messages.ListImages", call.command), call.key.tenant_id
        page = await self._reader.ask(Query("list_images", (tenant_id, command.limit, command.cursor)))
        found = []
        for image in page.images:
            ref = ImageRef(image.image_id, image.version)
            version = await self._reader.ask(Query("read_image_version", (tenant_id, ref)))
            if version is not None:
                found.append(info_of(image, version))
        return messages.ImagesFound(images=tuple(found), cursor=page.cursor)

    async def _list_versions(self, call: Call) -> messages.ImagesFound:
        command, tenant_id = cast("messages.ListImageVersions", call.command), call.key.tenant_id
        image, _ = await find_image(self._reader, tenant_id, command.image)
        arguments = (tenant_id, image.image_id, command.limit, command.cursor)
        page = await self._reader.ask(Query("list_image_versions", arguments))
        return messages.ImagesFound(
            images=tuple(info_of(image, version) for version in page.versions), cursor=page.cursor
        )

    async def _use(self, call: Call) -> ImageInfo:
        command, tenant_id = cast("messages.UseImageVersion", call.command), call.key.tenant_id
        if "@" not in command.image:
            raise InvalidInput(f"{command.image!r} names no version: write which one is to be used, as in report@2")
        image, version = await find_image(self._reader, tenant_id, command.image)
        arguments = (tenant_id, image.image_id, version.version, self._clock.now_ms())
        used: Image | None = await self._writer.ask(Act("use_image_version", arguments))
        if used is None:
            raise NotFound(f"there is no image {command.image!r} any more: somebody has just deleted it")
        return info_of(used, version)

    async def _delete(self, call: Call) -> messages.ImageDeleted:
        command, tenant_id = cast("messages.DeleteImage", call.command), call.key.tenant_id
        if "@" in command.image:
            raise InvalidInput(f"{command.image!r} names a version: an image is deleted with all of them, by its name")
        image, _ = await find_image(self._reader, tenant_id, command.image)
        users = await self._writer.ask(Act("delete_image", (tenant_id, image.image_id, self._clock.now_ms())))
        if users:
            raise InvalidState(
                f"image {image.name!r} is used by instances that are not finished, {', '.join(users)} among them: "
                "cancel them, or wait for their end"
            )
        return messages.ImageDeleted(image_id=image.image_id)


async def _read_there(neighbours: Neighbourhood, call: Call) -> messages.ImageRead | None:
    """Return a part of what was pushed from the first of the other nodes that has it."""
    for peer in await neighbours.list_peers():
        with suppress(RuntaraError):  # it has not got it, or does not answer; what becomes of others is its own affair
            where = f"an image is asked for at node {peer.name!r}"
            return cast("messages.ImageRead", await neighbours.ask(peer, call, PART_TIMEOUT, where))
    return None


def _part_of(path: Path, command: messages.ReadImage) -> bytes:
    with path.open("rb") as file:
        file.seek(command.offset)
        return file.read(command.limit)


async def in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Do what touches files in a thread, to its end: a cancellation leaves nothing half done."""
    return await trio.to_thread.run_sync(work, *arguments)
