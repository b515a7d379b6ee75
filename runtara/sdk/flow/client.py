"""`WorkflowClient`: what is done with instances of workflows from outside, and the same as plain functions."""

from contextlib import nullcontext
from datetime import timedelta
from math import inf
from typing import Any, Final, TypeVar, cast

from msgspec.structs import replace

from runtara import messages
from runtara.errors import AlreadyExists, DeadlineExceeded, InstanceNotFound, InvalidInput, InvalidState, RuntaraError
from runtara.ids import is_pooled, new_id
from runtara.lifecycle import FINAL
from runtara.sdk._drive import drive, drive_blocking
from runtara.sdk._flows import RECHECK, Flow
from runtara.sdk._wishes import ask, await_push, now, perform, perform_blocking
from runtara.sdk.flow import _standing as standing
from runtara.sdk.flow._codecs import CODECS, Codec, write
from runtara.sdk.flow._kept import place_id, read_begin, write_begin
from runtara.sdk.flow._looking import graph_of
from runtara.sdk.flow._policies import checked_priority, parse_duration, runtime_priority
from runtara.sdk.flow._programs import program_of
from runtara.sdk.flow._runs import begun
from runtara.sdk.flow.backend import Backend, InMemoryBackend, checked_backend
from runtara.sdk.flow.errors import BackendError, InstanceAlreadyExistsError, TaskError, WorkflowError
from runtara.sdk.flow.graph import Graph
from runtara.sdk.flow.runner import CheckpointingRunner, ConflictPolicy, InProcessRunner
from runtara.sdk.flow.status import WorkflowStatus
from runtara.sdk.flow.workflow import Workflow
from runtara.threads import Library
from runtara.transport import Door

__all__ = [
    "WorkflowClient",
    "cancel_workflow",
    "pause_workflow",
    "resume_workflow",
    "run_durable_workflow",
    "run_workflow",
    "send_signal",
    "unpause_workflow",
]

I = TypeVar("I")  # noqa: E741 - input
O = TypeVar("O")  # noqa: E741 - output
T = TypeVar("T")


