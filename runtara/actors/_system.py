"""An actor system: one event loop, one supervision tree, nothing global. Several can live in one process."""

from __future__ import annotations

import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from difflib import get_close_matches
from functools import partial
from typing import Any, Final

import trio

from runtara.actors._blocking import is_blocking
from runtara.actors._cell import CellRef
from runtara.actors._child import Ended, Running, run
from runtara.actors._inspect import ActorInfo, inspect
from runtara.actors._mailbox import DeadLetters, MailboxSpec
from runtara.actors._ref import Ref
from runtara.actors._region import Region
from runtara.actors._reply import Deadlines
from runtara.actors._slot import Kind, Slot, State
from runtara.actors._specs import Child, Supervisor
from runtara.actors._supervisor import StartChild, StopChild, SupervisorActor
from runtara.errors import ActorStopped, NotFound, RuntaraError
from runtara.metrics import Metrics
from runtara.threads import Ingress
from runtara.traces import Traces

__all__ = ["System", "SystemFailed", "open_system", "refusing"]

ASK_TIMEOUT: Final = 30.0
"""Seconds that an ask waits if it does not say otherwise."""


class SystemFailed(Exception):
    """The root supervisor gave up, or could not start. Why is the cause."""

    @property
    def refusal(self) -> RuntaraError | None:
        """The refusal that is at the bottom of it, if one is."""
        error: BaseException | None = self
        while error is not None and not isinstance(error, RuntaraError):
            error = error.__cause__
        return error


class System:
    """A running tree of actors. Made by `open_system`."""

    def __init__(self, name: str, ask_timeout: float, rng: random.Random, traces: Traces | None = None) -> None:
        self.name = name
        self.traces = traces
        """Where its actors trace calls, if they do."""
        self.ask_timeout = ask_timeout
        self.random = rng.random
        self.thread_id = threading.get_ident()
        self.now = trio.lowlevel.current_clock().current_time
        """The clock of the system's loop, for any thread."""
        self.metrics = Metrics()
        """What its actors count; it outlives their restarts."""
        self.dead_letters = DeadLetters()
        self.deadlines = Deadlines()
        self.ingress = Ingress(name, partial(self.dead_letters.add, "ingress", "failed"))
        self._slots: dict[str, Slot] = {}

    def ref(self, path: str) -> Ref:
        """Return a reference to the actor at `path`, as in ``root/store/writer``. Raises `NotFound`."""
        slot = self._slots.get(path)
        if slot is None:
            near = ", ".join(get_close_matches(path, self._slots)) or next(iter(self._slots), "nothing any more")
            raise NotFound(f"{self.name} has no actor at {path!r}: there is {near}")
        return slot.ref()

    def cell(self, region: str, key: Hashable) -> CellRef[Any]:
        """Return a reference to one cell of the region at that path, whether it is in memory or not."""
        return CellRef(self.ref(region), key)

    async def start_child(self, supervisor: str, spec: Child | Supervisor) -> Ref:
        """Start one more child under the supervisor at that path. Raises `AlreadyExists`, or `ActorFailed`."""
        ref: Ref = await self.ref(supervisor).ask(StartChild(spec), timeout=2 * ASK_TIMEOUT)
        return ref

    async def stop_child(self, path: str) -> None:
        """Stop the actor or group at `path` for good."""
        supervisor, _, name = path.rpartition("/")
        await self.ref(supervisor).ask(StopChild(name), timeout=2 * ASK_TIMEOUT)

    def inspect(self) -> ActorInfo:
        """Return what every actor is doing, as a tree; on the loop. Raises `ActorStopped` when the system has ended."""
        if not self._slots:
            raise ActorStopped(f"{self.name} has ended, and all its actors with it")
        return inspect(self._slots)

    def inspect_from_thread(self) -> ActorInfo:
        """Like `inspect`, from another thread."""
        answer: Future[ActorInfo] = Future()
        self.ingress.enter(self._inspect_into, answer)
        return answer.result()

    def _inspect_into(self, answer: Future[ActorInfo]) -> None:
        try:
            answer.set_result(self.inspect())
        except Exception as error:  # noqa: BLE001 - it belongs to whoever inspects
            answer.set_exception(error)

    def slot_for(self, path: str, spec: Child | Supervisor) -> Slot:
        """Return the slot at `path`, made if there is none."""
        slot = self._slots.get(path)
        if slot is None:
            mailbox = spec.mailbox if isinstance(spec, Child) else MailboxSpec()
            slot = self._slots[path] = Slot(self, path, _kind(spec), mailbox)
        return slot

    def close_slots(self, path: str) -> None:
        """End the slot at `path` and all below it for good."""
        for slot in self._slots_at(self._slots[path]):
            del self._slots[slot.path]
            slot.close()

    def announce_restart(self, slot: Slot) -> None:
        """Tell those who watch an actor, or an actor of that group, that it ended and will be started again."""
        for ended in self._slots_at(slot):
            ended.announce_restart()

    def _slots_at(self, slot: Slot) -> list[Slot]:
        """Return the slot and, if it is that of a group, all below it."""
        if slot.kind != "supervisor":
            return [slot]
        below = slot.path + "/"
        return [slot, *(known for path, known in self._slots.items() if path.startswith(below))]

    def group(self, slot: Slot, spec: Supervisor) -> SupervisorActor:
        """Return a new life of the supervisor in `slot`."""
        return SupervisorActor(slot, spec, self)


