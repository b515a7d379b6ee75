"""What a task may know of the run that it is a part of."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

import msgspec

from runtara.errors import InstanceCancelled
from runtara.sdk.flow._policies import TaskMetadata

__all__ = ["StopFlag", "TaskExecutionContext", "context_in_use", "get_task_context"]


class StopFlag:
    """Whether nobody waits any more for a try of a task. Set once, by whoever runs it; read from any thread."""

    __slots__ = ("is_set",)

    def __init__(self) -> None:
        self.is_set = False


class TaskExecutionContext(msgspec.Struct, frozen=True, kw_only=True):
    """Where a task runs."""

    workflow_id: str
    """Name of the workflow."""
    instance_id: str
    """Of the run; empty for one that is not kept."""
    task_id: str
    """Place of the task: the id of its node, behind those of the children that it is in."""
    attempt: int
    """Number of the try, from 1."""
    metadata: TaskMetadata
    workflow_metadata: Mapping[str, Any] | None = None
    """What is said about the workflow, in `Flow`; None where nothing is."""
    stop: StopFlag = msgspec.field(default_factory=StopFlag)
    """What `cancelled` reads."""

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits any more for what this try returns: the instance is cancelled, or the time is over.

        An async task is cancelled then; a plain one runs on a thread that nobody can stop, and should look here now and
        then if it takes long.
        """
        return self.stop.is_set

    def raise_if_cancelled(self) -> None:
        """Raise `InstanceCancelled` if nobody waits any more for what this try returns."""
        if self.stop.is_set:
            raise InstanceCancelled(f"task {self.task_id!r} is not wanted any more: clean up and end")


def get_task_context() -> TaskExecutionContext | None:
    """Return where this task runs; None outside of one."""
    return context_in_use.get()


context_in_use: Final[ContextVar[TaskExecutionContext | None]] = ContextVar("runtara_task", default=None)
