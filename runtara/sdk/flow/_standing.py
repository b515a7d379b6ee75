"""How an instance stands, read from what the runtime knows of it: as flows of commands to it."""

from datetime import UTC, datetime
from typing import Any, Final, cast

import msgspec

from runtara import messages
from runtara.decoders import decode_json
from runtara.errors import InstanceNotFound, InvalidInput
from runtara.ids import is_pooled
from runtara.lifecycle import FINAL, Status, TerminationReason
from runtara.records import NOTE_MAX_BYTES
from runtara.sdk._flows import Flow
from runtara.sdk._wishes import ask
from runtara.sdk.flow._codecs import CODECS, Codec
from runtara.sdk.flow._kept import BEGIN, Begin, check_definition, read_begin, write_begin
from runtara.sdk.flow._notes import FAILURE, REST, RestNote
from runtara.sdk.flow.errors import BackendError, InstanceAlreadyExistsError
from runtara.sdk.flow.status import TaskFailure, WorkflowStatus
from runtara.sdk.flow.workflow import Workflow
from runtara.transport import Door

__all__ = [
    "SignalNote",
    "begin_of",
    "existing",
    "found",
    "has_lost",
    "signal_note",
    "status_now",
    "status_of",
    "taken",
    "to_be_replaced",
]


class SignalNote(msgspec.Struct, frozen=True, kw_only=True):
    """What whoever cancels or pauses says about it: the payload of the signal, as JSON."""

    reason: str | None = None
    by: str | None = None


def signal_note(reason: str | None, by: str | None) -> bytes:
    """Return what a cancel or pause says about itself. Raises `InvalidInput` where the instance would not keep it."""
    for text in (reason, by):
        if text is not None and not isinstance(cast(object, text), str):
            raise InvalidInput(f"a reason, and who gives it, are texts, not {type(text).__name__}")
    try:
        note = msgspec.json.encode(SignalNote(reason=reason, by=by))
    except UnicodeEncodeError as error:
        raise InvalidInput(f"a reason, or who gives it, cannot be kept ({error}): use characters") from None
    if len(note) > NOTE_MAX_BYTES:
        raise InvalidInput(f"a reason of {len(note)} bytes is too long: say it in less than {NOTE_MAX_BYTES}")
    return note


def found(door: Door) -> Flow[messages.InstanceInfo | None]:
    """Return what the runtime knows of an instance; None where there is none."""
    try:
        return (yield from ask(door, messages.GetStatus()))
    except InstanceNotFound:
        return None


def begin_of(door: Door, instance_id: str, program: str | None = None) -> Flow[Begin]:
    """Return what an instance was begun with; of one whose `program` is known to be pooled, that is its input.

    Raises `BackendError` for one that is no instance of a workflow.
    """
    if not is_pooled(program):
        kept = yield from ask(door, messages.GetCheckpoint(checkpoint_id=BEGIN))
        if kept.found:
            return read_begin(kept.state)
    submitted = yield from ask(door, messages.GetInput())
    try:
        return read_begin(submitted.input)
    except BackendError:
        raise BackendError(f"instance {instance_id!r} is not one of a workflow: use another id") from None


def existing(
    door: Door, workflow: Workflow[Any, Any], instance_id: str, *, uses_it: bool
) -> Flow[WorkflowStatus | None]:
    """Return the status that stands for a run whose id is taken, if that may be; None where it can begin.

    Raises `DefinitionMismatch`, and `InstanceAlreadyExistsError` unless its conflict policy `uses_it`.
    """
    info = yield from found(door)
    if info is None or (info.status not in FINAL and info.checkpoint_count == 0 and info.program is None):
        return None  # it is new, or whoever had it died before anything was begun
    check_definition(workflow, (yield from begin_of(door, instance_id)), instance_id)
    if uses_it:
        return (yield from status_of(door, info, workflow.codec))
    raise taken(instance_id, info.status)


def has_lost(door: Door, begin: Begin) -> Flow[bool]:
    """Return whether a run is not the one that its instance was begun with: somebody was faster.

    One that had begun, and was replaced, has not lost: it is told how the other one stands.
    """
    kept = yield from ask(door, messages.GetCheckpoint(checkpoint_id=BEGIN))
    if kept.state == write_begin(begin):
        return False
    first = yield from ask(door, messages.ListEvents(limit=1))
    return first.events[0].subtype != "replaced"


