"""How an instance of a workflow stands."""

from datetime import datetime
from typing import Any, Literal

import msgspec

__all__ = ["State", "TaskFailure", "WorkflowStatus"]

State = Literal["in_progress", "completed", "failed", "cancelled", "paused", "waiting", "awaiting_signal"]


class TaskFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a workflow has failed."""

    task_id: str
    """The place at which it failed: the id of a node, or empty for the workflow as a whole."""
    error_type: str
    """Name of the error's class, with its module."""
    message: str
    attempts: int = 1
    """How often the task was tried."""


class WorkflowStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What `run`, `resume` and `status` tell. What belongs to another state is None."""

    status: State
    output: Any = None
    """With what it has completed."""
    error: str | None = None
    """With what it has failed, as a text."""
    failure: TaskFailure | None = None
    """The same, with its type."""
    reason: str | None = None
    """Why it was cancelled or paused, as whoever did it has said."""
    cancelled_by: str | None = None
    """Who has cancelled it, as he has said himself; likewise who has paused it."""
    paused_by: str | None = None
    wake_at: datetime | None = None
    """When the delay that it waits in is over, or the time for the signal."""
    delay_id: str | None = None
    signal_id: str | None = None
    """The node that waits for a signal."""
    signal_name: str | None = None

    @property
    def is_completed(self) -> bool:
        """Whether it has ended well."""
        return self.status == "completed"

    @property
    def is_failed(self) -> bool:
        """Whether it has ended badly."""
        return self.status == "failed"

    @property
    def is_cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.status == "cancelled"

    @property
    def is_in_progress(self) -> bool:
        """Whether somebody runs it, or may take it up."""
        return self.status == "in_progress"

    @property
    def is_paused(self) -> bool:
        """Whether it rests until it is unpaused."""
        return self.status == "paused"

    @property
    def is_waiting(self) -> bool:
        """Whether it rests in a delay."""
        return self.status == "waiting"

    @property
    def is_awaiting_signal(self) -> bool:
        """Whether it rests until a signal comes."""
        return self.status == "awaiting_signal"
