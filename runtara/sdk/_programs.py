"""Functions of the host as durable programs: runs them with an SDK, and turns their end into the instance's end."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

import trio

from runtara.actors.programs import Program
from runtara.errors import NotFound
from runtara.ids import InstanceKey
from runtara.sdk._doors import Doors
from runtara.sdk._drive import drive
from runtara.sdk._endings import End, complete, report
from runtara.sdk.aio import AsyncRuntaraSdk
from runtara.sdk.context import use_sdk
from runtara.sdk.sync import RuntaraSdk
from runtara.transport import EmbeddedDoor

__all__ = ["AnyProgram", "ProgramHost", "check_known"]

AnyProgram: TypeAlias = Callable[[RuntaraSdk], Any] | Callable[[AsyncRuntaraSdk], Awaitable[Any]]
"""A function that is given the SDK of its instance; what it returns is the output, what it raises the failure."""

THREADS: Final = 1_000
"""Most sync programs that run at once."""


class ProgramHost:
    """Runs the host's functions for one system."""

    def __init__(self, programs: Mapping[str, AnyProgram]) -> None:
        self.programs: dict[str, Program] = {name: partial(self._run, program) for name, program in programs.items()}
        self._threads = trio.CapacityLimiter(THREADS)
        self._opened = trio.Event()
        self._doors: Doors | None = None

    def open(self, doors: Doors) -> None:
        """Let programs run; those that the system launches while it starts have to wait for this."""
        self._doors = doors
        self._opened.set()

    async def _run(self, program: AnyProgram, key: InstanceKey, epoch: int) -> None:
        """Run one attempt and report how it ended; raise what makes it a crash, after which it is launched again."""
        await self._opened.wait()
        assert self._doors is not None, "only open() lets programs run"
        runtime = self._doors.runtime
        door = self._doors.open(key, epoch)
        sdk = AsyncRuntaraSdk(door, runtime.clock, park_after=runtime.settings.park_after_ms / 1000)
        try:
            await sdk.register()
            output = await self._call(program, sdk, door)
            await drive(complete(door.session, output), sdk.perform)
        except BaseException as raised:
            if await drive(report(raised), sdk.perform) is End.CRASH:
                raise
        finally:
            door.close()
            door.session.pushed(None)  # a thread that was abandoned asks again, and learns that it is over

    async def _call(self, program: AnyProgram, sdk: AsyncRuntaraSdk, door: EmbeddedDoor) -> Any:
        if _is_async(program):
            with use_sdk(sdk):
                return await program(sdk)  # type: ignore[arg-type]  # an async function takes the async face
        blocking = RuntaraSdk(door, sdk.clock, park_after=sdk.park_after)

        def call() -> Any:
            with use_sdk(blocking):
                return program(blocking)  # type: ignore[arg-type]  # a plain function takes the sync face

        return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._threads)


def check_known(program: str, programs: Mapping[str, object]) -> str:
    """Return the name of a program that this process runs. Raises `NotFound` for any other."""
    if program not in programs:
        known = ", ".join(sorted(programs)) or "none"
        raise NotFound(f"no program called {program!r} is registered in this process: it has {known}")
    return program


def _is_async(program: object) -> bool:
    return inspect.iscoroutinefunction(program) or inspect.iscoroutinefunction(type(program).__call__)
