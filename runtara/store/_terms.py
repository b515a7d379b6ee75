"""The words in which stores are told what to do and say what they have found; the promises are in `_contract`."""

import hashlib
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from runtara.errors import Internal, InvalidInput, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status
from runtara.records import Checkpoint, Event, ImageVersion, Instance, Retry, Signal, Wait

__all__ = [
    "AGING_MS",
    "LONGEST_BYTES",
    "NOBODY",
    "SHORT_MAX_BYTES",
    "USERS_NAMED",
    "Barred",
    "Claims",
    "Copies",
    "DueInstance",
    "Finished",
    "LeaseLost",
    "LoadError",
    "Notice",
    "RunningInstance",
    "Save",
    "Wanted",
    "copies_of",
    "digest_of",
    "is_pushed_again",
]


USERS_NAMED: Final = 10
"""Most instances that are named where an image cannot be deleted because of them."""


class Copies(NamedTuple):
    """What a new instance begins with: the history of another one of its tenant, as a program would replay it.

    All checkpoints of the source up to and including `checkpoint_id`, in the order in which they were saved (all that
    there are if None), with the request numbers left away; the waits that had ended when that one was saved; and the
    signals that those waits have found. A save that copies has neither checkpoints nor signals, acknowledgements, waits
    or retries of its own.
    """

    source: InstanceKey
    checkpoint_id: str | None = None
    created_at: int | None = None
    """When the source was created: another one that has come into its place since is not meant. None for whichever."""


class Save(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One instance's change: the new row and what is appended to its history, all or nothing."""

    instance: Instance
    """Its program, creation, time limit and priority count when it is inserted; they never change after that."""
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
    """Counts when the instance must not exist yet; ignored otherwise. Where there is no such source, or it has no such
    checkpoint, the save does not apply."""
    told: bool = False
    """Whether other nodes that share the store are to be told: somebody there may be waiting for this change."""
    replaces: bool = False
    """Whether all that is stored of the instance goes, whatever its status, and this save is inserted in its place: the
    row, with what counts only when it is inserted, and the history that this save brings. Its events come after the old
    ones, for whoever reads on from one of these. Ignored where the instance must not exist yet."""

    @property
    def inserts(self) -> bool:
        """Whether the row is a new one."""
        return self.replaces or self.expected_version == 0


class DueInstance(NamedTuple):
    """An instance that is to be launched at `wake_at` (milliseconds since 1970 UTC).

    Instant and key are all that counts where two are compared: heaps, sets and pages rely on it, and whoever only knows
    the two need not say the rest.
    """

    wake_at: int
    key: InstanceKey
    priority: int = 0
    """The higher goes first where instances must wait for a place."""
    program: str | None = None
    found: tuple[int, int] | None = None
    """Version of its row, and when it was created: for who claims it, and is the only one then who may change it."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DueInstance) and self[:2] == other[:2]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:2])

    def __lt__(self, other: tuple[Any, ...]) -> bool:
        return self[:2] < other[:2]

    def __le__(self, other: tuple[Any, ...]) -> bool:
        return self[:2] <= other[:2]

    def __gt__(self, other: tuple[Any, ...]) -> bool:
        return self[:2] > other[:2]

    def __ge__(self, other: tuple[Any, ...]) -> bool:
        return self[:2] >= other[:2]


class Wanted(NamedTuple):
    """One thing that is to be read of an instance; `id` names the checkpoint. One is wanted only if it is short."""

    key: InstanceKey
    kind: Literal["input", "output", "checkpoint", "short"]
    id: str | None = None


SHORT_MAX_BYTES: Final = 4_096
"""Longest state of a checkpoint that is short."""

LONGEST_BYTES: Final = (1 << 31) - 1
"""More than any state has."""

AGING_MS: Final = 300_000
"""How many milliseconds of waiting one step of priority is worth, where something grows more urgent as it waits."""


class Barred(NamedTuple):
    """Whose instances are passed over, because no more of them may run here now."""

    tenants: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    pools: tuple[tuple[str, str], ...] | None = None
    """Tenants and pooled programs: of all that are pooled, these alone are not passed over. None for no difference."""
    only_pools: bool = False
    """Whether all is passed over that is not pooled."""
    slots: int | None = None
    """How many of those that are pooled may go; None for all. Only for claims."""

    def pool_names(self) -> list[str] | None:
        """Return what `pools` names as texts, a tenant, a space and a program: what statements compare with."""
        return None if self.pools is None else [f"{tenant_id} {program}" for tenant_id, program in self.pools]


NOBODY: Final = Barred()


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """Which finished instances are meant."""

    before_ms: int
    """Those that have finished earlier than this instant."""
    statuses: tuple[Status, ...] = tuple(status for status in Status if status in FINAL)
    tenant_id: str | None = None
    """Of this tenant; None for all."""

    def __post_init__(self) -> None:
        for status in self.statuses:
            if status not in FINAL:
                raise InvalidInput(f"an instance that is {status} goes on: only finished ones can be pruned")


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
    `digest_of`) are words of `text` have changed, or, for ``*``, many; the other words are the numbers of their rows,
    each behind a ``#``. ``nodes``: a node has ended, or a document has a new version. ``tasks``: tasks wait for a
    worker; the words of `text` are the number of the node where they do, their tenant, and their program.
    """

    kind: Literal["due", "changed", "nodes", "tasks"]
    text: str


class LoadError(Exception):
    """One instance's rows cannot be understood. Its neighbours are not affected."""


class LeaseLost(StoreUnavailable):
    """Other nodes that share the store have taken over what this one owned. Nothing it holds in memory is true."""


def copies_of(save: Save) -> Copies | None:
    """Return what a save copies into the instance that it inserts, or None.

    Raises `Internal` where it would also write what it copies.
    """
    if save.copies is None or save.expected_version > 0:
        return None
    if save.checkpoints or save.signals or save.acknowledged or save.waits or save.retries:
        raise Internal(f"the copy {save.instance.instance_id} has a history of its own, which is a bug in the runtime")
    return save.copies


def is_pushed_again(pushed: ImageVersion, current: ImageVersion) -> bool:
    """Whether a push brings what is current already; its number and its instant do not count."""
    return replace(pushed, version=current.version, created_at=current.created_at) == current


def digest_of(key: InstanceKey) -> str:
    """Return what notices call an instance: the first half of the MD5 of tenant and id, as the database counts it."""
    return hashlib.md5(f"{key.tenant_id} {key.instance_id}".encode(), usedforsecurity=False).hexdigest()[:16]