class WorkflowClient:
    """Submits workflows, looks at instances of them, and tells them what to do. It runs no task.

    Every method blocks; the same with ``_async`` behind its name is awaited, under trio or asyncio. All raise
    `BackendError` where there is no such instance, or where its status does not allow what is asked.
    """

    def __init__(self, backend: Backend, *, conflict_policy: str | ConflictPolicy | None = None) -> None:
        self._backend: Final = checked_backend(backend)
        self._policy: Final = ConflictPolicy.of(conflict_policy)

    def submit(
        self, workflow: Workflow[I, O], instance_id: str, input: I, *, priority: int | None = None
    ) -> WorkflowStatus:
        """Hand a workflow to the workers that run it (`PooledWorker`); return how it stands, which is at its beginning.

        `priority` is from 1, critical, to 5, minor; by default it is the workflow's. Raises what
        `CheckpointingRunner.run` does.
        """
        return _blocking(self._submit(workflow, instance_id, input, priority))

    async def submit_async(
        self, workflow: Workflow[I, O], instance_id: str, input: I, *, priority: int | None = None
    ) -> WorkflowStatus:
        """Hand a workflow to the workers that run it (`PooledWorker`); return how it stands, which is at its beginning.

        `priority` is from 1, critical, to 5, minor; by default it is the workflow's. Raises what
        `CheckpointingRunner.run` does.
        """
        return await drive(self._submit(workflow, instance_id, input, priority), perform)

    def status(self, instance_id: str) -> WorkflowStatus:
        """Return how an instance stands."""
        return _blocking(self._status(instance_id))

    async def status_async(self, instance_id: str) -> WorkflowStatus:
        """Return how an instance stands."""
        return await drive(self._status(instance_id), perform)

    def wait(self, instance_id: str, timeout: str | float | timedelta | None = None) -> WorkflowStatus:
        """Wait until an instance has ended. Raises `DeadlineExceeded` after `timeout`."""
        return _blocking(self._wait(instance_id, timeout))

    async def wait_async(self, instance_id: str, timeout: str | float | timedelta | None = None) -> WorkflowStatus:
        """Wait until an instance has ended. Raises `DeadlineExceeded` after `timeout`."""
        return await drive(self._wait(instance_id, timeout), perform)

    def cancel(self, instance_id: str, reason: str | None = None, cancelled_by: str | None = None) -> WorkflowStatus:
        """Cancel an instance. Harmless when repeated.

        One that rests ends at once, one that a runner runs before its next task, and with a worker also in the middle
        of one.
        """
        return _blocking(self._tell(instance_id, "cancel", reason, cancelled_by))

    async def cancel_async(
        self, instance_id: str, reason: str | None = None, cancelled_by: str | None = None
    ) -> WorkflowStatus:
        """Cancel an instance. Harmless when repeated.

        One that rests ends at once, one that a runner runs before its next task, and with a worker also in the middle
        of one.
        """
        return await drive(self._tell(instance_id, "cancel", reason, cancelled_by), perform)

    def pause(self, instance_id: str, reason: str | None = None, paused_by: str | None = None) -> WorkflowStatus:
        """Have an instance rest until it is unpaused. Harmless when repeated."""
        return _blocking(self._tell(instance_id, "pause", reason, paused_by))

    async def pause_async(
        self, instance_id: str, reason: str | None = None, paused_by: str | None = None
    ) -> WorkflowStatus:
        """Have an instance rest until it is unpaused. Harmless when repeated."""
        return await drive(self._tell(instance_id, "pause", reason, paused_by), perform)

    def unpause(self, instance_id: str) -> WorkflowStatus:
        """Let an instance go on that is paused, by whoever takes it up next."""
        return _blocking(self._unpause(instance_id))

    async def unpause_async(self, instance_id: str) -> WorkflowStatus:
        """Let an instance go on that is paused, by whoever takes it up next."""
        return await drive(self._unpause(instance_id), perform)

    def send_signal(self, instance_id: str, signal_name: str, payload: Any = None) -> None:
        """Send a signal: those of one name are taken in the order in which they came."""
        _blocking(self._send(instance_id, signal_name, payload))

    async def send_signal_async(self, instance_id: str, signal_name: str, payload: Any = None) -> None:
        """Send a signal: those of one name are taken in the order in which they came."""
        await drive(self._send(instance_id, signal_name, payload), perform)

    def get_task_result(self, instance_id: str, task_id: str, type: Any = Any) -> Any:
        """Return what a task has returned, by the id of its node; None where it has not returned yet."""
        return _blocking(self._result(instance_id, task_id, type))

    async def get_task_result_async(self, instance_id: str, task_id: str, type: Any = Any) -> Any:
        """Return what a task has returned, by the id of its node; None where it has not returned yet."""
        return await drive(self._result(instance_id, task_id, type), perform)

    def graph(self, instance_id: str) -> Graph:
        """Return the graph of an instance, with how each node stands: what is done, what runs, what is waited for."""
        return _blocking(self._graph(instance_id))

    async def graph_async(self, instance_id: str) -> Graph:
        """Return the graph of an instance, with how each node stands: what is done, what runs, what is waited for."""
        return await drive(self._graph(instance_id), perform)

    # How it is done

    def _submit(
        self, workflow: Workflow[Any, Any], instance_id: str, input: object, priority: int | None
    ) -> Flow[WorkflowStatus]:
        door = self._backend.beside(instance_id)
        # Sent again after a lost answer it is the same start; another submission never is.
        begin = begun(workflow, input, new_id())
        start = messages.StartInstance(
            program=program_of(workflow),
            input=write_begin(begin),
            priority=runtime_priority(checked_priority(workflow.priority if priority is None else priority)),
        )
        try:
            if (yield from ask(door, start)).created:
                return WorkflowStatus(status="in_progress")
        except AlreadyExists as error:
            if self._policy is ConflictPolicy.TERMINATE_EXISTING:
                yield from standing.to_be_replaced(door, workflow, instance_id)
                if (yield from ask(door, replace(start, replace=True))).created:
                    return WorkflowStatus(status="in_progress")  # also where a worker has come to its end meanwhile
                return (yield from self._status(instance_id))
            uses_it = self._policy is ConflictPolicy.USE_EXISTING
            known = yield from standing.existing(door, workflow, instance_id, uses_it=uses_it)
            if known is None:  # somebody runs it, and has begun nothing yet
                raise InstanceAlreadyExistsError(str(error)) from None
            return known
        return (yield from self._status(instance_id))

    def _status(self, instance_id: str) -> Flow[WorkflowStatus]:
        door = self._backend.beside(instance_id)
        info = yield from _known(door, instance_id)
        return (yield from standing.status_of(door, info, None))

    def _wait(self, instance_id: str, timeout: str | float | timedelta | None) -> Flow[WorkflowStatus]:
        limit = inf if timeout is None else parse_duration(timeout)
        door = self._backend.beside(instance_id, watch=True)
        door.session.awaits_end = True
        try:
            over_at = (yield from now()) + limit
            while True:
                since = door.session.pushes
                info = yield from _known(door, instance_id)
                if info.status in FINAL:
                    return (yield from standing.status_of(door, info, None))
                left = over_at - (yield from now())
                if left <= 0:
                    raise DeadlineExceeded(f"instance {instance_id!r} has not ended in time: it is {info.status}")
                yield from await_push(door, min(left, RECHECK), since)
                if door.session.end is not None:
                    return (yield from _ended(door, *door.session.end))
        finally:
            door.close()

    def _tell(
        self, instance_id: str, kind: messages.SignalKind, reason: str | None, by: str | None
    ) -> Flow[WorkflowStatus]:
        door = self._backend.beside(instance_id)
        note = standing.signal_note(reason, by)
        yield from _signal(door, instance_id, messages.SendSignal(kind=kind, signal_id=new_id(), payload=note))
        return (yield from self._status(instance_id))

    def _unpause(self, instance_id: str) -> Flow[WorkflowStatus]:
        before = yield from self._status(instance_id)
        if not before.is_paused:
            raise BackendError(f"instance {instance_id!r} is {before.status}: only one that is paused is unpaused")
        door = self._backend.beside(instance_id)
        yield from _signal(door, instance_id, messages.SendSignal(kind="resume", signal_id=new_id()))
        return (yield from self._status(instance_id))

    def _send(self, instance_id: str, name: str, payload: Any) -> Flow[None]:
        door = self._backend.beside(instance_id)
        codec = yield from self._codec(door, instance_id)
        value = write(codec, payload, f"the payload of signal {name!r}")
        signal = messages.SendSignal(kind="custom", signal_id=new_id(), name=name, payload=value)
        yield from _signal(door, instance_id, signal)

    def _result(self, instance_id: str, task_id: str, type: Any) -> Flow[Any]:
        if not isinstance(cast(object, task_id), str):
            raise InvalidInput(f"a task is named by a text, not {task_id.__class__.__name__}")
        door = self._backend.beside(instance_id)
        codec = yield from self._codec(door, instance_id)
        found = yield from ask(door, messages.GetCheckpoint(checkpoint_id=place_id(task_id)))
        return codec.decode(found.state, type) if found.found and found.state is not None else None

    def _graph(self, instance_id: str) -> Flow[Graph]:
        door = self._backend.beside(instance_id)
        info = yield from _known(door, instance_id)
        return (yield from graph_of(door, info, self._backend.clock.now_ms()))

    def _codec(self, door: Door, instance_id: str) -> Flow[Codec]:
        yield from _known(door, instance_id)
        begin = yield from standing.begin_of(door, instance_id)
        codec = CODECS.get(begin.codec)
        if codec is None:
            raise BackendError(f"instance {instance_id!r} keeps its values as {begin.codec}, which is not known here")
        return codec


