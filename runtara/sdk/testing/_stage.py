"""Where one run takes place: the door that sees every call of the program, crashes it, and sends it its signals.

The sessions in here are not attached to the system, which therefore pushes nothing by itself: all that happens to a
program comes from its own calls, in the same order in every run.
"""

from __future__ import annotations

import random
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from runtara import messages
from runtara.ids import InstanceKey, new_id
from runtara.messages import Request
from runtara.sdk._types import SignalType
from runtara.sdk.testing._report import CrashPoint, TakenSignal
from runtara.sdk.testing._scenario import Scenario, SendSignal
from runtara.sdk.testing._time import Time
from runtara.system import Runtime
from runtara.transport import EmbeddedDoor, Session

__all__ = ["Crash", "Stage", "StageDoor"]

R = TypeVar("R")

_CHANGES: Final[dict[type, tuple[str, ...]]] = {
    messages.RegisterInstance: (),
    messages.SaveCheckpoint: ("checkpoint_id",),
    messages.Sleep: ("checkpoint_id", "park"),
    messages.TakeSignal: ("place", "park"),
    messages.RecordEvent: ("subtype",),
    messages.RecordRetry: ("checkpoint_id", "attempt"),
    messages.AcknowledgeSignal: (),
    messages.SuspendInstance: (),
    messages.RestInstance: ("checkpoint_id",),
    messages.FinishInstance: (),
    messages.CompleteInstance: (),
    messages.FailInstance: (),
}
"""The calls by which a program changes what is stored, and the fields that tell one from another."""


class Crash(BaseException):
    """The program dies here. Not an `Exception`, so that only who catches everything catches it, which is reported."""


class Stage:
    """One run of a scenario: what has happened so far, over all attempts."""

    def __init__(
        self, runtime: Runtime, key: InstanceKey, scenario: Scenario, time: Time, crash_at: CrashPoint | None = None
    ) -> None:
        self.runtime = runtime
        self.key = key
        self.scenario = scenario
        self.time = time
        self.points: list[CrashPoint] = []
        """Every moment so far at which the program might have died."""
        self.crashed: CrashPoint | None = None
        """Where it did."""
        self.taken: dict[str, TakenSignal] = {}
        """What was taken, by place."""
        self._crash_at = crash_at
        self._changes = 0
        self.waits_for: str | None = None
        """The name of the signal that the program waits for, where it waits for one."""
        self._unsent = list(scenario.signals)
        self._progress: set[tuple[object, ...]] = set()

    @property
    def progress(self) -> int:
        """How many different changes are stored. A replay, which repeats them, makes none."""
        return len(self._progress)

    def open_door(self) -> StageDoor:
        """Return the door of the next attempt."""
        return StageDoor(self, Session(self.key))

    def open_beside(self) -> EmbeddedDoor:
        """Return the door of somebody who manages the instance; it does not crash."""
        return EmbeddedDoor(Session(self.key), self.runtime.dispatch.line)

    def resume(self) -> None:
        """Send a resume, as somebody would who has paused the instance."""
        self.open_beside().call_from_thread(messages.SendSignal(kind="resume", signal_id=new_id()))

    def seed(self) -> None:
        """Make random numbers depend on nothing but the changes that are stored.

        A step that is done again because its result was lost gets the same numbers again; a number that is drawn
        outside of a step is another one in a replay, and gives the program away.
        """
        random.seed(f"{self.scenario.seed}/{self.progress}")

    def begin_change(self, command: object) -> CrashPoint:
        """Return the moment before a change."""
        self._changes += 1
        return CrashPoint(self._changes, False, _described(command))

    def is_crash(self, point: CrashPoint) -> bool:
        """Note that the program might die here; return whether it does."""
        self.points.append(point)
        at = self._crash_at
        if at is None or (point.number, point.is_stored) != (at.number, at.is_stored):
            return False
        self.crashed = point
        return True

    def stored(self, command: object, reply: object) -> list[SendSignal]:
        """Note what a change has become; return the signals that are to be sent now."""
        self._progress.add((type(command), *(getattr(command, name) for name in _CHANGES[type(command)])))
        self.seed()
        waits_for = None
        if isinstance(command, messages.TakeSignal) and isinstance(reply, messages.SignalTaken):
            if reply.signal is not None or reply.timed_out:
                taken = TakenSignal(command.name, None if reply.signal is None else reply.signal.payload)
                self.taken.setdefault(command.place, taken)
                self.waits_for = None
            else:
                waits_for = self.waits_for = command.name
        return self._due(command, getattr(command, "checkpoint_id", None), waits_for)

    def _due(self, command: object, checkpoint_id: str | None, waits_for: str | None) -> list[SendSignal]:
        due: list[SendSignal] = []
        for send in tuple(self._unsent):
            if send.after is not None:
                is_due = checkpoint_id is not None and send.after in checkpoint_id
            elif isinstance(send.signal, SignalType):
                is_due = isinstance(command, messages.RegisterInstance)
            else:
                is_due = send.signal == waits_for and all(one.signal != waits_for for one in due)
            if is_due:
                self._unsent.remove(send)
                due.append(send)
        return due


