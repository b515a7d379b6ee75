"""One run of a scenario, from its first attempt to its end: what a host does with a program, without a host."""

from __future__ import annotations

import inspect
from typing import Any, Final

import sniffio

from runtara import messages
from runtara.errors import InvalidState
from runtara.lifecycle import TerminationReason
from runtara.sdk._drive import drive_blocking
from runtara.sdk._endings import complete, report
from runtara.sdk._types import InstanceStatus, StatusResponse
from runtara.sdk.context import use_sdk
from runtara.sdk.testing._report import Outcome
from runtara.sdk.testing._stage import Crash, Stage, StageDoor
from runtara.sdk.testing._time import AsyncSkippingSdk, SkippingSdk
from runtara.threads import run_async

__all__ = ["rehearse"]

ATTEMPTS_MAX: Final = 10_000
"""Most attempts of one run; a program that sleeps daily may go on for years."""

IDLE_MAX: Final = 3
"""Attempts in a row that change nothing, after which none is believed to."""

SWALLOWED: Final = (
    "the program caught the crash and went on: catch Exception, not BaseException, and let other exceptions pass"
)


def rehearse(stage: Stage) -> Outcome:
    """Run the scenario of a stage to its end, crash included.

    Raises `InvalidState` for an async program where an event loop runs already.
    """
    if _is_async(stage.scenario.program):
        _check_no_loop()
    world = stage.scenario.world() if stage.scenario.world is not None else None
    attempts = idle = 0
    while True:
        before = _mark(stage)
        stuck = _attempt(stage, world)
        attempts += 1
        status = _status(stage)
        if status.is_finished or stuck:
            return _outcome(stage, status, world, attempts, stuck)
        stuck = _go_on(stage, status)
        idle = idle + 1 if before == _mark(stage) else 0
        if stuck is None and (idle >= IDLE_MAX or attempts >= ATTEMPTS_MAX):
            stuck = f"after {attempts} attempts it has not ended, and the last ones changed nothing"
        if stuck:
            return _outcome(stage, status, world, attempts, stuck)


def _mark(stage: Stage) -> tuple[object, ...]:
    """What an attempt changes, if it gets anywhere."""
    return stage.progress, stage.time.clock.now_ms(), stage.crashed


# One attempt ----------------------------------------------------------------------------------------------------------


def _attempt(stage: Stage, world: Any) -> str | None:
    """Begin the program and report how it ended; return why the run cannot go on, if so."""
    door = stage.open_door()
    sdk = SkippingSdk(door, stage.time, park_after=stage.scenario.park_after)
    stage.seed()
    try:
        _perform(stage, door, sdk, world)
    except Crash:
        return None
    return SWALLOWED if door.is_dead else None


def _perform(stage: Stage, door: StageDoor, sdk: SkippingSdk, world: Any) -> None:
    """Run the program; what it returns or raises becomes the end of its instance. Raises `Crash` if it is let pass."""
    try:
        sdk.register()
        output = _call(stage, door, sdk, world)
        if not door.is_dead:
            drive_blocking(complete(door.session, output), sdk.perform)
    except BaseException as raised:
        if _holds(raised, Crash):
            raise Crash from None
        if _holds(raised, KeyboardInterrupt):
            raise
        if sdk.is_registered and not door.is_dead:  # not registered, where a cancel came before
            drive_blocking(report(raised), sdk.perform)


def _holds(raised: BaseException, kind: type[BaseException]) -> bool:
    found = raised.subgroup(kind) if isinstance(raised, BaseExceptionGroup) else isinstance(raised, kind)
    return bool(found)


def _call(stage: Stage, door: StageDoor, sdk: SkippingSdk, world: Any) -> Any:
    scenario = stage.scenario
    more = () if scenario.world is None else (world,)
    if not _is_async(scenario.program):
        with use_sdk(sdk):
            return scenario.program(sdk, *more)
    awaited = AsyncSkippingSdk(door, stage.time, park_after=scenario.park_after)

    async def main() -> Any:
        with use_sdk(awaited):
            return await scenario.program(awaited, *more)

    return run_async(scenario.library, main)


def _is_async(program: object) -> bool:
    return inspect.iscoroutinefunction(program) or inspect.iscoroutinefunction(type(program).__call__)


def _check_no_loop() -> None:
    try:
        library = sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        return
    raise InvalidState(f"an async program gets a loop of its own, but here {library} runs: use a plain test function")


# Between attempts -----------------------------------------------------------------------------------------------------


def _status(stage: Stage) -> StatusResponse:
    sdk = SkippingSdk(stage.open_door(), stage.time, park_after=0)
    return sdk.get_instance_status(stage.key.instance_id)


def _go_on(stage: Stage, status: StatusResponse) -> str | None:
    """Let what rests be begun again, at its time; return why it cannot be."""
    if status.status is not InstanceStatus.SUSPENDED:
        return None
    if status.wake_at is not None:
        stage.time.jump_to(status.wake_at)
    elif status.termination_reason is TerminationReason.WAITING_SIGNAL and stage.waits_for is not None:
        return f"it waits for a signal called {stage.waits_for!r}, which nobody sends"
    elif status.termination_reason is not TerminationReason.SHUTDOWN_REQUESTED:
        stage.resume()
    return None


# The end --------------------------------------------------------------------------------------------------------------


def _outcome(stage: Stage, status: StatusResponse, world: Any, attempts: int, stuck: str | None) -> Outcome:
    return Outcome(
        status=status.status,
        output=status.output,
        error=status.error,
        checkpoints=_checkpoints(stage) if status.found else {},
        signals=tuple(stage.taken.values()),
        world=world,
        attempts=attempts,
        stuck=stuck,
    )


def _checkpoints(stage: Stage) -> dict[str, bytes]:
    door, found = stage.open_beside(), dict[str, bytes]()
    cursor: str | None = None
    while True:
        page = door.call_from_thread(messages.ListCheckpoints(limit=1_000, cursor=cursor))
        for info in page.checkpoints:
            reply = door.call_from_thread(messages.GetCheckpoint(checkpoint_id=info.checkpoint_id))
            found[info.checkpoint_id] = reply.state or b""
        cursor = page.cursor
        if cursor is None:
            return found
