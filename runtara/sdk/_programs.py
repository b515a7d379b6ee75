"""Functions of the host as durable programs: runs them with an SDK, and turns their end into the instance's end."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec
import trio

from runtara import messages
from runtara.actors.programs import Program
from runtara.errors import (
    Fenced,
    InstanceCancelled,
    InstancePaused,
    InstanceShutdown,
    InvalidState,
    NotFound,
    Retry,
    RuntaraError,
)
from runtara.ids import InstanceKey
from runtara.sdk._doors import Doors
from runtara.sdk._drive import drive
from runtara.sdk._flows import Flow, Parked
from runtara.sdk._types import InstanceStatus, SignalType
from runtara.sdk.aio import AsyncRuntaraSdk
from runtara.sdk.context import use_sdk
from runtara.sdk.sync import RuntaraSdk
from runtara.transport import EmbeddedDoor

__all__ = ["AnyProgram", "ProgramHost", "check_known"]

AnyProgram: TypeAlias = Callable[[RuntaraSdk], Any] | Callable[[AsyncRuntaraSdk], Awaitable[Any]]
"""A function that is given the SDK of its instance; what it returns is the output, what it raises the failure."""

THREADS: Final = 1_000
"""Most sync programs that run at once."""

_OVER: Final = (Fenced, InvalidState, InstanceCancelled, InstancePaused, InstanceShutdown)
"""Refusals of a report that say that there is nothing to report: the attempt has ended, or rests, already."""


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
            output = _encode(await self._call(program, sdk, door))
            if door.session.status in (None, InstanceStatus.RUNNING):  # it has not said itself how it ended
                await sdk.completed(output)
        except BaseException as raised:
            reason = _deciding(raised)
            if _is_crash(reason) or not await _is_reported(sdk, reason):
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


def _encode(output: Any) -> bytes:
    if output is None:
        return b""
    return output if isinstance(output, bytes) else msgspec.json.encode(output)


# How it ended --------------------------------------------------------------------------------------------------------


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def _deciding(raised: BaseException) -> BaseException:
    """Return the exception that says how a program ended, where a nursery has collected several."""
    leaves = list(_leaves(raised))
    return next((leaf for kind in _FIRST for leaf in leaves if isinstance(leaf, kind)), leaves[0])


_FIRST: Final = (KeyboardInterrupt, Parked, Fenced, InstanceCancelled, InstancePaused, InstanceShutdown, Exception)


def _is_crash(reason: BaseException) -> bool:
    """Whether a program has not ended by itself: it was stopped, or the runtime could not do its part for a while."""
    if isinstance(reason, RuntaraError):
        return reason.retry is not Retry.NEVER
    return isinstance(reason, trio.Cancelled | KeyboardInterrupt)


async def _is_reported(sdk: AsyncRuntaraSdk, reason: BaseException) -> bool:
    """Report the end of a program. False if it rests without a reason, which makes it a crash, too."""
    if isinstance(reason, Parked | Fenced):
        return True  # it is launched again when it is time, or a newer attempt has taken over
    try:
        if isinstance(reason, InstancePaused | InstanceShutdown):
            return await drive(_rest(), sdk.perform)
        if not isinstance(reason, InstanceCancelled) or not await sdk.acknowledge(SignalType.CANCEL):
            await sdk.failed(_text(reason))
    except _OVER:
        pass  # it has ended already, or rests
    return True


def _rest() -> Flow[bool]:
    """Let the pause or shutdown take hold. False if it was taken back while the program was ending, or never came."""
    pending = yield messages.PollSignals()
    for record in pending.signals:
        if record.kind in (SignalType.PAUSE, SignalType.SHUTDOWN):
            reply = yield messages.AcknowledgeSignal(signal_id=record.signal_id)
            return bool(reply.status is not InstanceStatus.RUNNING)
    return False


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode()[:4096]
