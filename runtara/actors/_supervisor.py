"""Supervisors: start children in order, restart those that fail, stop them in reverse.

A supervisor is a task that owns a nursery; its children are tasks in it. What a child raises never escapes into the
nursery: it arrives here as an event. Stopping is a message too, because cancelling the nursery would cut the children
off before they could stop in order. When failures exceed the intensity, the supervisor stops its children and fails
itself, and its own supervisor decides; the slots of its children, with their mail, wait for the outcome.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from runtara.actors import _child
from runtara.actors._child import Ended, Running
from runtara.actors._slot import Slot, State
from runtara.actors._specs import Child, Restart, Strategy, Supervisor
from runtara.errors import AlreadyExists, InvalidInput, NotFound, RuntaraError

if TYPE_CHECKING:
    from runtara.actors._ref import Ref
    from runtara.actors._reply import Reply
    from runtara.actors._system import System

__all__ = ["GaveUp", "StartChild", "StartFailed", "StopChild", "SupervisorActor"]

_log: Final = logging.getLogger("runtara.actors")

START_GRACE: Final = 60.0
"""Seconds that a whole group may take to start."""


class GaveUp(Exception):
    """A supervisor's children failed more often than its intensity allows. The last failure is the cause."""


class StartFailed(Exception):
    """A child could not be started for the first time. Why is the cause."""


class _GoesAlong(Exception):
    """A child has not started, because another one has failed along with which it is restarted."""


class StartChild(msgspec.Struct, frozen=True):
    """Start one more child; the reply is its `Ref`."""

    spec: Child | Supervisor


class StopChild(msgspec.Struct, frozen=True):
    """Stop a child for good and forget it."""

    name: str


