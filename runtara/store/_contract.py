"""The contract of a store: what it promises to the actors, whatever lies beneath.

Everything here is synchronous and belongs to one thread: a `Writer` or `Reader` is opened, used and closed by the
same thread. One process has one writer per store and any number of readers.

Promises, each with a test in the conformance suite:

1. When `Writer.commit` returns, every save reported True is on stable storage, all of it; every save reported False
   has left no trace.
2. A save applies only if the stored version is `expected_version` (0: the instance must not exist yet).
3. One save that conflicts does not disturb the others of its batch; saves of a batch apply in order.
4. A checkpoint, signal, retry or wait that exists already is never overwritten, nor is an event of the same epoch and
   `request` written twice; a wait may be ended once.
5. When `commit` raises `StoreUnavailable`, `StoreFull` or `Busy`, nothing of the batch is stored. When it raises
   `OutcomeUnknown`, each save is stored completely or not at all, and which one is settled before the next call on
   the writer succeeds.
6. A reader sees every save whose commit has returned before the read began.
7. Bytes come back as they went in; empty is not absent.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

from runtara.errors import StoreUnavailable
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import CheckpointPage, EventPage, InstancePage, NodeInfo
from runtara.records import Checkpoint, Event, Instance, Retry, Signal, Snapshot, Wait
from runtara.store._tenure import Tenure

__all__ = [
    "Barred",
    "Claims",
    "Copies",
    "DueInstance",
    "LeaseLost",
    "Listener",
    "LoadError",
    "Notice",
    "Reader",
    "RunningInstance",
    "Save",
    "SharedWriter",
    "Store",
    "Writer",
    "digest_of",
]


class Copies(NamedTuple):
    """Temporary."""

    source: InstanceKey
    checkpoint_id: str | None = None


class Save(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One instance's change: the new row and what is appended to its history, all or nothing."""

    instance: Instance
    """Its program, creation and time limit count when it is inserted; they never change after that."""
    expected_version: int
    input: bytes | None = None
    """Stored when the instance is inserted; ignored otherwise."""
    env: dict[str, str] = {}
    """Likewise."""
    output: bytes | None = None
    """Stored when not None."""
    checkpoints: tuple[Checkpoint, ...] = ()
    events: tuple[Event, ...] = ()
    signals: tuple[Signal, ...] = ()
    acknowledged: tuple[tuple[str, int], ...] = ()
    """Signal ids and the instants of their acknowledgement."""
    waits: tuple[Wait, ...] = ()
    """Begun or ended: inserted by place, or completed where the stored one has no end yet."""
    retries: tuple[Retry, ...] = ()
    copies: Copies | None = None
    told: bool = False
    """Whether other nodes that share the store are to be told: somebody there may be waiting for this change."""


class DueInstance(NamedTuple):
    """An instance that is to be launched at `wake_at` (milliseconds since 1970 UTC)."""

    wake_at: int
    key: InstanceKey
    priority: int = 0
    program: str | None = None


class Barred(NamedTuple):
    """Whose instances are passed over, because no more of them may run here now."""

    tenants: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()


class RunningInstance(NamedTuple):
    """An instance whose stored status is running, and the attempt that owned it."""

    key: InstanceKey
    epoch: int
    program: str | None
    timeout_at: int | None = None
    """When the attempt will have run for as long as it may."""
    claimed_epoch: int | None = None
    """The epoch under which this host has launched the process that holds the instance; None where it launched none."""


class Claims(NamedTuple):
    """What a node has claimed of what is due."""

    claimed: list[DueInstance]
    due: int
    """How many were due and free, as far as they were counted; more than were claimed, where others take theirs."""


class Notice(NamedTuple):
    """What one node tells the others. It may be lost, so it says only that it is worth looking.

    ``due``: an instance can be claimed, at the instant that `text` says. ``changed``: the instances whose digests (see
    `digest_of`) are the words of `text` have changed, or, for ``*``, many. ``nodes``: a node has ended, or a document
    has a new version.
    """

    kind: Literal["due", "changed", "nodes"]
    text: str


class Listener(Protocol):
    """A connection on which notices come by themselves."""

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when there may be some."""

    def read(self) -> list[Notice]:
        """Return what has come, without waiting. Raises `StoreUnavailable` where the connection is lost."""

    def close(self) -> None:
        """Let go of the store; harmless when repeated."""


class LoadError(Exception):
    """One instance's rows cannot be understood. Its neighbours are not affected."""


class LeaseLost(StoreUnavailable):
    """Other nodes that share the store have taken over what this one owned. Nothing it holds in memory is true."""


def digest_of(key: InstanceKey) -> str:
    """Return what notices call an instance: the first half of the MD5 of tenant and id, as the database counts it."""
    return hashlib.md5(f"{key.tenant_id} {key.instance_id}".encode(), usedforsecurity=False).hexdigest()[:16]


class Writer(Protocol):
    """The one connection that changes the store."""

    def commit(self, saves: Sequence[Save]) -> list[bool]:
        """Store the batch in one transaction; True per save that was stored, False per version conflict.

        Raises `StoreUnavailable`, `StoreFull`, `Busy`, `OutcomeUnknown`, `StoreCorrupt` or (a bug) `Internal`.
        """

    def record_heartbeats(self, beats: Sequence[tuple[InstanceKey, int]]) -> None:
        """Note when running instances were last heard of. Not a transition: versions stay as they are."""

    def close(self) -> None:
        """Let go of the store; harmless when repeated."""


