"""The life of an instance: its statuses, what may happen to it, and what it becomes.

`TRANSITIONS` is the whole truth: the instance actors, the documentation and the tests over all pairs derive from it.
What is not in the table is refused.
"""

import enum
from typing import Final

__all__ = ["FINAL", "TRANSITIONS", "Status", "TerminationReason", "Trigger", "next_status"]


class Status(enum.StrEnum):
    """Where an instance stands."""

    PENDING = "pending"
    """Created; no attempt has registered yet."""
    RUNNING = "running"
    """An attempt owns it, or is being launched."""
    SUSPENDED = "suspended"
    """No attempt owns it; a sleep, a signal or a recovery will wake it."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Trigger(enum.StrEnum):
    """What may happen to an instance."""

    REGISTERED = "registered"
    CHECKPOINTED = "checkpointed"
    SLEPT = "slept"
    PAUSED = "paused"
    SHUT_DOWN = "shut-down"
    SUSPENDED = "suspended"
    WOKEN = "woken"
    RESUMED = "resumed"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    CRASHED = "crashed"
    WENT_SILENT = "went-silent"
    GAVE_UP = "gave-up"
    CANCELLED = "cancelled"


class TerminationReason(enum.StrEnum):
    """Why an instance is suspended or ended."""

    COMPLETED = "completed"
    APPLICATION_ERROR = "application-error"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    HEARTBEAT_TIMEOUT = "heartbeat-timeout"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    SLEEPING = "sleeping"
    WAITING_SIGNAL = "waiting-signal"
    SHUTDOWN_REQUESTED = "shutdown-requested"
    RECOVERY_BUDGET_SPENT = "recovery-budget-spent"


TRANSITIONS: Final[dict[Status, dict[Trigger, Status]]] = {
    Status.PENDING: {
        Trigger.REGISTERED: Status.RUNNING,
        Trigger.PAUSED: Status.SUSPENDED,
        Trigger.WOKEN: Status.RUNNING,
        Trigger.FAILED: Status.FAILED,
        Trigger.CRASHED: Status.FAILED,
        Trigger.GAVE_UP: Status.FAILED,
        Trigger.CANCELLED: Status.CANCELLED,
    },
    Status.RUNNING: {
        Trigger.REGISTERED: Status.RUNNING,
        Trigger.CHECKPOINTED: Status.RUNNING,
        Trigger.SLEPT: Status.SUSPENDED,
        Trigger.PAUSED: Status.SUSPENDED,
        Trigger.SHUT_DOWN: Status.SUSPENDED,
        Trigger.SUSPENDED: Status.SUSPENDED,
        Trigger.COMPLETED: Status.COMPLETED,
        Trigger.FAILED: Status.FAILED,
        Trigger.TIMED_OUT: Status.FAILED,
        Trigger.CRASHED: Status.SUSPENDED,
        Trigger.WENT_SILENT: Status.SUSPENDED,
        Trigger.GAVE_UP: Status.FAILED,
        Trigger.CANCELLED: Status.CANCELLED,
    },
    Status.SUSPENDED: {
        Trigger.REGISTERED: Status.RUNNING,
        Trigger.PAUSED: Status.SUSPENDED,
        Trigger.WOKEN: Status.RUNNING,
        Trigger.RESUMED: Status.RUNNING,
        Trigger.GAVE_UP: Status.FAILED,
        Trigger.CANCELLED: Status.CANCELLED,
    },
    Status.COMPLETED: {},
    Status.FAILED: {},
    Status.CANCELLED: {},
}

FINAL: Final = frozenset(status for status, row in TRANSITIONS.items() if not row)
"""Statuses that nothing leaves."""


def next_status(status: Status, trigger: Trigger) -> Status | None:
    """Return what `trigger` makes of an instance in `status`, or None where it is refused."""
    return TRANSITIONS[status].get(trigger)