def _described(command: object) -> str:
    fields = [getattr(command, name) for name in _CHANGES[type(command)]]
    return " ".join([type(command).__name__, *(str(field) for field in fields if not isinstance(field, bool))])


class StageDoor(EmbeddedDoor):
    """One attempt's way to the system. After a crash, nothing goes through it any more."""

    def __init__(self, stage: Stage, session: Session) -> None:
        super().__init__(session, stage.runtime.dispatch.line)
        self.stage = stage
        self._is_dead = False

    async def call(self, command: Request[R], *, timeout: float | None = None) -> R:
        """Have a command answered, from any event loop; or crash."""
        with self.stage.time.busy():
            if type(command) not in _CHANGES:
                answer: R | None = self._answered_here(command)
                return await super().call(command, timeout=timeout) if answer is None else answer
            point = self._before(command)
            reply = await super().call(command, timeout=timeout)
            for send in self.stage.stored(command, reply):
                await self.stage.open_beside().call(_signal(send), timeout=timeout)
                self.session.pushed(None)
            self._after(point)
            return reply

    def call_from_thread(self, command: Request[R], *, timeout: float | None = None) -> R:
        """Have a command answered, blocking the calling thread; or crash."""
        if type(command) not in _CHANGES:
            answer: R | None = self._answered_here(command)
            return super().call_from_thread(command, timeout=timeout) if answer is None else answer
        point = self._before(command)
        reply = super().call_from_thread(command, timeout=timeout)
        for send in self.stage.stored(command, reply):
            self.stage.open_beside().call_from_thread(_signal(send), timeout=timeout)
            self.session.pushed(None)
        self._after(point)
        return reply

    @property
    def is_dead(self) -> bool:
        """Whether the attempt has crashed."""
        return self._is_dead

    def _answered_here(self, command: object) -> Any:
        """Return the input: an instance that no host has launched has none of its own."""
        self._check_alive()
        return messages.InputFound(self.stage.scenario.input) if isinstance(command, messages.GetInput) else None

    def _before(self, command: object) -> CrashPoint:
        self._check_alive()
        point = self.stage.begin_change(command)
        self._pass(point)
        return point

    def _after(self, point: CrashPoint) -> None:
        self._check_alive()
        self._pass(replace(point, is_stored=True))

    def _pass(self, point: CrashPoint) -> None:
        if self.stage.is_crash(point):
            self._is_dead = True
            raise Crash(str(point))

    def _check_alive(self) -> None:
        if self._is_dead:
            raise Crash("the program is dead already")


def _signal(send: SendSignal) -> messages.SendSignal:
    """Return the command that sends a signal."""
    if isinstance(send.signal, SignalType):
        return messages.SendSignal(kind=send.signal.value, signal_id=new_id(), payload=send.payload)
    return messages.SendSignal(kind="custom", signal_id=new_id(), name=send.signal, payload=send.payload)
