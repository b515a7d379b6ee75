"""What has failed: the error of a task, as the error of its run and as what is kept of it."""

from typing import Final

from runtara.errors import Fenced, InstanceCancelled, InstancePaused, InstanceShutdown
from runtara.sdk._words import text_of, words_of
from runtara.sdk.flow.errors import TaskError, TaskTimedOut, WorkflowError
from runtara.sdk.flow.status import TaskFailure

__all__ = ["TOLD", "failed", "failure_of", "name_of_class"]

TOLD: Final = (InstanceCancelled, InstancePaused, InstanceShutdown, Fenced)
"""What is raised in the middle of a task and says nothing about it: the run as a whole is told to end."""


def failed(place: str, error: Exception, attempts: int) -> Exception:
    """Return with what a run fails whose task has failed for good."""
    if isinstance(error, TOLD):
        return error
    if isinstance(error, TaskTimedOut):
        error.attempts = attempts
        return error
    if isinstance(error.__cause__, StopIteration):
        error = error.__cause__  # which leaves no generator as what it is
    text = f"task {place!r} failed: {text_of(error)}" + (f" (tried {attempts} times)" if attempts > 1 else "")
    raised = TaskError(text, task_id=place, error_type=name_of_class(type(error)), attempts=attempts)
    raised.__cause__ = error
    return raised


def failure_of(error: WorkflowError) -> TaskFailure:
    """Return what is kept of a failure."""
    if isinstance(error, TaskError):
        cause = error.__cause__
        return TaskFailure(
            task_id=error.task_id,
            error_type=error.error_type[:_NAME_MAX],
            message=words_of(error if cause is None else cause)[:_MESSAGE_MAX],
            attempts=error.attempts,
        )
    return TaskFailure(task_id="", error_type=type(error).__qualname__, message=words_of(error)[:_MESSAGE_MAX])


_NAME_MAX: Final = 1_024
_MESSAGE_MAX: Final = 65_536
"""How many characters of what an error says are kept: some have all that was sent to them in their words."""


def name_of_class(kind: type) -> str:
    """Return the name of a class with its module, but for those that need none."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