class SupervisorActor:
    """One life of a supervisor."""

    def __init__(self, slot: Slot, spec: Supervisor, system: System) -> None:
        self._slot = slot
        self._spec = spec
        self._system = system
        self._children: dict[str, Running] = {}
        self._ended: deque[Ended] = deque()
        self._failures: deque[float] = deque()
        self._phase = trio.CancelScope()
        self._wake = trio.Event()
        self._starting: Running | None = None

    async def live(self, started: Callable[[], None]) -> None:
        """Run the group until told to stop. Raises `StartFailed` or `GaveUp`."""
        async with trio.open_nursery() as self._nursery:
            try:
                with self._phase:
                    self._children = {spec.name: self._prepare(spec) for spec in self._spec.children}
                    await self._start_first(list(self._children.values()))
                    started()
                    self._slot.mailbox.notify = self._wake.set
                    await self._watch()
            finally:
                with trio.CancelScope(shield=True):
                    await self._stop(list(self._children.values()))
                self._forget_added()

    def request_stop(self) -> None:
        """Begin to stop, whatever the supervisor is doing; also in the middle of a restart."""
        self._phase.cancel()

    def child_ended(self, ended: Ended) -> None:
        """Hear from a child's task that it is over."""
        self._ended.append(ended)
        self._wake.set()
        if self._starting is not None and self._takes_along(ended, self._starting):
            self._starting.started_or_gone.set()  # it may be waiting for the very one that has failed

    async def _watch(self) -> None:
        """Handle ends of children, messages and due restarts, one after the other, for ever."""
        while True:
            mailbox = self._slot.mailbox
            if self._ended:
                await self._handle_end(self._ended.popleft())
            elif mailbox.control:
                mailbox.control.popleft()  # a supervisor has ears for its children only
            elif due := [child for child in self._children.values() if child.restart_at <= trio.current_time()]:
                await self._restart(due)
            elif mailbox.user:
                message, reply = mailbox.take()
                mailbox.admit()
                if reply is not None and reply.waiter is None:
                    mailbox.dead_letters.add(self._slot.path, "expired", message)
                else:
                    await self._answer(message, reply)
            else:
                await self._idle()

    async def _idle(self) -> None:
        self._wake = trio.Event()
        self._slot.mailbox.notify = self._wake.set
        next_restart = min((child.restart_at for child in self._children.values()), default=inf)
        with trio.CancelScope(deadline=next_restart):
            await self._wake.wait()

    async def _handle_end(self, ended: Ended) -> None:
        child = self._children.get(ended.name)
        if child is None or not _is_news(child, ended):
            return  # an older life of the child, or one that was stopped on purpose
        if not _comes_back(child, ended):
            self._forget(child)
            return
        self._system.announce_restart(child.slot)
        self._count_failure(child, ended.failure)
        await self._schedule(self._affected(child))

    def _count_failure(self, child: Running, failure: BaseException | None) -> None:
        _log.error("actor-crashed", extra={"actor": child.slot.path, "error": failure}, exc_info=failure)
        now = trio.current_time()
        intensity = self._spec.intensity
        self._failures.append(now)
        while self._failures[0] < now - intensity.within:
            self._failures.popleft()
        if len(self._failures) > intensity.restarts:
            raise GaveUp(
                f"{self._slot.path} gave up: {len(self._failures)} failures within {intensity.within:g} s, "
                f"the last of {child.slot.path}: {failure!r}"
            ) from failure

    def _affected(self, child: Running) -> list[Running]:
        """Return who is restarted along with `child`, itself included, in start order."""
        children = list(self._children.values())
        if self._spec.strategy is Strategy.ONE_FOR_ONE:
            return [child]
        if self._spec.strategy is Strategy.ONE_FOR_ALL:
            return children
        return children[children.index(child) :]

    def _takes_along(self, ended: Ended, other: Running) -> bool:
        """Return whether an end that nobody has handled yet means that another child is restarted, too."""
        child = self._children.get(ended.name)
        if child is None or child is other or not _is_news(child, ended) or not _comes_back(child, ended):
            return False
        return other in self._affected(child)

    async def _schedule(self, affected: list[Running]) -> None:
        """Stop those that still run, and set the time at which all of them start again."""
        for child in affected:
            child.slot.state = State.RESTARTING
        await self._stop(affected)
        temporary = [child for child in affected if child.spec.restart is Restart.TEMPORARY]
        for child in temporary:  # they went down with the others and do not come back
            self._forget(child)
        delay = self._spec.backoff.delay(len(self._failures), self._system.random)
        for child in [child for child in affected if child not in temporary]:
            child.restart_at = trio.current_time() + delay
            self._system.announce_restart(child.slot)

    async def _restart(self, due: list[Running]) -> None:
        for child in due:
            child.restart_at = inf
            child.slot.restarts += 1
            if await self._start(child) is not None:
                return  # its end is in the queue and counts as a failure; the others are still due, or go with it

    def _prepare(self, spec: Child | Supervisor) -> Running:
        return Running(spec, self._system.slot_for(f"{self._slot.path}/{spec.name}", spec))

    async def _start_first(self, children: list[Running]) -> None:
        for child in children:
            failure = await self._start(child)
            if isinstance(failure, _GoesAlong):
                await self._start_anew()
                return
            if failure is not None:
                raise StartFailed(f"{child.slot.path} could not be started: {failure!r}") from failure

    async def _start_anew(self) -> None:
        """Have those run that have failed before all had started, and all that start along with them."""
        while self._ended or any(child.restart_at < inf for child in self._children.values()):
            if self._ended:
                await self._handle_end(self._ended.popleft())
            elif due := [child for child in self._children.values() if child.restart_at <= trio.current_time()]:
                await self._restart(due)
            else:
                await self._idle()

    async def _start(self, child: Running) -> BaseException | None:
        """Start a child and wait until it says so; return why it did not, if it did not."""
        if any(self._takes_along(ended, child) for ended in self._ended):
            return _GoesAlong()
        child.begin()
        self._nursery.start_soon(_child.run, child, self)
        timeout = child.spec.start_timeout if isinstance(child.spec, Child) else START_GRACE
        self._starting = child
        with trio.move_on_after(timeout):
            await child.started_or_gone.wait()
        self._starting = None
        if child.slot.state is State.RUNNING:
            return None
        if child.gone.is_set():
            return child.failure or RuntimeError("it ended before it had started")
        if child.started_or_gone.is_set():
            await self._stop([child])
            return _GoesAlong()
        child.late = TimeoutError(f"{child.slot.path} did not start within {timeout:g} s")
        await self._stop([child])
        child.gone_by_request = False
        return child.late

    async def _stop(self, children: list[Running]) -> None:
        """Stop children in reverse order, each within its grace; then cut it off."""
        for child in reversed(children):
            child.restart_at = inf
            if not child.running:
                continue
            child.gone_by_request = True
            if child.slot.state is not State.RESTARTING:
                child.slot.state = State.STOPPING
            child.request_stop()
            with trio.CancelScope(deadline=trio.current_time() + child.stop_grace):
                await child.gone.wait()
            if not child.gone.is_set():
                child.scope.cancel()
                await child.gone.wait()

    def _forget(self, child: Running) -> None:
        """A child has ended for good."""
        del self._children[child.spec.name]
        self._system.close_slots(child.slot.path)

    def _forget_added(self) -> None:
        """Children that are not in the specification do not come back when this supervisor is restarted."""
        specified = {id(spec) for spec in self._spec.children}
        for child in [child for child in self._children.values() if id(child.spec) not in specified]:
            self._forget(child)

    async def _answer(self, message: object, reply: Reply | None) -> None:
        self._slot.handled += 1
        try:
            value = await self._handle(message)
        except RuntaraError as refusal:
            if reply is not None:
                reply.fail(refusal)
        except trio.Cancelled:
            if reply is not None:
                reply.fail(self._slot.interrupted())
            raise
        else:
            if reply is not None:
                reply.settle(value)

    async def _handle(self, message: object) -> Ref | None:
        if isinstance(message, StartChild) and isinstance(message.spec, Child | Supervisor):
            return await self._add(message.spec)
        if isinstance(message, StopChild):
            await self._remove(message.name)
            return None
        raise InvalidInput(f"{self._slot.path} does not hear {type(message).__name__}: it hears StartChild, StopChild")

    async def _add(self, spec: Child | Supervisor) -> Ref:
        if spec.name in self._children:
            raise AlreadyExists(
                f"{self._slot.path} has a child {spec.name!r} already: stop it first, or use another name"
            )
        child = self._prepare(spec)
        self._children[spec.name] = child
        failure = await self._start(child)
        if failure is not None:
            self._forget(child)
            raise _child.not_started(child.slot.path, failure)
        return child.slot.ref()

    async def _remove(self, name: str) -> None:
        child = self._children.get(name)
        if child is None:
            raise NotFound(f"{self._slot.path} has no child {name!r}")
        await self._stop([child])
        self._forget(child)


def _is_news(child: Running, ended: Ended) -> bool:
    """Return whether it is the life of a child that counts which has ended, and not because it was asked to."""
    return ended.incarnation == child.slot.incarnation and not child.gone_by_request


def _comes_back(child: Running, ended: Ended) -> bool:
    """Return whether a child is to be restarted after such an end."""
    if child.spec.restart is Restart.TRANSIENT:
        return ended.failure is not None
    return child.spec.restart is not Restart.TEMPORARY
