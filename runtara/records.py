"""What is kept about an instance: the rows of the store, as frozen structs.

Instants are milliseconds since 1970-01-01 UTC. Payloads are bytes that the runtime never looks into. Large payloads
(input, output, checkpoint states) are not part of `Instance`, so that a row can be held and rewritten cheaply.

None of them can be part of a reference cycle, so the garbage collector need not look at them (``gc=False``); that alone
saves a tenth of the time that a transition takes.
"""

from typing import Final, Literal

import msgspec

from runtara.lifecycle import Status, TerminationReason

__all__ = [
    "NOTE_MAX_BYTES",
    "Checkpoint",
    "Event",
    "Holder",
    "Image",
    "ImageKind",
    "ImageOptions",
    "ImageVersion",
    "Instance",
    "Network",
    "Retry",
    "Schedule",
    "Signal",
    "Snapshot",
    "Wait",
]

NOTE_MAX_BYTES: Final = 4_096
"""Largest payload of a signal to an instance as a whole that its audit log keeps: a reason, not a document."""

ImageKind = Literal["executable", "python", "folder", "rootfs", "oci", "wasm"]
"""What a pushed file is: a native executable, a ``.py`` or ``.pyz``, a tar of a Python project (``pyproject.toml`` or
``requirements.txt``, and ``main.py``), a tar of a root file system, an archive of an OCI image, a WASI module."""

Network = Literal["none", "pasta", "slirp4netns", "host"]
"""What a container sees of the network: nothing, the outside through a program of the user's space, or all."""


