"""What the runner finds out before a launch: what the instance was started with, and of which image it is."""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final, TypeVar

import trio

from runtara.actors._images_fetches import BringImage
from runtara.actors._images_views import options_of
from runtara.actors._instance_case import ORIGIN, Need
from runtara.actors._ref import Ref
from runtara.actors._resources import split_resources
from runtara.actors._specs import Backoff
from runtara.actors.runners import HostFailed, Plan, PlannedImage
from runtara.actors.storage import Answer, Query
from runtara.errors import NotFound, RuntaraError
from runtara.ids import ImageRef, InstanceKey
from runtara.messages import Request
from runtara.records import ImageVersion
from runtara.traces import current_trace

__all__ = ["Planner"]

R = TypeVar("R")

_INPUT, _ENV = Need("input"), Need("env")
_TRY_AGAIN: Final = Backoff(first=0.1, most=10.0)
"""Between tries to read while the store is away."""


class Planner:
    """Plans launches. `connection` returns what a program needs to connect to this host.

    `images` returns the registry, where what was pushed may lie at other nodes.
    """

    def __init__(
        self,
        reader: Ref,
        connection: Callable[[InstanceKey, int], Mapping[str, str]],
        random: Callable[[], float],
        images: Callable[[], Ref] | None = None,
    ) -> None:
        self._reader = reader
        self._connection = connection
        self._random = random
        self._images = images

    async def plan(self, key: InstanceKey, epoch: int, program: str) -> Plan:
        """Return the plan of an attempt, as soon as the store can tell; what it runs is here then.

        Raises `NotFound` for an image that is gone, and `HostFailed` for one that no node has at the moment.
        """
        found: Mapping[Need, Any] = await self._read(Answer(key, (_INPUT, _ENV, ORIGIN)))
        env, resources = split_resources(found[_ENV])
        trace = current_trace()
        return Plan(
            key=key,
            epoch=epoch,
            program=program,
            image=await self._image(key, program),
            input=found[_INPUT],
            origin=found[ORIGIN],
            env=env,
            resources=resources,
            ours={**self._connection(key, epoch), **({} if trace is None else {"RUNTARA_TRACE": trace})},
        )

    async def _image(self, key: InstanceKey, program: str) -> PlannedImage | None:
        ref = ImageRef.of_program(program)
        if ref is None:
            return None
        version: ImageVersion | None = await self._read(Query("read_image_version", (key.tenant_id, ref)))
        if version is None:
            raise NotFound(f"version {ref.version} of image {ref.image_id} is not there any more: push it again")
        if self._images is not None:
            await _bring(
                self._images, BringImage(tenant_id=key.tenant_id, ref=ref, digest=version.digest, size=version.size)
            )
        return PlannedImage(digest=version.digest, kind=version.kind, options=options_of(version))

    async def _read(self, question: Request[R]) -> R:
        """Return what the store says, as soon as it can; meanwhile, a stop takes the launch back."""
        failures = 0
        while True:
            try:
                answer: R = await self._reader.ask(question)
                return answer
            except RuntaraError:
                failures += 1
            await trio.sleep(_TRY_AGAIN.delay(failures, self._random))


async def _bring(images: Callable[[], Ref], wanted: BringImage) -> None:
    """Have an image's content here. A stop of the launch ends only the wait: what is on its way may come."""
    try:
        await images().ask(wanted, timeout=inf)
    except RuntaraError as failure:
        raise HostFailed(str(failure)) from failure
