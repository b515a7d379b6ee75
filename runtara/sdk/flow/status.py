"""How an instance of a workflow stands."""

from datetime import datetime
from typing import Any, Literal

import msgspec

__all__ = ["Answer", "State", "TaskFailure", "WorkflowStatus"]

State = Literal["in_progress", "completed", "failed", "cancelled", "paused", "waiting", "awaiting_signal"]


class Answer(int):
    """Yes or no, whether it is read as a value or called: ``status.is_completed`` and ``status.is_completed()``."""

    __slots__ = ()

    def __call__(self) -> bool:
        """Return the same as a plain bool."""
        return bool(self)

    def __repr__(self) -> str:
        return repr(bool(self))


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
    """What `run`, `resume` and `status` tell. What belongs to another state is None.

    Whether it ``is_…`` may be read as a value, or called as a method.
    """

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

    def __repr__(self) -> str:
        said = {name: getattr(self, name) for name in self.__struct_fields__[1:]}
        shown = ", ".join(f"{name}={value!r}" for name, value in said.items() if value is not None)
        return f"WorkflowStatus::{self.status.title().replace('_', '')}({shown})"

    @property
    def is_completed(self) -> Answer:
        """Whether it has ended well."""
        return Answer(self.status == "completed")

    @property
    def is_failed(self) -> Answer:
        """Whether it has ended badly."""
        return Answer(self.status == "failed")

    @property
    def is_cancelled(self) -> Answer:
        """Whether it was cancelled."""
        return Answer(self.status == "cancelled")

    @property
    def is_in_progress(self) -> Answer:
        """Whether somebody runs it, or may take it up."""
        return Answer(self.status == "in_progress")

    @property
    def is_paused(self) -> Answer:
        """Whether it rests until it is unpaused."""
        return Answer(self.status == "paused")

    @property
    def is_waiting(self) -> Answer:
        """Whether it rests in a delay."""
        return Answer(self.status == "waiting")

    @property
    def is_awaiting_signal(self) -> Answer:
        """Whether it rests until a signal comes."""
        return Answer(self.status == "awaiting_signal")
