"""The registry of images: takes in what is pushed, and knows what of it can be started.

What was pushed lies in files (`runtara.images`), and who may start it stands in the store; a version is in the store
only when its content is on the disk. A push that is interrupted, by whomever, goes on where it was; one that is
repeated changes nothing. Everything is asked on behalf of one tenant, and somebody else's image is an unknown one.

What belongs to one push is done one after the other, in the order in which it was asked for; all else at once.
"""

import hashlib
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, cast

import trio

from runtara import messages
from runtara.actors._deferred import Deferred
from runtara.actors._images_catalogue import Catalogue, in_thread
from runtara.actors._images_fetches import BringImage, Fetches
from runtara.actors._images_starts import Starts
from runtara.actors._images_views import info_of, options_json
from runtara.actors._service import Actor, hears
from runtara.actors.neighbours import Neighbourhood, Shared
from runtara.actors.storage import Act, Query
from runtara.clock import Clock
from runtara.errors import ActorStopped, Busy, InvalidInput, RuntaraError, TooLarge
from runtara.ids import ImageRef, new_id
from runtara.images import Library
from runtara.messages import Call, ImagePushed
from runtara.records import Image, ImageVersion

__all__ = ["CALLS_MAX", "PARTS_MAX", "UPLOADS_MAX", "ImageRegistry"]

CALLS_MAX: Final = 1_024
"""Most questions that are being answered at a time."""

UPLOADS_MAX: Final = 64
"""Most pushes that move at a time."""

PARTS_MAX: Final = 64
"""Most parts of one push that wait to be written."""

_Job = tuple[Deferred, Call]


