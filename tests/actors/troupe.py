"""Actors that do as they are told, and write down what happens to them; shared by the tests of the runtime."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from threading import Event
from typing import Any

import msgspec
import pykka
import trio

from runtara.actors import (
    Actor,
    BlockingActor,
    CellRef,
    Down,
    MailboxSpec,
    Ref,
    Restart,
    System,
    child,
    hears,
    open_system,
    supervisor,
)
from runtara.errors import InvalidInput

__all__ = [
    "AskLater",
    "Blocker",
    "Boom",
    "Fail",
    "Forward",
    "Gate",
    "Hold",
    "Later",
    "Players",
    "Recorder",
    "Run",
    "Stuck",
    "Worker",
    "caught",
    "died",
    "failures",
    "idle",
    "one",
]


class Boom(Exception):
    """A bug, as far as the runtime can tell."""


class Fail(msgspec.Struct, frozen=True):
    """Raise this."""

    error: Any = Boom("boom")


class Gate:
    """Holds a handler until it is opened."""

    def __init__(self) -> None:
        self.entered = trio.Event()
        self.open = trio.Event()


class Hold(msgspec.Struct, frozen=True):
    """Wait at the gate (an async handler)."""

    gate: Gate


class Forward(msgspec.Struct, frozen=True):
    """Ask `to`, and answer with its reply."""

    to: Any
    message: Any
    timeout: float | None = None


class AskLater(msgspec.Struct, frozen=True):
    """Ask `to` with a callback."""

    to: Any
    message: Any
    then: Any


class Run(msgspec.Struct, frozen=True):
    """Call this with the actor, as its own code."""

    code: Callable[..., Any]


class Later(msgspec.Struct, frozen=True):
    """Call this with the actor and wait for it."""

    code: Callable[..., Any]


class Worker(Actor):
    """A service actor that does as it is told."""

    def __init__(self, log: list[Any] | None = None, name: str = "worker") -> None:
        self.log = [] if log is None else log
        self.name = name
        self.total = 0

    async def on_start(self) -> None:
        self.log.append(f"{self.name} starts")

    async def on_stop(self, failure: BaseException | None) -> None:
        self.log.append(f"{self.name} stops" if failure is None else f"{self.name} stops: {failure}")

    def describe(self) -> dict[str, Any]:
        return {"total": self.total}

    @hears(int)
    def add(self, number: int) -> int:
        self.total += number
        self.log.append(number)
        return self.total

    @hears(str)
    def refuse(self, text: str) -> None:
        raise InvalidInput(text)

    @hears(Down)
    def down(self, message: Down) -> None:
        self.log.append(message)

    @hears(Fail)
    def fail(self, message: Fail) -> None:
        raise message.error

    @hears(Run)
    def run(self, message: Run) -> Any:
        return message.code(self)

    @hears(Later)
    async def later(self, message: Later) -> Any:
        return await message.code(self)

    @hears(Hold)
    async def hold(self, message: Hold) -> str:
        message.gate.entered.set()
        await message.gate.open.wait()
        return "held"

    @hears(Forward)
    async def forward(self, message: Forward) -> Any:
        return await message.to.ask(message.message, timeout=message.timeout)

    @hears(AskLater)
    def ask_later(self, message: AskLater) -> None:
        message.to.ask_then(message.message, message.then)


class Recorder(Worker):
    """A worker whose asks are never answered in the asker's task."""

    AT_ONCE = False


class Stuck(msgspec.Struct, frozen=True):
    """Block the thread until the event is set."""

    entered: Event
    released: Event


class Blocker(BlockingActor):
    """A blocking actor that does as it is told."""

    def __init__(self, log: list[Any] | None = None, name: str = "blocker") -> None:
        super().__init__()
        self.log = [] if log is None else log
        self.name = name
        self.total = 0

    def on_start(self) -> None:
        self.log.append(f"{self.name} starts")

    def on_stop(self) -> None:
        self.log.append(f"{self.name} stops")

    def on_failure(self, type_: Any, value: Any, traceback: Any) -> None:
        self.log.append(f"{self.name} fails: {value}")

    @hears(int)
    def add(self, number: int) -> int:
        self.total += number
        return self.total

    @hears(str)
    def refuse(self, text: str) -> None:
        raise InvalidInput(text)

    @hears(Fail)
    def fail(self, message: Fail) -> None:
        raise message.error

    @hears(Run)
    def run(self, message: Run) -> Any:
        return message.code(self)

    @hears(Stuck)
    def stuck(self, message: Stuck) -> str:
        message.entered.set()
        message.released.wait()
        return "free"

    @hears(Forward)
    def forward(self, message: Forward) -> Any:
        return message.to.ask_from_thread(message.message, timeout=message.timeout)


class Players(pykka.ThreadingActor):
    """Somebody's own pykka actor, from before they knew us."""

    def __init__(self, log: list[Any]) -> None:
        super().__init__()
        self.log = log
        self.score = 0

    def on_start(self) -> None:
        self.log.append(self.actor_ref)

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Fail):
            raise message.error
        if isinstance(message, str):
            raise InvalidInput(message)
        self.score += message
        return self.score

    def win(self) -> int:
        self.score += 100
        return self.score


def one(
    factory: Any,
    *args: Any,
    mailbox: MailboxSpec | None = None,
    restart: Restart = Restart.PERMANENT,
    stop_grace: float = 5.0,
    **options: Any,
) -> AbstractAsyncContextManager[System]:
    """Open a system of a single actor, ``root/it``; `options` are those of `supervisor`."""
    spec = child("it", factory, *args, mailbox=mailbox or MailboxSpec(bound=64), restart=restart, stop_grace=stop_grace)
    return open_system(supervisor("root", spec, **options))


async def idle(*_: Any) -> None:
    """Let everybody run until nobody has anything to do but wait for time to pass or for threads."""
    await trio.testing.wait_all_tasks_blocked()


async def died(ref: Ref, restarts: int = 1) -> None:
    """Wait until the actor has been started again so often; needs a clock that jumps."""
    while ref.slot.restarts < restarts or ref.slot.state.value != "running":  # noqa: ASYNC110 - takes no real time
        await trio.sleep(0.01)


async def caught(ref: Ref | CellRef[Any], message: Any, timeout: float | None = None) -> BaseException:
    """Ask, and return the error that comes back."""
    try:
        answer = await ref.ask(message, timeout=timeout)
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError(f"{answer!r} is an answer, not an error")


def failures(infos: Sequence[Down]) -> list[str | None]:
    """The failures in these messages, as text."""
    return [None if info.failure is None else str(info.failure) for info in infos]