class SharedWriter(Writer, Protocol):
    """The writer of one of several nodes that share a store.

    Further promises, each with a test: a node writes nothing once it was declared lost; an instance that runs, or was
    claimed, is changed by its owner only; no two nodes claim the same; and what a lost node owned is taken over once.
    """

    def claim_due(self, limit: int, turn: int) -> Claims:
        """Claim at most `limit` instances that are due, of this node's share of them.

        `turn` counts the looks in a row, so that what one node leaves, another takes.
        """

    def find_next_due(self) -> int | None:
        """Return how many milliseconds it is until the next instance is due that nobody has claimed."""

    def release_claim(self, key: InstanceKey) -> None:
        """Give back what was claimed and could not be woken."""

    def release_claims(self) -> None:
        """Give back all that was claimed and does not run: of an earlier life of this node, or of a lost answer."""

    def take_over(self, limit: int, again: bool = False) -> list[RunningInstance]:
        """Declare nodes lost whose lease has run out; return at most `limit` running instances that were theirs.

        With `again`, return beside them all that were taken over before and that nothing was stored of since.
        """


class Reader(Protocol):
    """A connection that only looks."""

    def load(self, keys: Sequence[InstanceKey]) -> Mapping[InstanceKey, Snapshot | LoadError]:
        """Return what is stored about each instance; unknown ones are left out."""

    def read_checkpoint(self, key: InstanceKey, checkpoint_id: str) -> Checkpoint | None:
        """Return one checkpoint with its state."""

    def read_signal(self, key: InstanceKey, signal_id: str) -> Signal | None:
        """Return one signal with its payload."""

    def read_input(self, key: InstanceKey) -> bytes | None:
        """Return the instance's input."""

    def read_env(self, key: InstanceKey) -> dict[str, str]:
        """Return the environment variables of the instance's program."""

    def read_output(self, key: InstanceKey) -> bytes | None:
        """Return the instance's output."""

    def read_retries(self, key: InstanceKey, checkpoint_id: str) -> list[Retry]:
        """Return the recorded failures of one step, by attempt."""

    def list_due(self, until_ms: int, limit: int, after: DueInstance | None = None) -> list[DueInstance]:
        """Return pending and suspended instances with `wake_at` <= `until_ms` that have a program, earliest first.

        `after` continues behind the last row of an earlier page.
        """

    def list_running(self, limit: int, after: InstanceKey | None = None) -> list[RunningInstance]:
        """Return running instances by key; `after` continues behind an earlier page."""

    def list_instances(self, tenant_id: str, status: Status | None, limit: int, cursor: str | None) -> InstancePage:
        """Page through one tenant's instances by id."""

    def list_checkpoints(self, key: InstanceKey, limit: int, cursor: str | None) -> CheckpointPage:
        """Page through an instance's checkpoints in the order in which they were saved."""

    def list_events(
        self, key: InstanceKey, type_: str | None, subtype: str | None, limit: int, cursor: str | None
    ) -> EventPage:
        """Page through an instance's events in the order in which they were stored."""

    def count_by_status(self) -> dict[Status, int]:
        """Return how many instances of all tenants stand where; statuses without any are left out."""

    def list_nodes(self) -> list[NodeInfo]:
        """Return the nodes that share the store, those that live first; none where it cannot be shared."""

    def read_documents(self) -> dict[str, tuple[bytes, int]]:
        """Return content and version of what all nodes agree on; nothing where nobody shares the store."""

    def verify(self) -> list[str]:
        """Check the store from end to end; return what is wrong, in words, or nothing."""

    def close(self) -> None:
        """Let go of the store; harmless when repeated."""


class Store(Protocol):
    """A place where instances are kept."""

    @property
    def url(self) -> str:
        """Where it is, without secrets."""

    @property
    def inline(self) -> bool:
        """Whether calls return at once without touching a disk or network, so that no thread is needed for them."""

    @property
    def tenure(self) -> Tenure | None:
        """This node's place among those that share the store; None where it cannot be shared."""

    def agree(self, offers: Mapping[str, bytes]) -> dict[str, tuple[bytes, int]]:
        """Return content and version of what all nodes agree on, after those offers were kept that are the first.

        Nothing where nobody shares the store. Raises what the store refuses with.
        """

    def publish(self, name: str, content: bytes, version: int) -> bool:
        """Keep a new version of what all nodes agree on, and tell them; False where `version` is not the last."""

    def open_listener(self) -> Listener:
        """Return a new listener; only of a store that several nodes share. Raises `StoreUnavailable`."""

    def open_writer(self) -> Writer:
        """Take the store over, bring its schema up to date and return the writer.

        Raises `StoreInUse`, `StoreTooNew`, `StoreCorrupt`, `StoreFull` or `StoreUnavailable`.
        """

    def open_reader(self) -> Reader:
        """Return a new reader. The schema must be up to date: open the writer first."""
