"""What an instance's actor knows about its instance, and how an event changes it.

Owns `InstanceState` and `evolve`. It decides nothing: an event that does not fit is a bug and crashes here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec.structs import replace

from runtara.actors import _instance_events as happened
from runtara.actors._instance_events import DomainEvent, Transition
from runtara.ids import InstanceKey
from runtara.lifecycle import Status, next_status
from runtara.records import Instance, Signal, Snapshot, Wait
from runtara.store import Save

__all__ = ["EVOLVE", "InstanceState", "Ledger", "evolve", "new_row"]

V = TypeVar("V")


class Ledger(Generic[V]):
    """Names with their values, each written once and never changed; adding one takes constant time.

    Successive ledgers share one growing list, of which each sees only its own beginning. Adding to an older ledger,
    after a newer one went on, copies that beginning first: no ledger ever sees an entry that was not added to it.
    """

    __slots__ = ("_count", "_positions", "_values")
    __hash__ = None  # type: ignore[assignment]  # equal by content: never a key

    def __init__(self, positions: dict[str, int], values: list[V]) -> None:
        self._positions = positions
        self._values = values
        self._count = len(values)

    @classmethod
    def of(cls, entries: Iterable[tuple[str, V]] = ()) -> "Ledger[V]":
        """Return a ledger of its own for names and values in the order in which they were added."""
        pairs = list(entries)
        return cls({name: at for at, (name, _) in enumerate(pairs)}, [value for _, value in pairs])

    @classmethod
    def of_names(cls, names: Sequence[str] = ()) -> "Ledger[None]":
        """Return a ledger of its own for names alone."""
        return Ledger({name: at for at, name in enumerate(names)}, [None] * len(names))

    def __len__(self) -> int:
        return self._count

    def __contains__(self, name: str) -> bool:
        return self._positions.get(name, self._count) < self._count

    def __iter__(self) -> Iterator[str]:
        return (name for name, at in self._positions.items() if at < self._count)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ledger) and self.entries() == other.entries()

    def get(self, name: str) -> V | None:
        """Return the value of `name`, or None where there is none."""
        position = self._positions.get(name, self._count)
        return self._values[position] if position < self._count else None

    def entries(self) -> list[tuple[str, V]]:
        """Return names and values in the order in which they were added."""
        return [(name, self._values[at]) for name, at in self._positions.items() if at < self._count]

    def adding(self, name: str, value: V) -> "Ledger[V]":
        """Return a ledger with one entry more; raises `ValueError` for a name that is there already."""
        positions, values, count = self._positions, self._values, self._count
        if positions.get(name, count) < count:
            raise ValueError(f"{name!r} is in the ledger already")
        if len(values) > count:  # a newer ledger went another way: leave its entries to it
            return Ledger.of(self.entries()).adding(name, value)
        positions[name] = count
        values.append(value)
        return Ledger(positions, values)


class InstanceState(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Everything that decisions about one instance need; never changed, only followed by another state."""

    key: InstanceKey
    instance: Instance | None = None
    """None as long as the instance does not exist."""
    signals: tuple[Signal, ...] = ()
    """Those that are not acknowledged, in order of arrival."""
    signal_ids: Ledger[None]
    """Of all signals ever sent."""
    checkpoint_ids: Ledger[None]
    open_waits: tuple[Wait, ...] = ()
    """Places that look for a signal now: as few as the program has concurrent waits."""
    ended_waits: Ledger[Wait]
    """Places that have found what they will see for ever."""
    input: bytes | None = None
    """What it was started with, where that is short and was said here; None where it has to be read."""
    unread: bool = False
    """Whether more is stored than is known here, so that it has to be loaded before anything else is decided."""

    @classmethod
    def from_snapshot(cls, key: InstanceKey, snapshot: Snapshot | None) -> "InstanceState":
        """Return the state that was stored, or that of an instance which does not exist."""
        if snapshot is None:
            return cls(key=key, signal_ids=Ledger.of_names(), checkpoint_ids=Ledger.of_names(), ended_waits=Ledger.of())
        return cls(
            key=key,
            instance=snapshot.instance,
            signals=snapshot.signals,
            signal_ids=Ledger.of_names(snapshot.signal_ids),
            checkpoint_ids=Ledger.of_names(snapshot.checkpoint_ids),
            open_waits=tuple(wait for wait in snapshot.waits if wait.ended_at is None),
            ended_waits=Ledger.of((wait.place, wait) for wait in snapshot.waits if wait.ended_at is not None),
        )

    @property
    def checkpoint_count(self) -> int:
        """How many checkpoints the instance has."""
        return len(self.checkpoint_ids)

    def wait_at(self, place: str) -> Wait | None:
        """Return the wait of a place, ended or open, or None where it never waited."""
        ended = self.ended_waits.get(place)
        return ended or next((wait for wait in self.open_waits if wait.place == place), None)

    def stored(self, save: Save) -> "InstanceState":
        """Return this state with the version that it has once `save` is on stable storage."""
        return replace(self, instance=save.instance)


