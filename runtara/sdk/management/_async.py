"""The async faces of the management client, for trio and for asyncio: every call is awaited."""

from typing import Self

from runtara.sdk.management._async_host import AsyncHost
from runtara.sdk.management._async_instances import AsyncInstances

__all__ = ["AsyncioManagement", "TrioManagement"]


class _AsyncManagement(AsyncInstances, AsyncHost):
    """What both have: a door may be used from any event loop."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class TrioManagement(_AsyncManagement):
    """A way to manage the instances, images and schedules of one tenant, for programs that run under trio.

    `async with` closes it at the end. One client may be used by any number of tasks.
    """


class AsyncioManagement(_AsyncManagement):
    """A way to manage the instances, images and schedules of one tenant, for programs that run under asyncio.

    `async with` closes it at the end. One client may be used by any number of tasks.
    """
