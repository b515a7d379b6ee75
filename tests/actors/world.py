"""One instance with its rows in dictionaries: the smallest store that keeps the promises of a `Save`.

Every call goes the way that the runtime takes, and is checked on it: nothing is mutated, nothing is stored without a
new version, and what is in memory is what a restart would read.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from runtara.actors._instance_state import Ledger
from runtara.actors.instance import (
    Decision,
    DomainEvent,
    Effect,
    InstanceState,
    Limits,
    Need,
    Source,
    decide,
    evolve,
    needs_of,
    save_of,
)
from runtara.errors import RuntaraError
from runtara.ids import InstanceKey
from runtara.messages import (
    AcknowledgeSignal,
    Call,
    Command,
    RegisterInstance,
    SendSignal,
    SignalKind,
    StartInstance,
    WakeInstance,
)
from runtara.records import Checkpoint, Event, Instance, Retry, Signal, Snapshot, Wait
from runtara.store import SHORT_MAX_BYTES, Copies, Save

__all__ = ["KEY", "NOW", "Rows", "World", "claimed", "managed", "unmanaged"]

KEY = InstanceKey("acme", "order-7")
NOW = 1_750_000_000_000


class Rows:
    """What is stored about one instance."""

    def __init__(self) -> None:
        self.instance: Instance | None = None
        self.input: bytes | None = None
        self.env: dict[str, str] = {}
        self.output: bytes | None = None
        self.checkpoints: dict[str, Checkpoint] = {}
        self.events: list[Event] = []
        self.signals: dict[str, Signal] = {}
        self.waits: dict[str, Wait] = {}
        self.retries: dict[tuple[str, int], Retry] = {}

    def apply(self, save: Save) -> None:
        """Store a save, as strictly as the contract allows."""
        stored = 0 if self.instance is None else self.instance.version
        assert save.expected_version == stored
        assert save.instance.version == stored + 1
        if save.replaces:
            assert self.instance is not None, "one that is new replaces none"
            assert save.instance.epoch > self.instance.epoch, "the old one is fenced"
            self.__init__()  # type: ignore[misc]  # nothing is left
        if self.instance is None:
            self.input, self.env = save.input, save.env
        self.instance = save.instance
        self.output = self.output if save.output is None else save.output
        for checkpoint in save.checkpoints:
            assert checkpoint.checkpoint_id not in self.checkpoints
            self.checkpoints[checkpoint.checkpoint_id] = checkpoint
        for signal in save.signals:
            assert signal.signal_id not in self.signals
            self.signals[signal.signal_id] = signal
        for signal_id, at in save.acknowledged:
            assert self.signals[signal_id].acknowledged_at is None
            self.signals[signal_id] = replace(self.signals[signal_id], acknowledged_at=at)
        for wait in save.waits:
            known = self.waits.get(wait.place)
            assert known is None or replace(wait, ended_at=None, signal_id=None) == known, "a wait only ends, once"
            self.waits[wait.place] = wait
        for retry in save.retries:
            self.retries.setdefault((retry.checkpoint_id, retry.attempt), retry)
        told = {_request(event) for event in self.events}
        self.events.extend(event for event in save.events if event.request is None or _request(event) not in told)

    def copy(self, source: "Rows", copies: Copies) -> None:
        """Take over what a fork begins with."""
        for checkpoint in source.checkpoints.values():
            self.checkpoints[checkpoint.checkpoint_id] = checkpoint
            if checkpoint.checkpoint_id == copies.checkpoint_id:
                break
        for wait in source.waits.values():
            if wait.ended_at is not None:
                self.waits[wait.place] = wait
                self.signals |= {} if wait.signal_id is None else {wait.signal_id: source.signals[wait.signal_id]}

    def snapshot(self) -> Snapshot | None:
        """What a restart would read."""
        if self.instance is None:
            return None
        return Snapshot(
            instance=self.instance,
            checkpoint_ids=tuple(self.checkpoints),
            signals=tuple(signal for signal in self.signals.values() if signal.acknowledged_at is None),
            signal_ids=tuple(self.signals),
            waits=tuple(self.waits.values()),
        )

    def read(self, need: Need) -> object:
        """Answer a need."""
        if need.kind == "checkpoint":
            return self.checkpoints.get(need.id or "")
        if need.kind == "short":
            short = self.checkpoints.get(need.id or "")
            return short if short is not None and len(short.state) <= SHORT_MAX_BYTES else None
        if need.kind == "signal":
            return self.signals.get(need.id or "")
        if need.kind == "origin":
            return self.events[0].payload if self.events else None
        return {"input": self.input, "env": self.env, "output": self.output}[need.kind]


def _request(event: Event) -> tuple[int, int | None]:
    return event.epoch, event.request


class World:
    """An instance, its rows and its clock."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.rows = Rows()
        self.state = InstanceState.from_snapshot(KEY, None)
        self.now = NOW
        self.effects: tuple[Effect, ...] = ()
        self.saved: Save | None = None
        """Of the last call, if it stored anything."""
        self.replies: list[object] = []
        """Of all bursts, refusals as their texts."""
        self.others: dict[str, World] = {}
        """What else there is of the tenant, to be forked."""
        self._ids = 0

    @property
    def row(self) -> Instance:
        """The stored row."""
        assert self.rows.instance is not None
        return self.rows.instance

    @property
    def audit(self) -> list[str]:
        """The types of all events stored so far."""
        return [event.type for event in self.rows.events]

    def ask(self, command: Command, epoch: int | None = None) -> object:
        """Send a command the way the runtime does; return the reply or raise the refusal."""
        self.effects, self.saved = (), None
        decision = self._decide(self.state, Call(KEY, command, epoch))
        self._commit(decision.events)
        self.effects = decision.effects
        if isinstance(decision.reply, Exception):
            raise decision.reply
        return decision.reply

    def ask_burst(self, calls: list[Call]) -> None:
        """Decide several calls and commit them at once, or earlier where one needs the store."""
        events: list[DomainEvent] = []
        state = self.state
        for call in calls:
            if needs_of(state, call):
                self._commit(events)
                state, events = self.state, []
            try:
                decision = self._decide(state, call)
            except RuntaraError as refusal:
                self.replies.append(str(refusal))
                continue
            reply = decision.reply
            self.replies.append(str(reply) if isinstance(reply, Exception) else reply)
            events.extend(decision.events)
            for event in decision.events:
                state = evolve(state, event)
        self._commit(events)

    def _commit(self, events: Sequence[DomainEvent]) -> None:
        if events:
            after = self.state
            for event in events:
                after = evolve(after, event)
            self.saved = save_of(self.state, after, events)
            self.rows.apply(self.saved)
            self.state = after.stored(self.saved)
            if self.saved.copies is not None:
                self.rows.copy(self.others[self.saved.copies.source.instance_id].rows, self.saved.copies)
        if self.state.unread:  # as the region does
            self.state = InstanceState.from_snapshot(KEY, self.rows.snapshot())
        assert replace(self.state, input=None) == InstanceState.from_snapshot(KEY, self.rows.snapshot())
        assert self.state.input in (None, self.rows.input)

    def tell(self, command: Command) -> object:
        """Send a command as the attempt that holds the instance."""
        return self.ask(command, self.row.epoch)

    def send(
        self, kind: SignalKind, signal_id: str | None = None, name: str | None = None, grace_ms: int | None = None
    ) -> object:
        """Send a signal, under a fresh id if none is given."""
        self._ids += 1
        signal_id = signal_id or f"signal-{self._ids}"
        return self.ask(SendSignal(kind=kind, signal_id=signal_id, name=name, payload=b"payload", grace_ms=grace_ms))

    def acknowledge(self, kind: SignalKind) -> object:
        """Acknowledge the oldest pending signal of a kind."""
        signal = next(signal for signal in self.state.signals if signal.kind == kind)
        return self.tell(AcknowledgeSignal(signal_id=signal.signal_id))

    def wake(self) -> object:
        """Let the scheduler wake the instance at its time."""
        assert self.row.wake_at is not None
        self.now = max(self.now, self.row.wake_at)
        return self.ask(WakeInstance(due_at=self.row.wake_at))

    def _decide(self, state: InstanceState, call: Call) -> Decision:
        before = _apart(state)
        found = {need: self._read(need) for need in needs_of(state, call)}
        try:
            return decide(state, call, self.now, found, self.limits)
        finally:
            assert state == before, "decide has changed its input"

    def _read(self, need: Need) -> object:
        if need.kind != "source":
            return self.rows.read(need)
        other = self.others.get(need.id or "")
        snapshot = None if other is None else other.rows.snapshot()
        return None if other is None or snapshot is None else Source(snapshot, other.rows.input, other.rows.env)


def _apart(state: InstanceState) -> InstanceState:
    """A copy that shares nothing that could change: all but the ledgers is frozen."""
    return replace(
        state,
        signal_ids=Ledger.of(state.signal_ids.entries()),
        checkpoint_ids=Ledger.of(state.checkpoint_ids.entries()),
        ended_waits=Ledger.of(state.ended_waits.entries()),
    )


def unmanaged(limits: Limits | None = None) -> World:
    """A program that registered by itself and runs as attempt 1."""
    world = World(limits)
    world.ask(RegisterInstance(attempt_id="first"))
    return world


def claimed(limits: Limits | None = None, timeout_ms: int | None = None) -> World:
    """A program that this host launched as attempt 1, and that has not registered yet."""
    world = World(limits)
    world.ask(StartInstance(program="ship", input=b"input", timeout_ms=timeout_ms))
    world.wake()
    return world


def managed(limits: Limits | None = None, timeout_ms: int | None = None) -> World:
    """A program that this host launched and that registered as attempt 1."""
    world = claimed(limits, timeout_ms)
    world.tell(RegisterInstance(attempt_id="first"))
    return world