def new_row(key: InstanceKey, now: int) -> Instance:
    """Return the row of an instance that nothing has happened to."""
    return Instance(
        tenant_id=key.tenant_id,
        instance_id=key.instance_id,
        status=Status.PENDING,
        version=0,
        epoch=0,
        created_at=now,
    )


def evolve(state: InstanceState, event: DomainEvent) -> InstanceState:
    """Return the state after `event`. The row's version stays: it counts saves, not events (`InstanceState.stored`)."""
    return EVOLVE[type(event)](state, event)


def _change(state: InstanceState, **changes: object) -> InstanceState:
    assert state.instance is not None, "only a created instance changes"
    return replace(state, instance=replace(state.instance, **changes))


_INPUT_KEPT_MAX: Final = 4_096
"""Longest input that is kept as long as the instance is in memory and has not ended, in bytes."""


def _move(state: InstanceState, event: Transition, **changes: object) -> InstanceState:
    assert state.instance is not None, "only a created instance changes"
    status = next_status(state.instance.status, event.trigger)
    assert status is not None, f"{state.instance.status} cannot become {event.trigger}"
    return _change(state, status=status, **changes)


def _create(state: InstanceState, event: happened.InstanceCreated) -> InstanceState:
    is_short = event.input is not None and len(event.input) <= _INPUT_KEPT_MAX
    return replace(
        state, instance=event.instance, input=event.input if is_short else None, unread=event.fork is not None
    )


def _replace(state: InstanceState, event: happened.InstanceReplaced) -> InstanceState:
    return _create(InstanceState.from_snapshot(state.key, None), event.successor)


def _register(state: InstanceState, event: happened.AttemptRegistered) -> InstanceState:
    row = state.instance
    assert row is not None, "only a created instance is registered for"
    goes_on = {"claimed_at": event.at if row.claimed_at is None else row.claimed_at}
    return _move(
        state,
        event,
        epoch=event.epoch,
        attempt_id=event.attempt_id,
        started_at=event.at if row.started_at is None else row.started_at,
        heartbeat_at=event.at,
        **_BEGUN,
        **(goes_on if event.launched else {**_stopped(row, event.at), "claimed_epoch": None}),
    )


def _claim(state: InstanceState, event: happened.AttemptClaimed) -> InstanceState:
    return _move(
        state,
        event,
        epoch=event.epoch,
        attempt_id=None,
        heartbeat_at=event.at,
        claimed_at=event.at,
        claimed_epoch=event.epoch,
        **_BEGUN,
    )


def _continue(state: InstanceState, event: happened.AttemptContinued) -> InstanceState:
    return _move(state, event, heartbeat_at=event.at, **_BEGUN)


def _suspend(state: InstanceState, event: happened.InstanceSuspended) -> InstanceState:
    assert state.instance is not None, "only a created instance rests"
    stopped = _stopped(state.instance, event.at)
    return _move(state, event, wake_at=event.wake_at, termination_reason=event.reason, **stopped)


def _lose(state: InstanceState, event: happened.AttemptLost) -> InstanceState:
    row = state.instance
    assert row is not None, "only a created instance loses its attempt"
    # Nobody knows for how long it lived on after it was last heard of, and nothing shall time out for that.
    return _move(
        state,
        event,
        epoch=event.epoch + 1,
        attempt_id=None,
        claimed_epoch=None,
        losses=event.losses,
        wake_at=event.wake_at,
        termination_reason=event.reason,
        exit_code=event.exit_code,
        **_stopped(row, event.at if row.heartbeat_at is None else min(event.at, row.heartbeat_at)),
    )


