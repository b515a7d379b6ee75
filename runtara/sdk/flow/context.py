"""What a task may know of the run that it is a part of."""

from contextvars import ContextVar
from typing import Final

import msgspec

from runtara.sdk.flow._policies import TaskMetadata

__all__ = ["TaskExecutionContext", "context_in_use", "get_task_context"]


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


def get_task_context() -> TaskExecutionContext | None:
    """Return where this task runs; None outside of one."""
    return context_in_use.get()


context_in_use: Final[ContextVar[TaskExecutionContext | None]] = ContextVar("runtara_task", default=None)
