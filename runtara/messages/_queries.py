"""What is asked by whoever only looks: lists, logs, and how the system as a whole is doing.

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
    LogRead,
    NodesFound,
    RetriesFound,
    TreeFound,
)
from runtara.messages._requests import Request

__all__ = [
    "GetHealth",
    "GetTree",
    "InstanceFilter",
    "ListCheckpoints",
    "ListEvents",
    "ListInstances",
    "ListNodes",
    "ListRetries",
    "ReadLog",
]


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


class ListInstances(msgspec.Struct, Request[InstancePage], frozen=True, gc=False, tag=True, kw_only=True):
    """Page through a tenant's instances."""

    status: Status | None = None
    limit: int = 100
    cursor: str | None = None
    filter: InstanceFilter | None = None
    """Only these. A page may then hold fewer than `limit` while there are more: what counts is the cursor."""


class ReadLog(msgspec.Struct, Request[LogRead], frozen=True, gc=False, tag=True, kw_only=True):
    """Read what a launched program has written, from a byte of the stream on."""

    stream: Literal["stdout", "stderr"] = "stdout"
    offset: int = 0
    """Counted from the first byte that the instance's first attempt wrote; negative: that many bytes before the end."""
    limit: int = 65_536
    """Most bytes to return."""
    wait_ms: int = 0
    """Wait so long for more, where there is nothing at `offset` yet and the program may still write."""


class ListNodes(msgspec.Struct, Request[NodesFound], frozen=True, gc=False, tag=True):
    """Ask which nodes share the store."""


class GetTree(msgspec.Struct, Request[TreeFound], frozen=True, gc=False, tag=True):
    """Ask what every actor is doing."""


class GetHealth(msgspec.Struct, Request[HealthFound], frozen=True, gc=False, tag=True):
    """Ask whether the system serves."""