def taken(instance_id: str, status: str) -> InstanceAlreadyExistsError:
    """Return the refusal of a run whose id is taken."""
    return InstanceAlreadyExistsError(
        f"instance {instance_id!r} already exists, and is {status}: use another id, resume it, or set a conflict policy"
    )


def to_be_replaced(door: Door, workflow: Workflow[Any, Any], instance_id: str) -> Flow[bool]:
    """Return whether there is an instance in whose place a new run may come.

    Raises `DefinitionMismatch` for one of another workflow, or that no migration leads on from: sayiir documents that
    every policy does, although its runner replaces such an instance. Whoever replaces by mistake cannot take it back.
    """
    info = yield from found(door)
    if info is not None and (info.checkpoint_count > 0 or info.program is not None):
        check_definition(workflow, (yield from begin_of(door, instance_id)), instance_id)
    return info is not None


def status_of(door: Door, info: messages.InstanceInfo, codec: Codec | None) -> Flow[WorkflowStatus]:
    """Return how an instance stands. `codec` reads its output; None for the one that it was begun with."""
    if info.status is Status.COMPLETED:
        if codec is None:
            codec = CODECS.get((yield from begin_of(door, info.instance_id, info.program)).codec)
        raw = info.output or b""
        return WorkflowStatus(status="completed", output=raw if codec is None else codec.decode(raw, Any))
    if info.status is Status.FAILED:
        note = yield from _last_event(door, FAILURE)
        failure = None if note is None else decode_json(note, TaskFailure)
        return WorkflowStatus(status="failed", error=info.error, failure=failure)
    if info.status is Status.CANCELLED:
        said = yield from _note_of(door, "cancel")
        return WorkflowStatus(status="cancelled", reason=said.reason, cancelled_by=said.by)
    if info.status is Status.SUSPENDED:
        return (yield from _resting(door, info))
    return WorkflowStatus(status="in_progress")


def status_now(door: Door, codec: Codec | None) -> Flow[WorkflowStatus]:
    """Return how the instance of a door stands now."""
    info = yield from ask(door, messages.GetStatus())
    return (yield from status_of(door, info, codec))


def _resting(door: Door, info: messages.InstanceInfo) -> Flow[WorkflowStatus]:
    if info.termination_reason is TerminationReason.PAUSED:
        said = yield from _note_of(door, "pause")
        return WorkflowStatus(status="paused", reason=said.reason, paused_by=said.by)
    note = yield from _last_event(door, REST)
    if note is None or info.termination_reason not in _OF_ITS_OWN:
        return WorkflowStatus(status="in_progress")  # interrupted: somebody may take it up
    rest = decode_json(note, RestNote)
    if not rest.place:
        return WorkflowStatus(status="in_progress")  # handed over: somebody takes it up
    at = rest.wake_at if rest.wake_at is not None or rest.signal_name is not None else info.wake_at
    wake_at = None if at is None else datetime.fromtimestamp(at / 1000, UTC)
    if rest.signal_name is None:
        return WorkflowStatus(status="waiting", wake_at=wake_at, delay_id=rest.place)
    return WorkflowStatus(status="awaiting_signal", signal_id=rest.place, signal_name=rest.signal_name, wake_at=wake_at)


_OF_ITS_OWN: Final = (TerminationReason.SLEEPING, TerminationReason.WAITING_SIGNAL)


def _note_of(door: Door, kind: messages.SignalKind) -> Flow[SignalNote]:
    """Return what the newest signal of a kind says about itself: nothing, where no `WorkflowClient` has sent it."""
    payload = yield from _last_event(door, kind, "signal-sent")
    _, _, note = (payload or b"").partition(b"\n")  # behind the id of the signal
    try:
        return decode_json(note, SignalNote)
    except msgspec.DecodeError:
        return SignalNote()


def _last_event(door: Door, subtype: str, event_type: str = "custom") -> Flow[bytes | None]:
    """Return the payload of the newest event of a kind."""
    wanted = messages.ListEvents(event_type=event_type, subtype=subtype, limit=1, newest_first=True)
    page = yield from ask(door, wanted)
    return page.events[0].payload if page.events else None
