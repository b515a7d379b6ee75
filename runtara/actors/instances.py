"""The region of all instances: joins the pure logic of `instance` with the store, and acts on what was decided."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Any, Final

import msgspec

from runtara.actors import instance
from runtara.actors._cell import Decision, Elsewhere, Write
from runtara.actors._instance_traces import Persisting, deciding
from runtara.actors._ref import Ref
from runtara.actors._region import Region
from runtara.actors._reply import Reply
from runtara.actors._service import hears
from runtara.actors.forwarder import Forward
from runtara.actors.instance import Arm, Effect, InstanceState, Limits, Need
from runtara.actors.storage import Answer, Commit, Load
from runtara.actors.watched import Stored, Watched
from runtara.clock import Clock
from runtara.endpoints import ENDPOINTS
from runtara.errors import Fenced, OutcomeUnknown, RuntaraError, StoreUnavailable, Unreachable
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import Call, GetStatus, Request
from runtara.records import Holder, Snapshot
from runtara.store import LoadError, Save, Tenure

__all__ = ["Adopt", "Effected", "Forget", "Instances", "TakeHeard"]


class Effected(msgspec.Struct, frozen=True):
    """Told to the actor that is in charge of an effect: what is to be done, for which instance."""

    key: InstanceKey
    effect: Effect
    priority: int = 0
    program: str | None = None
    """Of the instance, where it has one and it matters who it is: for wake-ups."""
    trace: str | None = None
    """The ``traceparent`` of what it follows from, where that is traced."""


class TakeHeard(msgspec.Struct, Request[dict[InstanceKey, int]], frozen=True):
    """Ask which attempts were heard of since the last time, and when (milliseconds since 1970 UTC)."""


class Adopt(msgspec.Struct, frozen=True):
    """These instances were another node's: see to it that all that they need is done here from now on."""

    keys: tuple[InstanceKey, ...]


class Forget(msgspec.Struct, Request[None], frozen=True):
    """These instances were deleted: what is asked about them once this is answered is to be looked up."""

    keys: tuple[InstanceKey, ...]


