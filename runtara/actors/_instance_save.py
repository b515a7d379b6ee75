"""What a burst of events leaves in the store.

Owns the merge of domain events into one `Save`: the new row, the rows of its history, and the lines of the audit log.
It does not know why anything happened.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from runtara.actors import _instance_events as happened
from runtara.actors._instance_events import DomainEvent, Transition
from runtara.actors._instance_state import InstanceState
from runtara.ids import InstanceKey
from runtara.records import NOTE_MAX_BYTES, Checkpoint, Event, Retry, Signal, Wait
from runtara.store import Copies, Save

__all__ = ["WRITE", "save_of"]


def save_of(before: InstanceState, after: InstanceState, events: Sequence[DomainEvent]) -> Save:
    """Return the one save that turns the stored `before` into `after`; its version is one more, whatever happened.

    `events` are those that led from `before` to `after`, and `before` is what is stored, not a state inside the burst.
    """
    assert after.instance is not None, "only a created instance is saved"
    version = 0 if before.instance is None else before.instance.version
    draft = _Draft()
    for event in events:
        if event.__class__ is happened.InstanceReplaced:
            draft = _Draft(replaces=True)  # what happened to the old one before goes with it
        WRITE[type(event)](draft, event)
    return Save(
        instance=replace(after.instance, version=version + 1),
        expected_version=version,
        input=draft.input,
        env=draft.env,
        output=draft.output,
        checkpoints=draft.checkpoints,
        events=draft.events,
        signals=tuple(draft.signals.values()),
        acknowledged=draft.acknowledged,
        waits=tuple(draft.waits.values()),
        retries=draft.retries,
        copies=draft.copies,
        told=bool(draft.events),
        replaces=draft.replaces and version > 0,
    )


class _Draft:
    """The rows of a save while they are collected."""

    __slots__ = (
        "acknowledged",
        "checkpoints",
        "copies",
        "env",
        "events",
        "input",
        "output",
        "replaces",
        "retries",
        "signals",
        "waits",
    )

    def __init__(self, *, replaces: bool = False) -> None:
        self.replaces = replaces
        self.copies: Copies | None = None
        self.input: bytes | None = None
        self.env: dict[str, str] = {}
        self.output: bytes | None = None
        self.checkpoints: tuple[Checkpoint, ...] = ()
        self.events: tuple[Event, ...] = ()
        self.signals: dict[str, Signal] = {}
        self.acknowledged: tuple[tuple[str, int], ...] = ()
        self.waits: dict[str, Wait] = {}
        self.retries: tuple[Retry, ...] = ()


def _created(draft: _Draft, event: happened.InstanceCreated) -> None:
    row = event.instance
    draft.input, draft.env = event.input, event.env
    created = Event(type="created", epoch=row.epoch, created_at=row.created_at)
    if event.fork is not None:
        source = InstanceKey(row.tenant_id, event.fork.source)
        draft.copies = Copies(source, event.fork.checkpoint_id, event.source_created_at)
        origin = msgspec.json.encode(event.fork)
        created = replace(created, subtype="forked", checkpoint_id=row.checkpoint_id, payload=origin)
    elif event.replacement is not None:
        subtype = None if event.replacement.status is None else "replaced"
        created = replace(created, subtype=subtype, payload=msgspec.json.encode(event.replacement))
    draft.events += (created,)


def _replaced(draft: _Draft, event: happened.InstanceReplaced) -> None:
    _created(draft, event.successor)


def _transition(draft: _Draft, event: Transition) -> None:
    draft.events += (Event(type=event.trigger, epoch=event.epoch, created_at=event.at),)


def _suspended(draft: _Draft, event: happened.InstanceSuspended) -> None:
    draft.events += (
        Event(type=event.trigger, epoch=event.epoch, created_at=event.at, checkpoint_id=event.checkpoint_id),
    )


def _lost(draft: _Draft, event: happened.AttemptLost) -> None:
    error = None if event.error is None else event.error.encode(errors="replace")  # it may hold lone surrogates
    draft.events += (Event(type=event.trigger, epoch=event.epoch, created_at=event.at, payload=error),)


def _ended(draft: _Draft, event: happened.InstanceEnded) -> None:
    draft.output = event.output
    _transition(draft, event)


def _row_only(draft: _Draft, event: happened.WakeMoved) -> None:
    """The new row says it all."""


def _checkpoint(draft: _Draft, event: happened.CheckpointAdded) -> None:
    draft.checkpoints += (event.checkpoint,)


def _sent(draft: _Draft, event: happened.SignalSent) -> None:
    signal = event.signal
    draft.signals[signal.signal_id] = signal
    line = _signal_event("signal-sent", signal, event.epoch, signal.sent_at)
    if signal.kind != "custom" and 0 < len(signal.payload) <= NOTE_MAX_BYTES:
        # Nobody reads such a signal back once it was acted upon, and why that was is for the log.
        line = replace(line, payload=b"\n".join((signal.signal_id.encode(), signal.payload)))
    draft.events += (line,)


def _acknowledged(draft: _Draft, event: happened.SignalAcknowledged) -> None:
    signal = event.signal
    if signal.signal_id in draft.signals:  # sent and acknowledged in one save: one finished row
        draft.signals[signal.signal_id] = signal
    else:
        draft.acknowledged += ((signal.signal_id, event.at),)
    draft.events += (_signal_event("signal-acknowledged", signal, event.epoch, event.at),)


def _signal_event(type_: str, signal: Signal, epoch: int, at: int) -> Event:
    """The audit line names kind and id of the signal; what a custom one carried is in its own row."""
    return Event(type=type_, epoch=epoch, created_at=at, subtype=signal.kind, payload=signal.signal_id.encode())


def _wait(draft: _Draft, event: happened.WaitBegun | happened.WaitEnded) -> None:
    draft.waits[event.wait.place] = event.wait  # begun and ended in one save: the end counts


def _retry(draft: _Draft, event: happened.RetryRecorded) -> None:
    draft.retries += (event.retry,)


def _custom(draft: _Draft, event: happened.EventRecorded) -> None:
    draft.events += (event.event,)


WRITE: Final[dict[type, Callable[[_Draft, Any], None]]] = {  # Any: each row takes its own event type
    happened.InstanceCreated: _created,
    happened.InstanceReplaced: _replaced,
    happened.AttemptRegistered: _transition,
    happened.AttemptClaimed: _transition,
    happened.AttemptContinued: _transition,
    happened.InstanceSuspended: _suspended,
    happened.AttemptLost: _lost,
    happened.InstanceEnded: _ended,
    happened.WakeMoved: _row_only,
    happened.CheckpointAdded: _checkpoint,
    happened.SignalSent: _sent,
    happened.SignalAcknowledged: _acknowledged,
    happened.WaitBegun: _wait,
    happened.WaitEnded: _wait,
    happened.RetryRecorded: _retry,
    happened.EventRecorded: _custom,
}
"""Event type to the rows that it leaves."""