class Instance(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One durable program run. `version` grows by one with every stored change, `epoch` with every attempt."""

    tenant_id: str
    instance_id: str
    status: Status
    version: int
    epoch: int
    created_at: int
    program: str | None = None
    """Name of the program that this host launches; None where the program registers by itself."""
    attempt_id: str | None = None
    """Chosen by the attempt that holds the epoch, so that a registration sent twice counts once."""
    checkpoint_id: str | None = None
    """The checkpoint saved last."""
    wake_at: int | None = None
    """When a pending or suspended instance is to be launched; None where it waits for something else."""
    started_at: int | None = None
    finished_at: int | None = None
    heartbeat_at: int | None = None
    termination_reason: TerminationReason | None = None
    exit_code: int | None = None
    error: str | None = None
    timeout_ms: int | None = None
    """How long all attempts together may run; rests do not count. None for no limit."""
    claimed_at: int | None = None
    """When the host has claimed the launch that runs now; None while none does."""
    ran_ms: int = 0
    """How long earlier launches ran, all together."""
    losses: int = 0
    """Attempts lost in a row, none of which has saved a checkpoint."""
    claimed_epoch: int | None = None
    """The epoch of the newest launch, as long as its process may hold the instance: under this epoch, or under a later
    one where it has registered again. None once it is lost or taken over."""
    priority: int = 0
    """Of the instances of a tenant that wait for a place, the higher goes first; among equals, the one due first."""


class Checkpoint(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A value saved once under its id. `wake_at` is the deadline where the checkpoint belongs to a sleep."""

    checkpoint_id: str
    state: bytes
    epoch: int
    created_at: int
    wake_at: int | None = None
    request: int | None = None
    """The attempt's own number for the call that saved it, so that the same call sent again gets the same answer."""


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One line of the audit log: every status transition, and every custom event of the program.

    `type` is the trigger of the transition, or ``custom``, ``signal-sent``, ``signal-acknowledged``, or ``usage``: what
    a launched attempt has used, as JSON.

    The payload of the two about a signal is its id. Where a signal to the instance as a whole was sent, what it carried
    follows behind a line break, unless that was nothing, or more than 4,096 bytes.

    The first line is ``created``. Its subtype is ``forked`` where the instance goes on from another one, ``replaced``
    where it came into the place of one with its id; then the payload says more, as JSON.
    """

    type: str
    epoch: int
    created_at: int
    subtype: str | None = None
    checkpoint_id: str | None = None
    payload: bytes | None = None
    request: int | None = None
    """The attempt's own number for the call that wrote it; the same number of the same epoch is written once."""
    seq: int = 0
    """Place in the log; assigned by the store."""


class Signal(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A message to an instance. `kind` is cancel, pause, resume, shutdown or custom; only custom ones have a name."""

    signal_id: str
    kind: str
    sent_at: int
    name: str | None = None
    payload: bytes = b""
    acknowledged_at: int | None = None
    seq: int = 0
    """Order of arrival at the instance, from 1; assigned by the instance."""


class Wait(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A place in a program where it looks for a custom signal, and what it found there.

    Once `ended_at` is set, every replay of the place sees the same: the signal `signal_id`, or a time-out if None.
    """

    place: str
    name: str
    started_at: int
    deadline_at: int | None = None
    ended_at: int | None = None
    signal_id: str | None = None


class Retry(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A failed try of a step: number (from 1), what went wrong, and when the next try may start."""

    checkpoint_id: str
    attempt: int
    recorded_at: int
    error: str | None = None
    retry_at: int | None = None


class Holder(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Another node that owns an instance, where several share the store."""

    node: int
    """Number of its tenure."""
    name: str
    address: str | None = None
    """Where its door is, as host:port; None where it has none."""
    fingerprint: str | None = None
    """Of its door's certificate."""
    lost: bool = False
    """Whether it was declared lost; then what it owned is about to be taken over."""


class Snapshot(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """All that an instance actor needs to continue: the row, and the small parts of its history."""

    instance: Instance
    checkpoint_ids: tuple[str, ...] = ()
    """In the order in which they were saved."""
    signals: tuple[Signal, ...] = ()
    """Those not yet acknowledged, in order of arrival."""
    signal_ids: tuple[str, ...] = ()
    """Of all signals ever sent to the instance, in order of arrival."""
    waits: tuple[Wait, ...] = ()
    holder: Holder | None = None
    """The other node that owns the instance; None where this node may change it."""


class Image(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A name under which a tenant keeps a program. `version` is the one that starts use if they name none."""

    tenant_id: str
    image_id: str
    """Stays when the name is pushed again."""
    name: str
    version: int
    created_at: int
    updated_at: int
    """When its version was last changed."""


class ImageVersion(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What was pushed once under an image's name; it never changes."""

    version: int
    """From 1."""
    digest: str
    """SHA-256 of what was pushed, 64 hexadecimal digits: the name under which its content is kept."""
    size: int
    kind: ImageKind
    created_at: int
    description: str = ""
    metadata: bytes = b"{}"
    """A JSON object of the user's; never looked into."""
    defaults: bytes | None = None
    """A JSON object. An input that is one too gets the fields that it lacks."""
    options: bytes = b"{}"
    """How it is run: `ImageOptions`, as JSON."""


class ImageOptions(msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """How the programs of an image are run. What an instance asks for itself wins."""

    command: tuple[str, ...] = ()
    """The program and its arguments; empty for those that the pushed file itself names."""
    env: dict[str, str] = {}
    cpus: float | None = None
    """Cores; for containers."""
    memory_bytes: int | None = None
    pids: int | None = None
    """Most processes and threads; for containers."""
    fuel: int | None = None
    """Most instructions, roughly; for WASI modules."""
    network: Network | None = None
    """For containers; None for the host's own setting."""
    timeout_ms: int | None = None
    """How long all attempts of an instance together may run, if its start does not say."""
    max_concurrent: int | None = None
    """Most instances of the image that run at a time on one host; the others wait their turn."""


class Schedule(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What is started again and again. Each start has the id ``<name>.<instant>``, so none happens twice."""

    tenant_id: str
    name: str
    plan: bytes
    """When and what, as JSON; the store never looks into it."""
    next_at: int | None
    """The next start; None while it is paused, or where there is none any more."""
    version: int
    """Grows by one with every change."""
    created_at: int
    updated_at: int