def _end(state: InstanceState, event: happened.InstanceEnded) -> InstanceState:
    row = state.instance
    assert row is not None, "only a created instance ends"
    begun_at = row.created_at if row.started_at is None else row.started_at
    return _move(
        _without_input(state),
        event,
        finished_at=max(event.at, begun_at),
        wake_at=None,
        termination_reason=event.reason,
        exit_code=event.exit_code,
        error=event.error,
        **_stopped(row, event.at),
    )


def _without_input(state: InstanceState) -> InstanceState:
    """Whoever has ended is asked for it seldom."""
    return state if state.input is None else replace(state, input=None)


_BEGUN: Final[dict[str, Any]] = {"wake_at": None, "termination_reason": None, "exit_code": None}
"""What a running instance has no more of; Any: fields of a row."""


def _stopped(row: Instance, at: int) -> dict[str, Any]:  # Any: fields of a row
    """Return what changes in the row because no launch runs any more since `at`."""
    if row.claimed_at is None:
        return {}
    return {"claimed_at": None, "ran_ms": row.ran_ms + max(0, at - row.claimed_at)}


def _move_wake(state: InstanceState, event: happened.WakeMoved) -> InstanceState:
    reason = {"termination_reason": None} if event.resumed else {}
    return _change(state, wake_at=event.wake_at, **reason)


def _add_checkpoint(state: InstanceState, event: happened.CheckpointAdded) -> InstanceState:
    # A checkpoint is progress and a sign of life, and the row is rewritten anyway.
    assert state.instance is not None, "only a created instance changes"
    checkpoint_id, at = event.checkpoint.checkpoint_id, event.checkpoint.created_at
    return replace(
        state,
        instance=replace(state.instance, checkpoint_id=checkpoint_id, heartbeat_at=at, losses=0),
        checkpoint_ids=state.checkpoint_ids.adding(checkpoint_id, None),
    )


def _add_signal(state: InstanceState, event: happened.SignalSent) -> InstanceState:
    return replace(
        state,
        signals=(*state.signals, event.signal),
        signal_ids=state.signal_ids.adding(event.signal.signal_id, None),
    )


def _drop_signal(state: InstanceState, event: happened.SignalAcknowledged) -> InstanceState:
    signal_id = event.signal.signal_id
    return replace(state, signals=tuple(signal for signal in state.signals if signal.signal_id != signal_id))


def _begin_wait(state: InstanceState, event: happened.WaitBegun) -> InstanceState:
    return replace(state, open_waits=(*state.open_waits, event.wait))


def _end_wait(state: InstanceState, event: happened.WaitEnded) -> InstanceState:
    place = event.wait.place
    return replace(
        state,
        open_waits=tuple(wait for wait in state.open_waits if wait.place != place),
        ended_waits=state.ended_waits.adding(place, event.wait),
    )


def _keep(state: InstanceState, event: DomainEvent) -> InstanceState:
    """History only: no decision depends on it."""
    return state


EVOLVE: Final[dict[type, Callable[[InstanceState, Any], InstanceState]]] = {  # Any: each row takes its own event type
    happened.InstanceCreated: _create,
    happened.InstanceReplaced: _replace,
    happened.AttemptRegistered: _register,
    happened.AttemptClaimed: _claim,
    happened.AttemptContinued: _continue,
    happened.InstanceSuspended: _suspend,
    happened.AttemptLost: _lose,
    happened.InstanceEnded: _end,
    happened.WakeMoved: _move_wake,
    happened.CheckpointAdded: _add_checkpoint,
    happened.SignalSent: _add_signal,
    happened.SignalAcknowledged: _drop_signal,
    happened.WaitBegun: _begin_wait,
    happened.WaitEnded: _end_wait,
    happened.RetryRecorded: _keep,
    happened.EventRecorded: _keep,
}
"""Event type to what it makes of the state."""