def _known(door: Door, instance_id: str) -> Flow[messages.InstanceInfo]:
    info = yield from standing.found(door)
    if info is None:
        raise BackendError(f"instance {instance_id!r} was not found: check its id, or run it first")
    return info


def _ended(door: Door, info: messages.InstanceInfo, input: bytes | None) -> Flow[WorkflowStatus]:
    """Return how an instance has ended, of which the runtime has told; its input says how to read its output."""
    codec = CODECS.get(read_begin(input).codec) if input is not None and is_pooled(info.program) else None
    return (yield from standing.status_of(door, info, codec))


def _signal(door: Door, instance_id: str, signal: messages.SendSignal) -> Flow[None]:
    try:
        yield from ask(door, signal)
    except (InstanceNotFound, InvalidState) as error:
        info = yield from _known(door, instance_id)
        if signal.kind == "cancel" and info.status == "cancelled":
            return
        raise BackendError(str(error)) from None
    except RuntaraError as error:
        if error.code.wire != "instance-cancelled" or signal.kind != "cancel":
            raise


def _blocking(flow: Flow[T]) -> T:
    return drive_blocking(flow, perform_blocking)


# The same as functions ------------------------------------------------------------------------------------------------


def run_workflow(
    workflow: Workflow[I, O],
    input_data: I,
    *,
    instance_id: str | None = None,
    backend: Backend | None = None,
    conflict_policy: str | ConflictPolicy | None = None,
) -> Any:
    """Run a workflow to its end and return its output; with a `backend`, as an instance that is kept there.

    Under an `instance_id`, a run that comes to a delay or a wait ends with a `WorkflowError`, and `resume_workflow`
    goes on with it; without one, it is waited for. Raises the `TaskError`, or other `WorkflowError`, that the run fails
    with, and `WorkflowError` where it was cancelled or paused.
    """
    if instance_id is None and backend is None:
        return _InProcess().output(workflow, input_data)
    with nullcontext(backend) if backend is not None else InMemoryBackend() as chosen:
        runner = _Checkpointing(chosen, conflict_policy=conflict_policy, waits=instance_id is None)
        status = runner.run(workflow, instance_id or new_id(), input_data)
    if not status.is_completed:
        raise _error_of(status, workflow.name)
    return status.output


