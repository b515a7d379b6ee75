"""What is answered to commands: replies, and the lines of lists.

Frozen and tagged like the commands; the package offers all of them.
"""

from typing import Literal

import msgspec

from runtara.lifecycle import Status, TerminationReason
from runtara.records import Event, Image, ImageVersion, Retry, Schedule, Signal

__all__ = [
    "Acknowledged",
    "CheckpointFound",
    "CheckpointInfo",
    "CheckpointPage",
    "CheckpointSaved",
    "EventPage",
    "HealthFound",
    "ImagePage",
    "ImageVersionPage",
    "InputFound",
    "InstanceInfo",
    "InstancePage",
    "InstanceRegistered",
    "InstanceStarted",
    "InstanceSummary",
    "InstanceWoken",
    "InstancesCounted",
    "KeptStep",
    "LogRead",
    "MetricsBucket",
    "NodeInfo",
    "NodesFound",
    "Replay",
    "RetriesFound",
    "SchedulePage",
    "SignalAccepted",
    "SignalTaken",
    "SignalsPending",
    "SleepStarted",
    "Step",
    "StepPage",
    "StepStatus",
    "TenantMetrics",
    "TreeFound",
]

StepStatus = Literal["running", "completed", "failed"]


class Acknowledged(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Done and stored; `status` is what the instance is now."""

    status: Status


class KeptStep(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A checkpoint that an attempt need not ask for."""

    checkpoint_id: str
    state: bytes
    remaining_ms: int | None = None
    """Of a sleep: how long it was not over when the attempt began; None for a plain checkpoint."""


class Replay(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What an attempt that does again what was done needs to know, as far as it is short."""

    steps: tuple[KeptStep, ...]
    is_all: bool
    """Whether these are all checkpoints that there are, so that none has to be looked for."""
    input: bytes | None = None


class InstanceRegistered(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """The attempt owns the instance from now on, under `epoch`."""

    epoch: int
    resumed: bool
    """Whether an earlier attempt has left checkpoints behind."""
    checkpoint_id: str | None = None
    """The checkpoint saved last."""
    signals: tuple[Signal, ...] = ()
    """Those that wait to be acknowledged."""
    token: str | None = None
    """The attempt's own credential, for connecting again; given by doors that ask for credentials."""
    replay: Replay | None = None
    """Where it was asked for."""


class InstanceWoken(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The wake-up was heard; `claimed` tells whether it led to a launch, which then takes one of the host's places."""

    status: Status
    claimed: bool


class InstanceStarted(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """The instance exists and will be launched; `created` is False where it existed before."""

    instance_id: str
    status: Status
    created: bool


class CheckpointSaved(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """`found` tells a checkpoint that was there already, whose `state` is then returned, from one saved just now."""

    found: bool
    state: bytes | None = None
    signal: Signal | None = None
    """The unacknowledged signal to the whole instance: a cancel first, a resume last, else in order of arrival."""
    custom_signal: Signal | None = None
    """The custom signal bound to this checkpoint: one whose name is the checkpoint's id."""


class CheckpointFound(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """What is stored under the id. An empty state is not an absent one."""

    found: bool
    state: bytes | None = None


class SleepStarted(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """The deadline is stored; `remaining_ms` is 0 once it has passed."""

    wake_at: int
    remaining_ms: int
    found: bool
    """Whether the sleep was begun by an earlier attempt (or call)."""
    state: bytes | None = None
    """The stored state, where found."""
    parked: bool = False
    """Whether the instance is suspended now and the program must end; it will be launched again."""
    signal: Signal | None = None


class InstanceInfo(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """Everything that a status query tells."""

    tenant_id: str
    instance_id: str
    status: Status
    epoch: int
    created_at: int
    program: str | None = None
    checkpoint_id: str | None = None
    checkpoint_count: int = 0
    wake_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    heartbeat_at: int | None = None
    termination_reason: TerminationReason | None = None
    exit_code: int | None = None
    output: bytes | None = None
    error: str | None = None
    timeout_ms: int | None = None
    losses: int = 0
    """Attempts lost in a row, none of which has saved a checkpoint."""
    priority: int = 0


class SignalsPending(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Instance-wide signals that are not acknowledged yet: a cancel first, a resume last, else in order of arrival."""

    signals: tuple[Signal, ...] = ()


class SignalTaken(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """What a place sees: a signal, nothing yet, or (for ever) that its deadline passed."""

    signal: Signal | None = None
    timed_out: bool = False
    deadline_at: int | None = None
    parked: bool = False


class SignalAccepted(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """The signal is stored; `status` names what the instance is now, `created` is False for one sent before."""

    signal_id: str
    status: Status
    created: bool = True


class InputFound(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The input that the instance was started with; None where there is none."""

    input: bytes | None = None


class RetriesFound(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Failed tries of a step, oldest first."""

    retries: tuple[Retry, ...] = ()


class CheckpointInfo(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A checkpoint without its state."""

    checkpoint_id: str
    epoch: int
    created_at: int
    size: int
    """Bytes of the state."""
    wake_at: int | None = None


class CheckpointPage(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """Checkpoints, oldest first; `cursor` fetches the next page and is None on the last."""

    checkpoints: tuple[CheckpointInfo, ...]
    cursor: str | None = None


class EventPage(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """Events, oldest first unless it was asked otherwise; `cursor` fetches the next page and is None on the last."""

    events: tuple[Event, ...]
    cursor: str | None = None


class InstanceSummary(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One line of an instance list."""

    instance_id: str
    status: Status
    epoch: int
    created_at: int
    program: str | None = None
    wake_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    termination_reason: TerminationReason | None = None


class InstancePage(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """Instances in order; `cursor` fetches the next page and is None on the last."""

    instances: tuple[InstanceSummary, ...]
    cursor: str | None = None


class InstancesCounted(msgspec.Struct, frozen=True, gc=False, tag=True):
    """How many instances of a tenant stand where; statuses without any are left out."""

    counts: dict[Status, int] = {}


class MetricsBucket(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What happened in one span of time."""

    at: int
    """Where it begins."""
    started: int = 0
    """Instances that were created in it."""
    completed: int = 0
    """Instances that ended so in it; likewise the next two."""
    failed: int = 0
    cancelled: int = 0
    average_ms: int | None = None
    """How long those that ended in it took, from their first attempt on, rests included; None where none did."""
    max_ms: int | None = None
    """The longest of them."""


class TenantMetrics(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """Spans of time without a gap, earliest first."""

    buckets: tuple[MetricsBucket, ...]


class Step(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Something that an instance has done, or is doing."""

    step_id: str
    """Of a checkpoint, a sleep or a failed try, the checkpoint's; of a wait, its place."""
    type: str
    """checkpoint, sleep, signal (a wait for one), retry (a failed try), or what the program itself has called it."""
    status: StepStatus
    """A sleep is running until something is known to have come after it."""
    started_at: int
    name: str | None = None
    """Of the signal that is waited for, or what the program has called the step."""
    completed_at: int | None = None
    """When it was over; of a sleep, its deadline."""
    duration_ms: int | None = None
    epoch: int | None = None
    """The attempt that began it, where that is known."""
    scope_id: str | None = None
    parent_scope_id: str | None = None
    inputs: str | None = None
    """JSON, as the program has given it; likewise `outputs`."""
    outputs: str | None = None
    error: str | None = None
    attempt: int | None = None
    """Of a failed try: its number."""
    wake_at: int | None = None
    """The deadline of a sleep or a wait; after a failed try, when the next may begin."""
    signal_id: str | None = None
    """What a wait has found; None where its deadline passed."""


class StepPage(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """Steps by when they began; `cursor` fetches the next page and is None on the last."""

    steps: tuple[Step, ...]
    cursor: str | None = None


class ImagePage(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """Images by name; `cursor` fetches the next page and is None on the last."""

    images: tuple[Image, ...]
    cursor: str | None = None


class ImageVersionPage(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """Versions of an image, newest first; `cursor` fetches the next page and is None on the last."""

    versions: tuple[ImageVersion, ...]
    cursor: str | None = None


class SchedulePage(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """Schedules by name; `cursor` fetches the next page and is None on the last."""

    schedules: tuple[Schedule, ...]
    cursor: str | None = None


class LogRead(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """A piece of what a launched program has written."""

    data: bytes
    offset: int
    """Of the first byte of `data`; larger than what was asked for where older bytes were dropped to keep the cap."""
    ended: bool
    """Whether nothing follows: the instance is finished, and everything was read."""
    node: str = ""
    """Which of several nodes keeps it: the one that ran the program last. Each counts its own bytes."""


class TreeFound(msgspec.Struct, frozen=True, gc=False, tag=True):
    """What every actor is doing: an `ActorInfo`, as JSON."""

    tree: bytes


class HealthFound(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """The system serves."""

    version: str
    uptime_ms: int
    draining: bool
    """Whether it is going down and starts nothing new."""


class NodeInfo(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One of the nodes that share a database."""

    name: str
    address: str | None
    """Where its door is, as host:port; None where it has none."""
    version: str
    opened_at: int
    places: int | None
    """Most launched programs at a time; None for no limit."""
    in_use: int
    draining: bool
    lease_ms: int
    """How long its lease still lasts; negative where it has run out."""
    lost_at: int | None
    """When it was declared lost, or has ended; None while it lives."""
    owned: int
    """How many instances are its own: those that run, or are about to."""


class NodesFound(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The nodes that share the store, those that live first; none where the store cannot be shared."""

    nodes: tuple[NodeInfo, ...]
