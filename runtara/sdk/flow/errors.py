"""What a workflow can fail with: while it is built, and while it runs."""

from collections.abc import Sequence
from typing import Final

import msgspec

from runtara.errors import InvalidInput

__all__ = [
    "BackendError",
    "BranchKeyNotFound",
    "BuildError",
    "BuildErrors",
    "CodecError",
    "DefinitionMismatch",
    "InstanceAlreadyExistsError",
    "InvalidOption",
    "MaxIterationsExceeded",
    "TaskError",
    "TaskTimedOut",
    "WorkflowError",
]


class InvalidOption(InvalidInput, ValueError):
    """What is said about a task, a policy or a worker is malformed or out of range."""


class WorkflowError(RuntimeError):
    """A workflow cannot be run, or has not completed."""


class TaskError(WorkflowError):
    """A task has failed for good. The error that it raised is the `__cause__`, where it was raised in this process."""

    def __init__(self, text: str, *, task_id: str = "", error_type: str = "", attempts: int = 1) -> None:
        super().__init__(text)
        self.task_id: Final = task_id
        """The node whose task it was."""
        self.error_type: Final = error_type
        """Name of the class of the error that it raised, with its module."""
        self.attempts = attempts
        """How often the task was tried."""


class TaskTimedOut(TaskError):
    """A try of a task took longer than it may."""


class MaxIterationsExceeded(TaskError):
    """The body of a loop has asked for one iteration more than the loop may have."""


class BranchKeyNotFound(TaskError):
    """A route was given a key that none of its branches has, and it has no default branch."""


class CodecError(WorkflowError):
    """A value cannot be stored, or what is stored is not what a task takes."""


class DefinitionMismatch(WorkflowError):
    """An instance was begun by another definition than the one that it is to be continued with."""

    def __init__(self, text: str, *, expected: str, found: str) -> None:
        super().__init__(text)
        self.expected: Final = expected
        """Hash of the definition at hand."""
        self.found: Final = found
        """Hash of the definition that the instance was begun with."""


class BackendError(WorkflowError):
    """The store refuses what it was asked for: there is no such instance, or its status does not allow it."""


class InstanceAlreadyExistsError(WorkflowError):
    """The id is taken by another run, and the conflict policy is ``fail``."""


class BuildError(msgspec.Struct, frozen=True):
    """One thing that is wrong with a definition."""

    kind: str
    """Which rule is broken, as in ``DuplicateTaskId``."""
    node: str
    """The id of the node that breaks it, or the name of the workflow."""
    text: str

    def __str__(self) -> str:
        node = str(self.node)
        shown = node if node.isprintable() else ascii(node)
        return f"{shown if len(shown) <= _SHOWN_MAX else f'{shown[:_SHOWN_MAX]}…'}: {self.text}"


_SHOWN_MAX: Final = 120
"""How much of an id is shown; all of it is in `BuildError.node`."""


class BuildErrors(WorkflowError, ValueError):
    """A definition cannot be built. All that is wrong with it is in `errors`, in the order of the definition."""

    def __init__(self, workflow: str, errors: Sequence[BuildError]) -> None:
        self.errors: Final = tuple(errors)
        lines = "".join(f"\n  {error}" for error in self.errors)
        super().__init__(f"workflow {workflow!r} cannot be built, {len(self.errors)} error(s):{lines}")
