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
8. A save that replaces leaves nothing of what was stored of its instance before, and its events have the highest seqs.
9. Each call of the writer that is no commit is one transaction, too: all of it is stored when it returns, and nothing
   where it raises anything but `OutcomeUnknown`.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from runtara.ids import ImageRef, InstanceKey
from runtara.lifecycle import Status
from runtara.messages import (
    CheckpointPage,
    EventPage,
    Granularity,
    ImagePage,
    ImageVersionPage,
    InstanceFilter,
    InstanceOrder,
    InstancePage,
    InstanceSummary,
    NodeInfo,
    SchedulePage,
    StepPage,
    StepStatus,
    TenantMetrics,
)
from runtara.records import Checkpoint, Holder, Image, ImageVersion, Retry, Schedule, Signal, Snapshot
from runtara.store._tenure import Tenure
from runtara.store._terms import (
    LONGEST_BYTES,
    NOBODY,
    Barred,
    Claims,
    DueInstance,
    Finished,
    LoadError,
    Notice,
    RunningInstance,
    Save,
    Wanted,
)

__all__ = ["Listener", "Reader", "SharedWriter", "Store", "Writer"]


class Listener(Protocol):
    """A connection on which notices come by themselves."""

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when there may be some."""

    def read(self) -> list[Notice]:
        """Return what has come, without waiting. Raises `StoreUnavailable` where the connection is lost."""

    def close(self) -> None:
        """Let go of the store; harmless when repeated."""


class Writer(Protocol):
    """The one connection that changes the store."""

    def commit(self, saves: Sequence[Save]) -> list[bool]:
        """Store the batch in one transaction; True per save that was stored, False per version conflict.

        Raises `StoreUnavailable`, `StoreFull`, `Busy`, `OutcomeUnknown`, `StoreCorrupt` or (a bug) `Internal`.
        """

    def record_heartbeats(self, beats: Sequence[tuple[InstanceKey, int]]) -> None:
        """Note when running instances were last heard of. Not a transition: versions stay as they are."""

    def push_image(self, tenant_id: str, name: str, image_id: str, version: ImageVersion) -> tuple[Image, ImageVersion]:
        """Make what was pushed the current version under a name; return the image and that version.

        Where the tenant has an image of that name, the version is added to it with the next number, unless it is what
        is current already: then nothing changes. Else the image is made, with `image_id`, and the version is its first;
        raises `AlreadyExists` where another image has that id. The number in `version` does not count.
        """

    def use_image_version(self, tenant_id: str, image_id: str, version: int, at: int) -> Image | None:
        """Make a version that there is the current one, and return the image; None if there is no such version."""

    def delete_image(self, tenant_id: str, image_id: str, at: int) -> tuple[str, ...] | None:
        """Delete an image that no unfinished instance uses; None if there is no such image.

        Returns the ids of some unfinished instances that use any version of it; nothing has changed if there are any.
        Its name is free then, and no list shows it; its versions can be read until `collect_images` removes them, for
        those that were started in the same moment.
        """

    def collect_images(
        self, deleted_before: int, keep_versions: int, limit: int, dry_run: bool
    ) -> list[tuple[str, ImageRef]]:
        """Remove at most `limit` versions that nobody needs; return their tenants and what they are, or would be.

        Of images deleted before that instant, all; of the others, what is neither current nor among the newest
        `keep_versions`. The newest always stays, so that no number is given twice, and so does whatever an unfinished
        instance uses. A deleted image goes with its last version.
        """

    def put_schedule(self, schedule: Schedule) -> bool:
        """Keep a schedule of version 1 where there is none, or the next version of the one there is; else False."""

    def delete_schedule(self, tenant_id: str, name: str) -> bool:
        """Forget a schedule; False where there is none."""

    def prune_finished(self, finished: Finished, limit: int, dry_run: bool) -> list[InstanceKey]:
        """Delete at most `limit` finished instances with all that belongs to them, those first that finished first.

        Returns which, or which it would be. In one transaction: each goes completely or not at all. Those that somebody
        else changes at that moment are left for the next time.
        """

    def close(self) -> None:
        """Let go of the store; harmless when repeated."""


class SharedWriter(Writer, Protocol):
    """The writer of one of several nodes that share a store.

    Further promises, each with a test: a node writes nothing once it was declared lost; an instance that runs, or was
    claimed, is changed by its owner only; no two nodes claim the same; and what a lost node owned is taken over once.
    """

    def claim_due(self, limit: int, turn: int, barred: Barred = NOBODY) -> Claims:
        """Claim at most `limit` instances that are due and not barred here, of this node's share of them.

        The tenants take turns; of one tenant's, those of a higher priority go first, then those due earlier.
        `turn` counts the looks in a row, so that what one node leaves, another takes.
        """

    def find_next_due(self) -> int | None:
        """Return how many milliseconds it is until the next instance is due that nobody has claimed."""

    def release_claim(self, *keys: InstanceKey) -> None:
        """Give back what was claimed and could not be woken."""

    def release_claims(self) -> None:
        """Give back all that was claimed and does not run: of an earlier life of this node, or of a lost answer."""

    def present(self, fingerprint: str) -> None:
        """Have the other nodes know this one by another certificate from now on."""

    def tell_tasks(self, tenant_id: str, program: str) -> None:
        """Tell the other nodes that tasks of a tenant wait here for a worker that runs a program."""

    def take_over(self, limit: int, again: bool = False) -> list[RunningInstance]:
        """Declare nodes lost whose lease has run out; return at most `limit` running instances that were theirs.

        With `again`, return beside them all that were taken over before and that nothing was stored of since.
        """


class Reader(Protocol):
    """A connection that only looks."""

    def load(self, keys: Sequence[InstanceKey]) -> Mapping[InstanceKey, Snapshot | LoadError]:
        """Return what is stored about each instance; unknown ones are left out."""

    def read_checkpoint(self, key: InstanceKey, checkpoint_id: str, longest: int = LONGEST_BYTES) -> Checkpoint | None:
        """Return one checkpoint with its state; None, too, where that has more bytes than `longest`."""

    def read_signal(self, key: InstanceKey, signal_id: str) -> Signal | None:
        """Return one signal with its payload."""

    def read_input(self, key: InstanceKey) -> bytes | None:
        """Return the instance's input."""

    def read_env(self, key: InstanceKey) -> dict[str, str]:
        """Return the environment variables of the instance's program."""

    def read_output(self, key: InstanceKey) -> bytes | None:
        """Return the instance's output."""

    def read_all(self, wanted: Sequence[Wanted]) -> list[Checkpoint | bytes | None]:
        """Return each of several things as it is read alone, in their order."""

    def read_retries(self, key: InstanceKey, checkpoint_id: str) -> list[Retry]:
        """Return the recorded failures of one step, by attempt."""

    def list_due(
        self, until_ms: int, limit: int, after: DueInstance | None = None, barred: Barred = NOBODY
    ) -> list[DueInstance]:
        """Return pending and suspended instances with `wake_at` <= `until_ms` that have a program, earliest first.

        `after` continues behind the last row of an earlier page. Who is barred is left out.
        """

    def list_running(self, limit: int, after: InstanceKey | None = None) -> list[RunningInstance]:
        """Return running instances by key; `after` continues behind an earlier page."""

    def list_instances(self, tenant_id: str, status: Status | None, limit: int, cursor: str | None) -> InstancePage:
        """Page through one tenant's instances by id."""

    def find_instances(
        self, tenant_id: str, wanted: InstanceFilter, order: InstanceOrder, limit: int, cursor: str | None
    ) -> InstancePage:
        """Page through those of one tenant's instances that a filter lets through, in an order.

        Of those that have not finished, none has a place by that. A page may hold fewer than `limit` while there are
        more: whatever is asked, so many rows are looked at for one page, and the cursor goes on behind them.
        """

    def count_instances(self, tenant_id: str) -> dict[Status, int]:
        """Return how many of one tenant's instances stand where; statuses without any are left out."""

    def measure_tenant(self, tenant_id: str, from_ms: int, to_ms: int, granularity: Granularity) -> TenantMetrics:
        """Return how many of one tenant's instances were created and have ended in each span of time.

        Raises `InvalidInput` where the spans are none, or too many.
        """

    def list_steps(
        self, key: InstanceKey, status: StepStatus | None, step_type: str | None, limit: int, cursor: str | None
    ) -> StepPage:
        """Page through what an instance has done by when it began; a page may be shorter while there is more."""

    def list_checkpoints(self, key: InstanceKey, limit: int, cursor: str | None) -> CheckpointPage:
        """Page through an instance's checkpoints in the order in which they were saved."""

    def list_events(
        self, key: InstanceKey, type_: str | None, subtype: str | None, limit: int, cursor: str | None
    ) -> EventPage:
        """Page through an instance's events in the order in which they were stored."""

    def list_newest_events(
        self, key: InstanceKey, type_: str | None, subtype: str | None, limit: int, cursor: str | None
    ) -> EventPage:
        """Page through an instance's events, the last one first."""

    def read_image(self, tenant_id: str, name_or_id: str) -> Image | None:
        """Return an image that is not deleted, by its id or, where there is none of that id, by its name."""

    def read_image_version(self, tenant_id: str, ref: ImageRef) -> ImageVersion | None:
        """Return one version of an image, be it deleted or not."""

    def list_images(self, tenant_id: str, limit: int, cursor: str | None) -> ImagePage:
        """Page through one tenant's images by name, deleted ones left out."""

    def list_image_versions(self, tenant_id: str, image_id: str, limit: int, cursor: str | None) -> ImageVersionPage:
        """Page through the versions of an image that is not deleted, newest first."""

    def list_digests(self, limit: int, after: str) -> list[str]:
        """Return the digests of all versions of all tenants, each once, in order, behind a given one.

        Those of deleted images are among them until they are collected.
        """

    def read_schedule(self, tenant_id: str, name: str) -> Schedule | None:
        """Return one schedule."""

    def list_schedules(self, tenant_id: str, limit: int, cursor: str | None) -> SchedulePage:
        """Page through one tenant's schedules by name."""

    def list_due_schedules(self, until_ms: int, limit: int) -> list[Schedule]:
        """Return the schedules of all tenants with `next_at` <= `until_ms`, earliest first."""

    def next_schedule_at(self) -> int | None:
        """Return the earliest `next_at` of all schedules; None where none has any."""

    def count_by_status(self) -> dict[Status, int]:
        """Return how many instances of all tenants stand where; statuses without any are left out."""

    def find_changed(self, numbers: Sequence[int], tenants: Sequence[str]) -> list[tuple[str, int, InstanceSummary]]:
        """Return tenant, version and row of those of some rows that belong to some tenants.

        The numbers are those of a notice; nothing where the store cannot be shared.
        """

    def list_nodes(self) -> list[NodeInfo]:
        """Return the nodes that share the store, those that live first; none where it cannot be shared."""

    def list_peers(self) -> list[Holder]:
        """Return the other nodes that live and can be reached, by name; none where the store cannot be shared."""

    def find_log_node(self, key: InstanceKey) -> Holder | None:
        """Return the other node that ran the instance last, and so keeps what its program has written.

        None where that is this node, or nobody: it never ran, is unknown, or the store cannot be shared. A node that
        came back under its name is the one that it was; one that was lost and did not is found as lost, without a name
        where nobody remembers it.
        """

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
    def ends_with_process(self) -> bool:
        """Whether nothing of it is left once this process has ended, so that nobody gains by waiting for a commit."""

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