def _error_of(status: WorkflowStatus, name: str) -> WorkflowError:
    """Return what is raised where an output was wanted, and there is none."""
    failure = status.failure
    if failure is not None and failure.task_id:
        return TaskError(
            status.error or "", task_id=failure.task_id, error_type=failure.error_type, attempts=failure.attempts
        )
    return WorkflowError(status.error or f"workflow {name!r} has not completed: it is {status.status}")


class _InProcess(InProcessRunner):
    """Runs async tasks whose own code does not say for which event loop they are written under asyncio.

    So do all functions of the field's Python binding.
    """

    _unsaid: Library = "asyncio"


class _Checkpointing(CheckpointingRunner):
    """Likewise."""

    _unsaid: Library = "asyncio"


def run_durable_workflow(
    workflow: Workflow[I, O],
    instance_id: str,
    input_data: I,
    backend: Backend | None = None,
    conflict_policy: str | ConflictPolicy | None = None,
) -> WorkflowStatus:
    """Run a workflow as an instance; see `CheckpointingRunner.run`. Without a `backend` it is kept in memory."""
    if backend is not None:
        return _Checkpointing(backend, conflict_policy=conflict_policy).run(workflow, instance_id, input_data)
    with InMemoryBackend() as own:
        return _Checkpointing(own, conflict_policy=conflict_policy).run(workflow, instance_id, input_data)


def resume_workflow(workflow: Workflow[Any, Any], instance_id: str, backend: Backend) -> WorkflowStatus:
    """Go on with an instance; see `CheckpointingRunner.resume`."""
    return _Checkpointing(backend).resume(workflow, instance_id)


def cancel_workflow(
    instance_id: str, backend: Backend, reason: str | None = None, cancelled_by: str | None = None
) -> WorkflowStatus:
    """Cancel an instance; see `WorkflowClient.cancel`."""
    return WorkflowClient(backend).cancel(instance_id, reason, cancelled_by)


def pause_workflow(
    instance_id: str, backend: Backend, reason: str | None = None, paused_by: str | None = None
) -> WorkflowStatus:
    """Have an instance rest; see `WorkflowClient.pause`."""
    return WorkflowClient(backend).pause(instance_id, reason, paused_by)


def unpause_workflow(instance_id: str, backend: Backend) -> WorkflowStatus:
    """Let a paused instance go on; see `WorkflowClient.unpause`."""
    return WorkflowClient(backend).unpause(instance_id)


def send_signal(instance_id: str, signal_name: str, payload: Any, backend: Backend) -> None:
    """Send a signal to an instance; see `WorkflowClient.send_signal`."""
    WorkflowClient(backend).send_signal(instance_id, signal_name, payload)