class _Held(Elsewhere):
    """An instance is another node's."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(holder)
        self.holder: Final = holder


_LOOK_AGAIN_AFTER: Final = 1.0
"""Seconds until instances whose change is in doubt are looked at again."""


class _LookAgain(msgspec.Struct, frozen=True):
    """It is time to find out what became of changes that were in doubt."""


class Instances(Region[InstanceKey, InstanceState]):
    """One cell per instance that something happens to."""

    def __init__(
        self,
        *,
        writer: str,
        readers: Sequence[str],
        effects: Mapping[type[Effect], Sequence[str]],
        limits: Limits,
        resident: int,
        idle_after: float,
        mailbox: int,
        batch: int,
        clock: Clock,
        tenure: Tenure | None = None,
        forwarder: str | None = None,
        watched: Watched | None = None,
        feed: str | None = None,
    ) -> None:
        super().__init__(resident=resident, idle_after=idle_after, clock=clock)
        self.BATCH = batch  # type: ignore[misc]  # the class's default, set for this region
        self.MAILBOX = mailbox  # type: ignore[misc]  # the class's default, set for this region
        self._paths: Final = (writer, tuple(readers))
        self._effects: Final = effects
        self._limits = limits
        self._heard: dict[InstanceKey, int] = {}
        self._in_charge: dict[str, Ref] = {}
        self._turn = 0
        self._tenure: Final = tenure
        """Our place among the nodes that share the store; None where nobody shares it."""
        self._forwarder: Final = forwarder
        self._watched: Final = watched or Watched()
        self._feed: Final = feed
        self._persisted: Persisting | None = None
        """What is traced of the batch whose effects are performed."""
        self._doubtful: set[InstanceKey] = set()
        """Instances of which it is not known whether their last change is stored; nothing was done about it."""

    async def on_start(self) -> None:
        """Look up the store's actors."""
        writer, readers = self._paths
        self._writer = self.system.ref(writer)
        self._readers = [self.system.ref(reader) for reader in readers]

    @hears(TakeHeard)
    def take_heard(self, _: TakeHeard) -> dict[InstanceKey, int]:
        """Return which attempts were heard of, and begin a new list."""
        heard, self._heard = self._heard, {}
        # What waits while the store is slow was said all the same.
        now_ms = self.clock.now_ms()
        heard.update((key, now_ms) for key, cell in self._cells.items() if cell.busy or cell.mail)
        return heard

    def hydrate(
        self, keys: Sequence[InstanceKey], settle: Callable[[Mapping[InstanceKey, Any] | Exception], None]
    ) -> None:
        """Load instances; those that do not exist come to life as such."""
        doubtful = self._doubtful.intersection(keys)  # what is in doubt from now on, this load may be too old to tell

        def then(reply: Reply) -> None:
            if isinstance(reply.error, Exception):
                settle(reply.error)
                return
            found: Any = reply.value
            states = {key: _state(key, found.get(key)) for key in keys}
            settle(states)
            for key in doubtful:
                self._resolve(key, states[key])

        self._reader().ask_then(Load(tuple(keys)), then, timeout=inf)

    def needs(self, state: InstanceState, message: Call) -> tuple[Need, ...] | None:
        """Return what must be read before the call can be decided."""
        return instance.needs_of(state, message) or None

    def look_up(self, key: InstanceKey, needs: tuple[Need, ...], settle: Callable[[Any], None]) -> None:
        """Read it."""

        def then(reply: Reply) -> None:
            settle(reply.value if reply.error is None else reply.error)

        self._reader().ask_then(Answer(key, needs), then, timeout=inf)

    def decide(self, state: InstanceState, message: Call, now_ms: int, found: Any) -> Decision:
        """Decide a call."""
        if self._tenure is not None and not self._tenure.holds:
            raise StoreUnavailable("this node is out of touch with the store, and others may take over: try again")
        traces = self.system.traces
        if traces is None or message.trace is None:
            decision = instance.decide(state, message, now_ms, found or {}, self._limits)
        else:
            with deciding(traces, message.trace):
                decision = instance.decide(state, message, now_ms, found or {}, self._limits)
        if state.instance is not None and message.epoch == state.instance.epoch:  # an older attempt counts for nobody
            self._heard[message.key] = now_ms
        return decision

    def is_left_alone(self, key: InstanceKey, epoch: int | None, checkpoint_id: str | None = None) -> bool:
        """Whether an attempt runs and was told nothing, as it stands in memory; may be asked from any thread.

        Where it is about to save a checkpoint: whether it would hear no more than that this is saved.
        """
        cell = self._cells.get(key)
        state = None if cell is None else cell.state
        row = None if state is None else state.instance
        if state is None or row is None or row.epoch != epoch or row.status is not Status.RUNNING:
            return False
        if state.signals and not all(one.kind == "custom" and one.name != checkpoint_id for one in state.signals):
            return False
        return checkpoint_id is None or checkpoint_id not in state.checkpoint_ids

    def evolve(self, state: InstanceState, event: Any) -> InstanceState:
        """Apply an event."""
        return instance.evolve(state, event)

    def keeps(self, state: InstanceState) -> bool:
        """Return whether all that is stored is known, and no other node changes it: there is none, or it runs here.

        One that is finished stays as it is, but any node may put another one in its place.
        """
        if state.unread or self._tenure is None:
            return not state.unread
        return state.instance is not None and state.instance.status is Status.RUNNING

    def pass_on(self, key: InstanceKey, message: Call, reply: Reply | None, elsewhere: Elsewhere) -> None:
        """Have a call answered by the node that owns the instance."""
        assert isinstance(elsewhere, _Held), "nothing else is given in the place of a state"
        holder = elsewhere.holder
        if type(message.command) not in ENDPOINTS:
            raise Fenced(
                f"instance {key.instance_id!r} is held by node {holder.name!r}: what happens to it is told there"
            )
        if message.passed_on or reply is None or self._forwarder is None:
            raise Unreachable(
                f"instance {key.instance_id!r} is held by node {holder.name!r}, not by this one: ask there"
            )

        def again() -> None:
            try:
                self.deliver(key, message, reply)
            except RuntaraError as refusal:
                reply.fail(refusal)

        self._ref(self._forwarder).tell_nowait(Forward(message, reply, holder, again))

    def persist(
        self,
        writes: Sequence[Write[InstanceKey, InstanceState]],
        settle: Callable[[Sequence[bool] | Exception], None],
    ) -> None:
        """Have the writer store the writes."""
        saves = []
        for write in writes:
            save = instance.save_of(write.before, write.after, write.events)
            write.after = write.after.stored(save)
            saves.append(save)

        began = self.system.now()
        traces = self.system.traces
        persisting = None if traces is None else Persisting(traces, writes)

        def then(reply: Reply) -> None:
            kept: Any = reply.value
            if isinstance(reply.error, OutcomeUnknown):
                self._doubt(write.key for write in writes)
            if persisting is not None:
                persisting.end(reply.error)
            self._persisted = persisting
            settle(kept if not isinstance(reply.error, Exception) else reply.error)
            self._persisted = None
            if self._watched.tenants and (kept is not None or isinstance(reply.error, OutcomeUnknown)):
                self._tell_of(saves, kept, began)

        # No deadline: the writer always answers, and what it has not read yet may still be stored later.
        parents = () if persisting is None else persisting.parents
        self._writer.ask_then(Commit(tuple(saves), parents), then, timeout=inf)

    def perform(self, key: InstanceKey, state: InstanceState, effects: Sequence[Effect]) -> None:
        """Tell those in charge."""
        for effect in effects:
            told = _told(key, effect, state, None if self._persisted is None else self._persisted.trace_of(key))
            for path in self._effects[type(effect)]:
                try:
                    self._ref(path).tell_nowait(told)
                except RuntaraError:  # effects happen at most once; each is derived again from what is stored
                    self.system.dead_letters.add(path, "effect", effect)

    def _tell_of(self, saves: Sequence[Save], kept: Sequence[bool] | None, began: float) -> None:
        """Tell the feed what was stored; where that is not known, that it has missed something."""
        tenants = self._watched.tenants
        watched = [save.instance.tenant_id in tenants for save in saves]
        if self._feed is None or not any(watched):
            return
        told = tuple(
            save
            for save, yes, stored in zip(saves, watched, kept or [False] * len(saves), strict=True)
            if yes and stored
        )
        try:
            self._ref(self._feed).tell_nowait(Stored(told, self.system.now() - began, missed=kept is None))
        except RuntaraError:
            self._watched.missed = True

    def _doubt(self, keys: Iterable[InstanceKey]) -> None:
        """See to it that what a change has led to is done, if it turns out to be stored."""
        if not self._doubtful:
            self.tell_later(_LOOK_AGAIN_AFTER, _LookAgain())
        self._doubtful.update(keys)

    @hears(_LookAgain)
    def look_again(self, _: _LookAgain) -> None:
        """Have what is in doubt loaded, until it is; any message does it."""
        for key in tuple(self._doubtful):
            cell = self._cells.get(key)
            if cell is not None and cell.state is not None:  # somebody has asked about it in the meantime
                self._resolve(key, cell.state)
                continue
            with suppress(RuntaraError):
                self.system.cell(self.ref.path, key).tell_nowait(Call(key, GetStatus()))
        if self._doubtful:
            self.tell_later(_LOOK_AGAIN_AFTER, _LookAgain())

    @hears(Adopt)
    def adopt(self, message: Adopt) -> None:
        """Have done what instances need, as after any change that was in doubt."""
        self._doubtful.update(message.keys)
        self.look_again(_LookAgain())

    @hears(Forget)
    def forget(self, message: Forget) -> None:
        """Have deleted instances loaded again, should anybody speak to them."""
        cells = {key: self._cells[key] for key in message.keys if key in self._cells}
        for cell in cells.values():
            cell.state = None
        busy = tuple(key for key, cell in cells.items() if cell.busy)
        if busy:  # what is being loaded for them may have been read before they were deleted
            self.tell_later(_LOOK_AGAIN_AFTER, Forget(busy))

    def _resolve(self, key: InstanceKey, state: InstanceState | LoadError | Elsewhere) -> None:
        if isinstance(state, _Held) and state.holder.lost:
            return  # it was looked up just before it became ours: to be looked up again
        self._doubtful.discard(key)
        if isinstance(state, InstanceState):
            self.perform(key, state, instance.derive(state))

    def _reader(self) -> Ref:
        """Return the readers in turn."""
        self._turn = (self._turn + 1) % len(self._readers)
        return self._readers[self._turn]

    def _ref(self, path: str) -> Ref:
        ref = self._in_charge.get(path)
        if ref is None:  # the actors in charge start after this one
            ref = self._in_charge[path] = self.system.ref(path)
        return ref


def _told(key: InstanceKey, effect: Effect, state: InstanceState, trace: str | None) -> Effected:
    row = state.instance
    if row is None or not isinstance(effect, Arm):
        return Effected(key, effect, trace=trace)
    return Effected(key, effect, row.priority, row.program, trace)


def _state(key: InstanceKey, snapshot: Snapshot | LoadError | None) -> InstanceState | LoadError | Elsewhere:
    if isinstance(snapshot, LoadError):
        return snapshot
    if snapshot is not None and snapshot.holder is not None:
        return _Held(snapshot.holder)
    return InstanceState.from_snapshot(key, snapshot)
