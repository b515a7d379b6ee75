"""Brings what was pushed to another node here, when it is needed here: in parts, and verified like a push.

What has arrived stays where a fetch is interrupted, and the next one goes on there, from whichever node has the rest.
An image is asked for in the name of the tenant who uses it; the other node refuses what is not that tenant's.
"""

import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final, cast

import msgspec

from runtara.actors._deferred import Deferred
from runtara.actors._images_catalogue import PART_TIMEOUT, in_thread
from runtara.actors.neighbours import Neighbourhood
from runtara.errors import ActorStopped, Busy, InvalidInput, NotFound, RuntaraError, Unreachable
from runtara.ids import ImageRef, InstanceKey
from runtara.images import Blobs
from runtara.messages import Call, ImageRead, ReadImage
from runtara.records import Holder

__all__ = ["FETCHES_MAX", "BringImage", "Fetches"]

FETCHES_MAX: Final = 16
"""Most images that are being fetched at a time."""

PART_BYTES: Final = 1024 * 1024
"""How much is asked for at once."""

_NOBODY: Final = "node"
"""The instance that a question of a node is about, which is about none."""

_log: Final = logging.getLogger("runtara.images")


class BringImage(msgspec.Struct, frozen=True, kw_only=True):
    """Have the content of an image version on this node. Replied to when it is."""

    tenant_id: str
    ref: ImageRef
    digest: str
    size: int


class Fetches:
    """What is on its way here: one fetch for each digest, however many wait for it. `start` starts a task."""

    def __init__(
        self,
        blobs: Blobs,
        neighbours: Neighbourhood,
        start: Callable[[Callable[[BringImage], Awaitable[None]], BringImage], object],
    ) -> None:
        self._blobs = blobs
        self._neighbours = neighbours
        self._start = start
        self._waiting: Final[dict[str, list[Deferred]]] = {}

    @property
    def under_way(self) -> int:
        """How many there are."""
        return len(self._waiting)

    def bring(self, wanted: BringImage) -> Deferred:
        """Begin to fetch something, or wait with those who have. Raises `Busy`."""
        deferred = Deferred()
        waiting = self._waiting.get(wanted.digest)
        if waiting is not None:
            waiting.append(deferred)
            return deferred
        if len(self._waiting) >= FETCHES_MAX:
            raise Busy(f"{FETCHES_MAX} images are being fetched from other nodes, the bound: try again later")
        self._waiting[wanted.digest] = [deferred]
        self._start(self._fetch, wanted)
        return deferred

    async def _fetch(self, wanted: BringImage) -> None:
        failure: RuntaraError = ActorStopped("the registry has ended before it had fetched the image: ask again")
        fetched = False
        try:
            await self._have(wanted)
            fetched = True
        except RuntaraError as refusal:
            failure = refusal
        finally:
            for deferred in self._waiting.pop(wanted.digest):
                if fetched:
                    deferred.settle(None)
                else:
                    deferred.fail(failure)

    async def _have(self, wanted: BringImage) -> None:
        if await in_thread(lambda: self._blobs.find(wanted.digest, touch=True)) is not None:
            return
        peers, last = await self._neighbours.list_peers(), ""
        for peer in peers:
            try:
                await self._fetch_from(peer, wanted)
            except NotFound:
                continue
            except RuntaraError as error:
                last = f" ({error})"
                _log.warning("image-not-fetched", extra={**_names(wanted, peer), "error": str(error)})
            else:
                _log.info("image-fetched", extra=_names(wanted, peer))
                return
        raise Unreachable(
            f"image {wanted.ref.image_id} version {wanted.ref.version} is not on this node, and cannot be fetched from "
            f"any of the {len(peers)} others that can be asked{last}: start the node again that it was pushed to, push "
            "it again, or give all nodes one RUNTARA_IMAGES_DIR"
        )

    async def _fetch_from(self, peer: Holder, wanted: BringImage) -> None:
        """Fetch what is missing. Raises `InvalidInput` where it is not what it should be; then nothing of it stays."""
        upload_id = self._upload_id(wanted.digest)
        offset = await in_thread(self._blobs.open_upload, upload_id)
        while offset < wanted.size:
            part = await self._read(peer, wanted, offset)
            if not part.data or part.size != wanted.size:
                raise InvalidInput(f"node {peer.name!r} has {part.size} bytes of it, not {wanted.size}: push it again")
            offset = await in_thread(self._blobs.write, upload_id, offset, part.data)
        await in_thread(self._blobs.finish, upload_id, wanted.digest, wanted.size)

    async def _read(self, peer: Holder, wanted: BringImage, offset: int) -> ImageRead:
        """Have another node read a part."""
        named = f"{wanted.ref.image_id}@{wanted.ref.version}"
        question = ReadImage(image=named, offset=offset, limit=PART_BYTES)
        call = Call(InstanceKey(wanted.tenant_id, _NOBODY), question)
        where = f"an image is asked for at node {peer.name!r}"
        return cast("ImageRead", await self._neighbours.ask(peer, call, PART_TIMEOUT, where))

    def _upload_id(self, digest: str) -> str:
        """Return what a fetch is called: no push goes on with it, nor a node that has the folder in common."""
        return hashlib.sha256(f"fetch\0{self._neighbours.node}\0{digest}".encode()).hexdigest()[:32]


def _names(wanted: BringImage, peer: Holder) -> dict[str, object]:
    return {"digest": wanted.digest, "bytes": wanted.size, "node": peer.name}
