"""What the clients of a campaign do: programs whose plan follows from their name, so that every attempt replays it.

A program is a generator that writes into the journal what it is about to do, yields the call, and writes down what it
was told. `run_blocking` and `run` make the calls, with the sync and with the async face of the SDK.
"""

import random
from collections.abc import Callable, Generator
from functools import partial
from operator import methodcaller
from typing import Any, NamedTuple

from runtara.errors import Busy, Fenced, Forbidden, InstanceCancelled, InstanceNotFound, InvalidState
from runtara.messages import Sleep
from runtara.sdk import AsyncRuntaraSdk, CustomSignal, RuntaraSdk, durable, use_sdk
from tests.crash.journal import Journal, digest

__all__ = ["SIGNAL_NAMES", "launched", "program", "registered", "run", "run_blocking"]

SIGNAL_NAMES = ("go", "look")
"""Signals that programs wait for, and signals that they look for now and then."""

WEIGHTS = {"checkpoint": 10, "step": 7, "flaky": 2, "send": 4, "wait": 2, "peek": 2, "sleep": 1, "park": 1, "retry": 1}
SIZES = {0: 3, 1: 2, 40: 10, 400: 10, 4_000: 5, 100 * 1024: 1}

AnySdk = RuntaraSdk | AsyncRuntaraSdk
Wish = Callable[[Any], Any]
"""A call to make with the SDK, of whichever kind: returns the reply, or an awaitable of it."""


class Step(NamedTuple):
    kind: str
    what: str
    span_ms: int
    size: int


def plan_of(who: str) -> list[Step]:
    """What the instance called `who` does, in every attempt."""
    rng = random.Random(who)
    kinds = rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=rng.randint(8, 30))
    sizes = rng.choices(list(SIZES), list(SIZES.values()), k=len(kinds))
    return [
        Step(kind, f"{kind}-{n}", rng.randint(1, 40), size)
        for n, (kind, size) in enumerate(zip(kinds, sizes, strict=True))
    ]


def peer_of(who: str) -> str:
    """To whom `who` sends its signals."""
    other = {"s": "a", "a": "s"}.get(who[0])
    return who if other is None else other + who[1:]


# Making calls ---------------------------------------------------------------------------------------------------------


def run_blocking(steps: Generator[Wish, Any, Any], sdk: RuntaraSdk) -> Any:
    """Run a program with the sync face."""
    resume: Callable[[], Wish] = partial(next, steps)
    with use_sdk(sdk):
        while True:
            try:
                wish = resume()
            except StopIteration as end:
                return end.value
            try:
                resume = partial(steps.send, wish(sdk))
            except Exception as error:  # noqa: BLE001 - it belongs to the program
                resume = partial(steps.throw, error)


async def run(steps: Generator[Wish, Any, Any], sdk: AsyncRuntaraSdk) -> Any:
    """Run a program with the async face."""
    resume: Callable[[], Wish] = partial(next, steps)
    with use_sdk(sdk):
        while True:
            try:
                wish = resume()
            except StopIteration as end:
                return end.value
            try:
                resume = partial(steps.send, await wish(sdk))
            except Exception as error:  # noqa: BLE001 - it belongs to the program
                resume = partial(steps.throw, error)


Note = Callable[[], None]


class Flaky(Exception):
    """A step fails by chance."""


@durable(key=lambda note, what, chance: what, max_retries=12, delay=0.001)
def take_step(note: Note, what: str, chance: float) -> str:
    return _result(note, what, chance)


@durable(key=lambda note, what, chance: what, max_retries=12, delay=0.001)
async def take_step_async(note: Note, what: str, chance: float) -> str:
    return _result(note, what, chance)


def _result(note: Note, what: str, chance: float) -> str:
    note()
    if random.random() < chance:
        raise Flaky(what)
    return f"{what} {random.random()}"


# Programs -------------------------------------------------------------------------------------------------------------


def registered(journal: Journal, who: str) -> Generator[Wish, Any, bool]:
    """Register, run and complete an instance; False if it had ended already."""
    try:
        reply = yield lambda sdk: sdk.register()
    except (InvalidState, InstanceCancelled):
        return False
    journal.write("ack", "register", who, epoch=reply.epoch)
    output = yield from program(journal, who, reply.epoch, managed=False)
    journal.write("intent", "complete", who, value=digest(output))
    yield lambda sdk: sdk.completed(output)
    journal.write("ack", "complete", who, value=digest(output))
    return True


