"""The engines of the field's Python binding, which are handed a workflow in parts; runners and clients do the work."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from runtara.sdk.flow.backend import Backend
from runtara.sdk.flow.client import WorkflowClient, resume_workflow, run_durable_workflow, run_workflow
from runtara.sdk.flow.errors import InvalidOption
from runtara.sdk.flow.runner import ConflictPolicy
from runtara.sdk.flow.status import WorkflowStatus
from runtara.sdk.flow.workflow import Workflow

__all__ = ["DurableEngine", "WorkflowEngine"]

Registry = Mapping[str, Callable[..., Any]]


class WorkflowEngine:
    """Runs workflows in this process and keeps nothing."""

    def run(self, workflow: Workflow[Any, Any], input: Any, task_registry: Registry | None = None) -> Any:
        """Run a workflow to its end and return its output; see `run_workflow`.

        A workflow has its functions with it: `task_registry` may name them, and no others.
        """
        _check_registry(workflow, task_registry)
        return run_workflow(workflow, input)

    def __repr__(self) -> str:
        return "WorkflowEngine()"


class DurableEngine:
    """Runs workflows in this process as instances of a backend, and tells them what to do."""

    def __init__(self, backend: Backend, conflict_policy: str | ConflictPolicy | None = None) -> None:
        self._backend: Final = backend
        self._policy: Final = ConflictPolicy.of(conflict_policy)
        self._client: Final = WorkflowClient(backend)

    def run(
        self, workflow: Workflow[Any, Any], instance_id: str, input: Any, task_registry: Registry | None = None
    ) -> WorkflowStatus:
        """Run a workflow as a new instance; see `CheckpointingRunner.run`, and `WorkflowEngine.run`."""
        _check_registry(workflow, task_registry)
        return run_durable_workflow(workflow, instance_id, input, self._backend, self._policy)

    def resume(
        self, workflow: Workflow[Any, Any], instance_id: str, task_registry: Registry | None = None
    ) -> WorkflowStatus:
        """Go on with an instance; see `CheckpointingRunner.resume`, and `WorkflowEngine.run`."""
        _check_registry(workflow, task_registry)
        return resume_workflow(workflow, instance_id, self._backend)

    def cancel(self, instance_id: str, reason: str | None = None, cancelled_by: str | None = None) -> WorkflowStatus:
        """Cancel an instance; see `WorkflowClient.cancel`."""
        return self._client.cancel(instance_id, reason, cancelled_by)

    def pause(self, instance_id: str, reason: str | None = None, paused_by: str | None = None) -> WorkflowStatus:
        """Have an instance rest; see `WorkflowClient.pause`."""
        return self._client.pause(instance_id, reason, paused_by)

    def unpause(self, instance_id: str) -> WorkflowStatus:
        """Let a paused instance go on; see `WorkflowClient.unpause`."""
        return self._client.unpause(instance_id)

    def send_signal(self, instance_id: str, signal_name: str, payload: Any) -> None:
        """Send a signal to an instance; see `WorkflowClient.send_signal`."""
        self._client.send_signal(instance_id, signal_name, payload)

    def __repr__(self) -> str:
        return f"DurableEngine({self._backend!r})"


def _check_registry(workflow: Workflow[Any, Any], registry: Registry | None) -> None:
    own = workflow._task_registry  # noqa: SLF001 - what such an engine is handed
    for name, function in (registry or {}).items():
        if own.get(name) is not function:
            raise InvalidOption(f"{name!r} is no task of {workflow!r} that does {function!r}: build one that has it")
