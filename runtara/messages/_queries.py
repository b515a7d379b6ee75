"""What is asked by whoever only looks: lists, counts, logs, and how the system as a whole is doing.

The package offers them.
"""

from typing import Literal

import msgspec

from runtara.lifecycle import Status
from runtara.messages._replies import (
    CheckpointPage,
    EventPage,
    HealthFound,
    InstancePage,
    InstancesCounted,
    LogRead,
    NodesFound,
    RetriesFound,
    StepPage,
    StepStatus,
    TenantMetrics,
    TreeFound,
)
from runtara.messages._requests import Request

__all__ = [
    "CountInstances",
    "GetHealth",
    "GetTenantMetrics",
    "GetTree",
    "Granularity",
    "InstanceFilter",
    "InstanceOrder",
    "ListCheckpoints",
    "ListEvents",
    "ListInstances",
    "ListNodes",
    "ListRetries",
    "ListSteps",
    "ReadLog",
]

InstanceOrder = Literal["id", "created", "-created", "finished", "-finished"]
"""By what instances are ordered; with a minus, the last one first. Only finished ones have a place by `finished`."""

Granularity = Literal["minutely", "hourly", "daily"]
"""How long the spans of time are by which is counted; hours and days are those of UTC."""


class InstanceFilter(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Which instances of a tenant are meant: those that all of these are true of."""

    status: Status | None = None
    program: str | None = None
    image_id: str | None = None
    """Of an image that was pushed; any of its versions."""
    prefix: str = ""
    """What the id begins with."""
    created_from: int | None = None
    """Created at this instant or later."""
    created_before: int | None = None
    statuses: tuple[Status, ...] = ()
    """One of these; empty for any."""
    finished_from: int | None = None
    """Finished at this instant or later."""
    finished_before: int | None = None
    search: str = ""
    """What the id or the program has somewhere in it, letter by letter."""


class ListRetries(msgspec.Struct, Request[RetriesFound], frozen=True, gc=False, tag=True, kw_only=True):
    """Read the failed tries of a step."""

    checkpoint_id: str


class ListCheckpoints(msgspec.Struct, Request[CheckpointPage], frozen=True, gc=False, tag=True, kw_only=True):
    """Page through an instance's checkpoints."""

    limit: int = 100
    cursor: str | None = None


class ListEvents(msgspec.Struct, Request[EventPage], frozen=True, gc=False, tag=True, kw_only=True):
    """Page through an instance's audit log."""

    event_type: str | None = None
    subtype: str | None = None
    limit: int = 100
    cursor: str | None = None
    newest_first: bool = False
    """The last event first, for whoever wants to know what happened last however much has happened."""


class ListSteps(msgspec.Struct, Request[StepPage], frozen=True, gc=False, tag=True, kw_only=True):
    """Page through what an instance has done: its checkpoints, sleeps, waits and failed tries, and steps of its own.

    A program says what its steps are with events of the subtypes ``step_debug_start`` and ``step_debug_end``, whose
    payloads are JSON objects with ``step_id``, ``step_name``, ``step_type``, ``scope_id``, ``parent_scope_id``, and
    ``inputs``, or ``outputs`` and ``error``. A page may hold fewer than `limit` while there are more.
    """

    status: StepStatus | None = None
    step_type: str | None = None
    limit: int = 100
    cursor: str | None = None


class ListInstances(msgspec.Struct, Request[InstancePage], frozen=True, gc=False, tag=True, kw_only=True):
    """Page through a tenant's instances."""

    status: Status | None = None
    limit: int = 100
    cursor: str | None = None
    filter: InstanceFilter | None = None
    """Only these. A page may then hold fewer than `limit` while there are more: what counts is the cursor."""
    order: InstanceOrder = "id"


class CountInstances(msgspec.Struct, Request[InstancesCounted], frozen=True, gc=False, tag=True):
    """Ask how many of a tenant's instances stand where."""


class GetTenantMetrics(msgspec.Struct, Request[TenantMetrics], frozen=True, gc=False, tag=True, kw_only=True):
    """Ask how many instances were started and have ended in each span of time, and how long they took."""

    tenant_id: str
    """The asker's own."""
    from_ms: int
    """The first instant that counts; the spans begin at whole minutes, hours or days."""
    to_ms: int
    """The first one that does not."""
    granularity: Granularity = "hourly"


class ReadLog(msgspec.Struct, Request[LogRead], frozen=True, gc=False, tag=True, kw_only=True):
    """Read what a launched program has written, from a byte of the stream on."""

    stream: Literal["stdout", "stderr"] = "stdout"
    offset: int = 0
    """Counted from the first byte that the instance's first attempt wrote; negative: that many bytes before the end."""
    limit: int = 65_536
    """Most bytes to return."""
    wait_ms: int = 0
    """Wait so long for more, where there is nothing at `offset` yet and the program may still write."""
    node: str = ""
    """Where `offset` was counted, as `LogRead` said; at another node, what the program wrote there is read from its
    beginning."""


class ListNodes(msgspec.Struct, Request[NodesFound], frozen=True, gc=False, tag=True):
    """Ask which nodes share the store."""


class GetTree(msgspec.Struct, Request[TreeFound], frozen=True, gc=False, tag=True):
    """Ask what every actor is doing."""


class GetHealth(msgspec.Struct, Request[HealthFound], frozen=True, gc=False, tag=True):
    """Ask whether the system serves."""
