"""What has failed: the error of a task, as the error of its run and as what is kept of it."""

from typing import Final

from runtara.errors import Fenced, InstanceCancelled, InstancePaused, InstanceShutdown
from runtara.sdk.flow.errors import TaskError, TaskTimedOut, WorkflowError
from runtara.sdk.flow.status import TaskFailure

__all__ = ["TOLD", "failed", "failure_of", "name_of_class", "text_of"]

TOLD: Final = (InstanceCancelled, InstancePaused, InstanceShutdown, Fenced)
"""What is raised in the middle of a task and says nothing about it: the run as a whole is told to end."""


def failed(place: str, error: Exception, attempts: int) -> Exception:
    """Return with what a run fails whose task has failed for good."""
    if isinstance(error, (TaskTimedOut, *TOLD)):
        return error
    text = f"task {place!r} failed: {text_of(error)}" + (f" (tried {attempts} times)" if attempts > 1 else "")
    raised = TaskError(text, task_id=place, error_type=name_of_class(type(error)))
    raised.__cause__ = error
    return raised


def failure_of(error: WorkflowError) -> TaskFailure:
    """Return what is kept of a failure."""
    if isinstance(error, TaskError):
        cause = error.__cause__
        message = str(error) if cause is None else str(cause)
        return TaskFailure(task_id=error.task_id, error_type=error.error_type, message=message)
    return TaskFailure(task_id="", error_type=type(error).__qualname__, message=str(error))


def name_of_class(kind: type) -> str:
    """Return the name of a class with its module, but for those that need none."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def text_of(error: BaseException) -> str:
    """Return the class and the words of an error."""
    return f"{type(error).__name__}: {error}"