def launched(journal: Journal, sdk: AnySdk) -> Generator[Wish, Any, bytes]:
    """Run an instance that the system has launched, and which it will complete."""
    assert sdk.epoch is not None
    journal.write("launched", "launch", sdk.instance_id, epoch=sdk.epoch)
    output = yield from program(journal, sdk.instance_id, sdk.epoch, managed=True)
    journal.write("intent", "complete", sdk.instance_id, value=digest(output))
    return output


def program(journal: Journal, who: str, epoch: int, *, managed: bool) -> Generator[Wish, Any, bytes]:
    """Replay the plan of `who`; return its output, which differs between attempts so that a second one would show."""
    attempt = _Attempt(journal, who, epoch, managed=managed)
    for step in plan_of(who):
        yield from _KINDS[step.kind](attempt, step)
    return f"{who} by {epoch}".encode()


class _Attempt:
    def __init__(self, journal: Journal, who: str, epoch: int, *, managed: bool) -> None:
        self._journal = journal
        self._who = who
        self._epoch = epoch
        self._managed = managed
        self._places = dict.fromkeys(SIGNAL_NAMES, 0)

    def _write(self, mark: str, op: str, what: str, value: str = "") -> None:
        self._journal.write(mark, op, self._who, what, value=value, epoch=self._epoch)

    def checkpoint(self, step: Step) -> Generator[Wish, Any, None]:
        state = f"{self._epoch}/{step.what}".encode().ljust(step.size, b"x")[: step.size]
        self._write("intent", "checkpoint", step.what, digest(state))
        found = yield lambda sdk: sdk.checkpoint(step.what, state)
        self._write("ack", "checkpoint", step.what, digest(found.existing_state if found.found else state))

    def step(self, step: Step) -> Generator[Wish, Any, None]:
        ran = partial(self._write, "ran", step.kind, step.what)
        chance = 0.3 if step.kind == "flaky" else 0.0
        result = yield lambda sdk: (take_step if isinstance(sdk, RuntaraSdk) else take_step_async)(
            ran, step.what, chance
        )
        self._write("ack", "step", step.what, result)

    def send(self, step: Step) -> Generator[Wish, Any, None]:
        peer = peer_of(self._who)
        for name in SIGNAL_NAMES:
            payload = f"{name} {self._who} {step.what} {self._epoch}"
            self._journal.write("intent", "send", peer, payload)
            try:
                yield methodcaller("send_custom_signal", peer, name, payload.encode())
            except (InstanceNotFound, InvalidState, Forbidden, Busy) as refusal:
                self._journal.write("refused", "send", peer, payload, value=type(refusal).__name__)
            else:
                self._journal.write("ack", "send", peer, payload)

    def wait(self, step: Step) -> Generator[Wish, Any, None]:
        self._write("intent", "take", step.what)
        self._taken("go", (yield lambda sdk: sdk.wait_for_signal("go", step.span_ms / 1000)))

    def peek(self, step: Step) -> Generator[Wish, Any, None]:
        self._taken("look", (yield lambda sdk: sdk.poll_custom_signal("look")))

    def _taken(self, name: str, signal: CustomSignal | None) -> None:
        seen = "nothing" if signal is None else signal.payload.decode()
        self._write("ack", "take", f"signal::{name}::{self._places[name]}", seen)
        self._places[name] += 1

    def sleep(self, step: Step) -> Generator[Wish, Any, None]:
        command = Sleep(checkpoint_id=step.what, duration_ms=step.span_ms, park=self._managed and step.kind == "park")
        self._write("intent", "deadline", step.what, str(step.span_ms))
        started = yield lambda sdk: sdk.perform(command)
        self._write("ack", "deadline", step.what, str(started.wake_at))
        if started.parked:
            self._write("parked", "sleep", step.what)
            raise Fenced("the program has parked, and ends quietly")
        yield lambda sdk: sdk.sleep(step.span_ms / 1000, step.what)
        self._write("ack", "slept", step.what)

    def retry(self, step: Step) -> Generator[Wish, Any, None]:
        yield lambda sdk: sdk.record_retry_attempt(step.what, self._epoch, "it broke")
        self._write("ack", "retry", step.what, str(self._epoch))


_KINDS: dict[str, Callable[[_Attempt, Step], Generator[Wish, Any, None]]] = {
    "checkpoint": _Attempt.checkpoint,
    "step": _Attempt.step,
    "flaky": _Attempt.step,
    "send": _Attempt.send,
    "wait": _Attempt.wait,
    "peek": _Attempt.peek,
    "sleep": _Attempt.sleep,
    "park": _Attempt.sleep,
    "retry": _Attempt.retry,
}
