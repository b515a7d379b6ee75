"""One call in front of a judge: what is known about it, and what the answer looks like.

Owns the question (`Case`), the answer (`Decision`), what must be read first (`Need`), and the reasons to refuse a
call that hold for every command. It knows no command.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from runtara.actors import _cell
from runtara.actors._instance_events import DomainEvent, Effect
from runtara.actors._instance_state import InstanceState
from runtara.errors import (
    Fenced,
    InstanceCancelled,
    InstanceNotFound,
    InstancePaused,
    InstanceShutdown,
    InvalidState,
    RuntaraError,
    StoreCorrupt,
)
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status, TerminationReason, Trigger, next_status
from runtara.records import Checkpoint, Instance, Signal, Snapshot
from runtara.store import LoadError

__all__ = ["ORIGIN", "Case", "Decision", "Limits", "Need", "Source", "instance_wide", "refusal", "unknown_instance"]


class Need(NamedTuple):
    """Something to read from the store before a call can be decided; `id` names the checkpoint, signal or source.

    A ``short`` is a checkpoint whose state is wanted only if it is short. An ``origin`` is what the instance's first
    event tells of where it comes from, as it was stored.
    """

    kind: Literal["checkpoint", "short", "signal", "input", "env", "output", "origin", "source"]
    id: str | None = None


ORIGIN: Final = Need("origin")
"""By what the instance came into being."""


class Source(NamedTuple):
    """What the store holds of another instance of the tenant, from which this one is to go on (``source``)."""

    snapshot: Snapshot | LoadError
    input: bytes | None
    env: dict[str, str]


class Limits(msgspec.Struct, frozen=True, gc=False):
    """How much of everything one instance may hold."""

    pending_signals_max: int = 1_000
    """Most unacknowledged signals."""
    max_auto_restarts: int = 5
    """How often in a row an attempt may be lost, without progress, before the instance fails."""
    relaunch_after_ms: int = 100
    """Wait after a lost attempt; doubled with each in a row."""
    relaunch_after_max_ms: int = 60_000
    """The longest such wait."""


class Decision(_cell.Decision, frozen=True, gc=False):
    """What a call leads to: a cell's decision, with the types of an instance."""

    events: tuple[DomainEvent, ...]
    reply: object
    effects: tuple[Effect, ...] = ()


class Case(msgspec.Struct, frozen=True, gc=False):
    """A call to an instance that exists, and all that may be considered about it."""

    state: InstanceState
    row: Instance
    epoch: int | None
    """The attempt that speaks, or None where none does."""
    now: int
    found: Mapping[Need, object]
    limits: Limits

    @property
    def managed(self) -> bool:
        """Whether this host launches the program."""
        return self.row.program is not None

    @property
    def launched(self) -> bool:
        """Whether a process that this host has launched holds the instance."""
        return self.row.status is Status.RUNNING and self.row.claimed_epoch is not None

    def is_about_holder(self, epoch: int) -> bool:
        """Whether a report about the launch `epoch` is one about the process that holds the instance."""
        return self.launched and epoch == self.row.claimed_epoch

    @property
    def unregistered(self) -> bool:
        """Whether it is launched, but nobody has registered; perhaps the program does not use the SDK."""
        return self.launched and self.row.attempt_id is None

    @property
    def armed(self) -> bool:
        """Whether the scheduler holds a wake-up for the instance."""
        return self.managed and self.row.wake_at is not None

    def require_owner(self) -> None:
        """Raise `Fenced` unless the attempt that speaks holds the instance."""
        if self.epoch != self.row.epoch:
            raise _fenced(self.row, self.epoch)

    def require(self, trigger: Trigger) -> None:
        """Raise the reason why `trigger` is refused, if it is."""
        if next_status(self.row.status, trigger) is None:
            raise refusal(self.row, trigger)

    def require_running(self) -> None:
        """Raise the reason why the program may not go on, if so: whoever may checkpoint may go on."""
        self.require(Trigger.CHECKPOINTED)

    def pending(self, kind: str) -> Signal | None:
        """Return the oldest unacknowledged signal of a kind."""
        return next((signal for signal in self.state.signals if signal.kind == kind), None)

    def read(self, need: Need) -> object:
        """Return what the store holds for `need`; None where it holds nothing."""
        return self.found[need]

    def read_checkpoint(self, checkpoint_id: str) -> Checkpoint:
        """Return a checkpoint that is known to exist."""
        row = self.read(Need("checkpoint", checkpoint_id))
        if not isinstance(row, Checkpoint):
            raise _lost(self.row, f"checkpoint {checkpoint_id!r}")
        return row

    def read_signal(self, signal_id: str) -> Signal:
        """Return a signal that is known to exist."""
        row = self.read(Need("signal", signal_id))
        if not isinstance(row, Signal):
            raise _lost(self.row, f"signal {signal_id!r}")
        return row

    def read_payload(self, kind: Literal["input", "output"]) -> bytes | None:
        """Return the instance's input or output, or None where it has none."""
        payload = self.read(Need(kind))
        return payload if isinstance(payload, bytes) else None


def instance_wide(state: InstanceState) -> tuple[Signal, ...]:
    """Return pending signals to the instance as a whole: a cancel first, a resume last, else in order of arrival.

    A resume asks for nothing that has not happened, so it must not hide a later pause.
    """
    signals = [signal for signal in state.signals if signal.kind != "custom"]
    return tuple(sorted(signals, key=lambda signal: (_URGENCY.get(signal.kind, 1), signal.seq)))


_URGENCY: Final[Mapping[str, int]] = {"cancel": 0, "resume": 2}


def unknown_instance(key: InstanceKey) -> InstanceNotFound:
    """Return the one answer to every question about an instance that is not there, or not the asker's."""
    return InstanceNotFound(f"there is no instance {key.instance_id!r}: check its id, or start it first")


def _fenced(row: Instance, epoch: int | None) -> Fenced:
    """Return the refusal of an attempt that does not hold the instance."""
    speaker = "a caller without an attempt" if epoch is None else f"attempt {epoch}"
    return Fenced(
        f"{speaker} does not hold instance {row.instance_id!r}, attempt {row.epoch} does: "
        "stop, or register as a new attempt"
    )


def refusal(row: Instance, trigger: Trigger) -> RuntaraError:
    """Return the error that says why `trigger` cannot happen to an instance in its status."""
    name = f"instance {row.instance_id!r}"
    if row.status is Status.CANCELLED:
        return InstanceCancelled(f"{name} was cancelled: clean up and end")
    if row.status in FINAL:
        return InvalidState(f"{name} is {row.status} and never changes again: use another instance id")
    if row.termination_reason is TerminationReason.PAUSED:
        return InstancePaused(f"{name} is paused: end the program, it goes on after a resume signal")
    if row.termination_reason is TerminationReason.SHUTDOWN_REQUESTED:
        return InstanceShutdown(f"{name} was asked to shut down: end the program, it is resumed later")
    reason = f" ({row.termination_reason})" if row.termination_reason else ""
    return InvalidState(
        f"{name} is {row.status}{reason}, so it cannot be {trigger}: ask for its status and register or resume it first"
    )


def _lost(row: Instance, what: str) -> StoreCorrupt:
    return StoreCorrupt(f"{what} of instance {row.instance_id!r} is listed but its row is gone: verify the store")