class ImageRegistry(Actor):
    """Answers calls about images, and starts of them. `instances`, `reader` and `writer` are paths of actors.

    Where several nodes share the store, `shared` says how the others are asked for what was pushed to them.
    """

    AT_ONCE = False  # files take their time

    def __init__(
        self,
        *,
        instances: str,
        reader: str,
        writer: str,
        library: Library,
        clock: Clock,
        image_max_bytes: int,
        shared: Shared | None = None,
    ) -> None:
        self._paths: Final = (instances, reader, writer)
        self._library: Final = library
        self._blobs: Final = library.blobs
        self._clock: Final = clock
        self._image_max_bytes: Final = image_max_bytes
        self._pushes: Final[dict[str, deque[_Job]]] = {}
        """What is still to be done for each push that moves."""
        self._under_way = 0
        self._pushed = 0
        neighbours = None if shared is None else Neighbourhood(shared, lambda: self._reader)
        self._neighbours: Final = neighbours
        self._fetches: Final = None if neighbours is None else Fetches(library.blobs, neighbours, self.start_soon)

    async def on_start(self) -> None:
        """Know whom to ask."""
        instances, reader, writer = self._paths
        self._reader, self._writer = self.system.ref(reader), self.system.ref(writer)
        starts = Starts(self._reader, partial(self.system.cell, instances))
        catalogue = Catalogue(self._reader, self._writer, self._blobs, self._clock, self._neighbours)
        self._answers: dict[type, Callable[[Call], Awaitable[object]]] = {
            messages.StartInstance: starts.start,
            messages.PushImage: self._push,
            messages.WriteImage: self._write,
            **catalogue.answers,
        }

    async def on_stop(self, failure: BaseException | None) -> None:
        """Have nobody wait in vain; whatever has arrived stays."""
        for jobs in self._pushes.values():
            for deferred, _ in jobs:
                deferred.fail(ActorStopped("the registry has ended before it could write this: push again"))

    def describe(self) -> dict[str, Any]:
        """Return how many questions are being answered, how many pushes move, and how many have come to their end.

        And how many images are on their way from other nodes.
        """
        fetches = 0 if self._fetches is None else self._fetches.under_way
        return {"under_way": self._under_way, "pushes": len(self._pushes), "pushed": self._pushed, "fetches": fetches}

    @hears(Call)
    def call(self, call: Call) -> Deferred:
        """Answer a question of a tenant, when the answer is known."""
        if self._under_way >= CALLS_MAX:
            raise Busy(f"{CALLS_MAX} calls about images are being answered, the bound: try again later")
        deferred = Deferred()
        command = call.command
        if isinstance(command, messages.PushImage | messages.WriteImage):
            self._queue(_upload_id(call.key.tenant_id, command.digest), (deferred, call))
        else:
            self.start_soon(self._answer, deferred, call)
        self._under_way += 1
        return deferred

    @hears(BringImage)
    def bring(self, wanted: BringImage) -> Deferred:
        """Have what was pushed to another node here."""
        if self._fetches is None:
            raise InvalidInput(f"{self.ref.path} has no other nodes to fetch from: nobody shares its store")
        return self._fetches.bring(wanted)

    def _queue(self, upload_id: str, job: _Job) -> None:
        jobs = self._pushes.get(upload_id)
        if jobs is None:
            if len(self._pushes) >= UPLOADS_MAX:
                raise Busy(f"{UPLOADS_MAX} images are being pushed, the bound: try again later")
            self._pushes[upload_id] = deque([job])
            self.start_soon(self._work_off, upload_id)
        elif len(jobs) >= PARTS_MAX:
            raise Busy(f"{PARTS_MAX} parts of the image wait to be written, the bound: wait for an answer first")
        else:
            jobs.append(job)

    async def _work_off(self, upload_id: str) -> None:
        jobs = self._pushes[upload_id]
        try:
            while jobs:
                await self._answer(*jobs.popleft())
        finally:
            if not jobs:
                del self._pushes[upload_id]

    async def _answer(self, deferred: Deferred, call: Call) -> None:
        try:
            with trio.fail_at(deferred.deadline):
                deferred.settle(await self._answers[type(call.command)](call))
        except RuntaraError as refusal:
            deferred.fail(refusal)
        except trio.TooSlowError:  # whoever asked has given up
            pass
        finally:
            self._under_way -= 1
            deferred.fail(ActorStopped("the registry of images has ended before it could answer: ask again"))

    # Pushing ----------------------------------------------------------------------------------------------------------

    async def _push(self, call: Call) -> ImagePushed:
        command, tenant_id = cast("messages.PushImage", call.command), call.key.tenant_id
        if command.size > self._image_max_bytes:
            raise TooLarge(
                f"image {command.name!r} has {command.size} bytes: at most {self._image_max_bytes} are allowed; "
                "leave out what the program does not need, or raise RUNTARA_IMAGE_MAX_BYTES"
            )
        if not await self._is_there(tenant_id, command):
            upload_id = _upload_id(tenant_id, command.digest)
            offset = await in_thread(self._blobs.open_upload, upload_id)
            if offset < command.size:
                return ImagePushed(offset=offset)
            await in_thread(self._take_in, upload_id, command)
        image, version = await self._writer.ask(
            Act("push_image", (tenant_id, command.name, new_id(), self._version(command)))
        )
        self._pushed += 1
        return ImagePushed(offset=command.size, image=info_of(image, version))

    def _take_in(self, upload_id: str, command: messages.PushImage) -> None:
        """Have what has arrived become content, if it is what it should be."""
        path = self._blobs.finish(upload_id, command.digest, command.size)
        self._library.check(path, command.kind)

    async def _is_there(self, tenant_id: str, command: messages.PushImage) -> bool:
        """Return whether the tenant's image of that name has this very content already."""
        image: Image | None = await self._reader.ask(Query("read_image", (tenant_id, command.name)))
        if image is None:
            return False
        ref = ImageRef(image.image_id, image.version)
        version: ImageVersion | None = await self._reader.ask(Query("read_image_version", (tenant_id, ref)))
        if version is None or version.digest != command.digest:
            return False
        found = await in_thread(lambda: self._blobs.find(command.digest, touch=True))
        return found is not None

    def _version(self, command: messages.PushImage) -> ImageVersion:
        return ImageVersion(
            version=0,  # counted by the store
            digest=command.digest,
            size=command.size,
            kind=command.kind,
            created_at=self._clock.now_ms(),
            description=command.description,
            metadata=command.metadata,
            defaults=command.defaults,
            options=options_json(command.options),
        )

    async def _write(self, call: Call) -> messages.ImageWritten:
        command = cast("messages.WriteImage", call.command)
        upload_id = _upload_id(call.key.tenant_id, command.digest)
        offset = await in_thread(self._blobs.write, upload_id, command.offset, command.data)
        return messages.ImageWritten(offset=offset)


def _upload_id(tenant_id: str, digest: str) -> str:
    """Return what a tenant's push of some content is called: nobody can go on with somebody else's."""
    return hashlib.sha256(f"{tenant_id}\0{digest}".encode()).hexdigest()[:32]