def _kind(spec: Child | Supervisor) -> Kind:
    if isinstance(spec, Supervisor):
        return "supervisor"
    if isinstance(spec.factory, type) and issubclass(spec.factory, Region):
        return "region"
    return "blocking" if is_blocking(spec.factory) else "service"


class _Outside:
    """Stands above the root supervisor and hears of its end."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended

    def child_ended(self, _ended: Ended) -> None:
        self._ended()


@asynccontextmanager
async def open_system(
    tree: Supervisor,
    *,
    name: str = "system",
    ask_timeout: float = ASK_TIMEOUT,
    rng: random.Random | None = None,
    traces: Traces | None = None,
) -> AsyncIterator[System]:
    """Start the tree, give it to the block, and stop it in reverse order when the block ends.

    Raises `SystemFailed` if the tree cannot start. If its root gives up later, the block is cancelled and the same is
    raised. `rng` is where the jitter of restarts comes from; give a seeded one to replay a run.
    """
    system = System(name, ask_timeout, rng or random.Random(), traces)
    root = Running(tree, system.slot_for(tree.name, tree))
    block = trio.CancelScope()
    timers = trio.CancelScope(shield=True)
    error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_apart, timers, system.deadlines.run)
        root.begin()
        nursery.start_soon(_apart, trio.CancelScope(shield=True), run, root, _Outside(block.cancel))
        try:
            await root.started_or_gone.wait()
            if root.slot.state is State.RUNNING:
                with block:
                    yield system
        except BaseException as raised:  # noqa: BLE001 - raised again below
            error = raised  # outside the nursery, which would wrap it into a group
        await _stop(root)
        try:
            system.close_slots(tree.name)
            system.ingress.close()
            system.deadlines.close()
        finally:
            timers.cancel()  # whatever happens: it is shielded, so the block would never end
    if root.failure is not None:
        raise SystemFailed(f"{name} has failed: {root.failure}") from root.failure
    if error is not None:
        raise error


async def _stop(root: Running) -> None:
    with trio.CancelScope(shield=True):
        if root.running:
            root.slot.state = State.STOPPING
        root.request_stop()
        await root.gone.wait()


async def _apart(scope: trio.CancelScope, task: Callable[..., Awaitable[object]], *args: object) -> None:
    """Run a task that is cancelled by its own, shielded scope only: the tree is stopped by message, in order."""
    with scope:
        await task(*args)


@contextmanager
def refusing() -> Iterator[None]:
    """Raise the refusal that is at the bottom of a failed system, if one is."""
    try:
        yield
    except SystemFailed as failed:
        if failed.refusal is not None:
            raise failed.refusal from failed
        raise
