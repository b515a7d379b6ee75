"""Runners: one process takes a workflow from its beginning to its end.

`InProcessRunner` keeps nothing. `CheckpointingRunner` keeps the result of every task before the next one begins, so
that a run goes on where it was after any crash. In a store that ends with the process, nobody can go on after a crash:
there, results are handed in, and saved while the run goes on, but before anybody looks.
"""

import random
from contextlib import AsyncExitStack, ExitStack
from enum import StrEnum
from typing import Any, Final, TypeVar, cast

from runtara.errors import AlreadyExists, InvalidState
from runtara.ids import new_id
from runtara.lifecycle import FINAL, TerminationReason
from runtara.sdk._drive import drive, drive_blocking
from runtara.sdk._flows import Flow
from runtara.sdk._wishes import perform, perform_blocking
from runtara.sdk.flow import _standing as standing
from runtara.sdk.flow._faces import Awaiting, Blocking
from runtara.sdk.flow._failures import TOLD, failure_of
from runtara.sdk.flow._kept import Begin, check_definition
from runtara.sdk.flow._libraries import Loops
from runtara.sdk.flow._runs import Run, begun, check_workflow, completed, encoded
from runtara.sdk.flow._transient import Transient
from runtara.sdk.flow._walk import walk
from runtara.sdk.flow.backend import Backend, checked_backend
from runtara.sdk.flow.errors import BackendError, InvalidOption, WorkflowError
from runtara.sdk.flow.status import WorkflowStatus
from runtara.sdk.flow.workflow import Workflow
from runtara.threads import Library
from runtara.transport import Door

__all__ = ["CheckpointingRunner", "ConflictPolicy", "InProcessRunner"]

I = TypeVar("I")  # noqa: E741 - input
O = TypeVar("O")  # noqa: E741 - output
T = TypeVar("T")


class ConflictPolicy(StrEnum):
    """What becomes of a run whose instance id is taken."""

    FAIL = "fail"
    """It is refused, whatever became of the other one."""
    USE_EXISTING = "use_existing"
    """The status of the other one is returned, and nothing is run."""
    TERMINATE_EXISTING = "terminate_existing"
    """The other one is stopped and forgotten, whatever became of it, and the run begins anew."""

    @classmethod
    def of(cls, name: "str | ConflictPolicy | None") -> "ConflictPolicy":
        """Return a policy by its name, in snake or camel case. Raises `InvalidOption` for another one."""
        plain = {policy.value.replace("_", ""): policy for policy in cls}
        found = cls.FAIL if name is None else plain.get(str(name).replace("_", "").lower())
        if found is None:
            raise InvalidOption(f"conflict policy {name!r} does not exist: use one of {', '.join(cls)}")
        return found


class InProcessRunner:
    """Runs workflows in this process and keeps nothing: delays are slept, and what it was doing is lost with it.

    `library` is the event loop that async tasks run in where `run` is used; by default, each of them says by its own
    code which it needs, or runs under trio.
    """

    def __init__(self, *, library: Library | None = None) -> None:
        self._library: Final = library

    _unsaid: Library = "trio"

    def run(self, workflow: Workflow[I, O], input: I) -> WorkflowStatus:
        """Run a workflow to its end. An error of a task is in the status; it is not raised."""
        try:
            return WorkflowStatus(status="completed", output=self.output(workflow, input))
        except WorkflowError as error:
            return _failed(error)

    def output(self, workflow: Workflow[I, O], input: I) -> Any:
        """Run a workflow to its end, and return what it comes to. Raises the `WorkflowError` that it fails with."""
        loops = Loops(self._library, self._unsaid)
        output = Blocking(Transient(workflow, random.random), loops).take(walk(workflow, encoded(workflow, input)))
        return workflow.codec.decode(output, Any)

    async def run_async(self, workflow: Workflow[I, O], input: I) -> WorkflowStatus:
        """Run a workflow to its end, under trio or asyncio; plain tasks run on threads."""
        try:
            value = encoded(workflow, input)
            output = await Awaiting(Transient(workflow, random.random)).take(walk(workflow, value))
        except WorkflowError as error:
            return _failed(error)
        return completed(workflow, output)


class CheckpointingRunner:
    """Runs workflows in this process and keeps what every task has returned, in the instances of a backend.

    Branches of a fork run at the same time. A delay, or a wait for a signal, ends the run with a status that says so;
    `resume` goes on with it. With ``waits`` it is waited for instead. `library` is the event loop that async tasks run
    in where `run` and `resume` are used; by default, each of them says by its own code which it needs, or runs under
    trio.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        conflict_policy: str | ConflictPolicy | None = None,
        waits: bool = False,
        library: Library | None = None,
    ) -> None:
        self._backend: Final = checked_backend(backend)
        self._policy: Final = ConflictPolicy.of(conflict_policy)
        self._waits: Final = waits
        self._library: Final = library

    _unsaid: Library = "trio"

    @property
    def _loops(self) -> Loops:
        return Loops(self._library, self._unsaid)

    @property
    def backend(self) -> Backend:
        """Where instances are kept."""
        return self._backend

    def with_conflict_policy(self, policy: str | ConflictPolicy) -> "CheckpointingRunner":
        """Return a runner on the same backend with another conflict policy."""
        return type(self)(self._backend, conflict_policy=policy, waits=self._waits, library=self._library)

    def run(self, workflow: Workflow[I, O], instance_id: str, input: I) -> WorkflowStatus:
        """Run a workflow as a new instance, to its end or until it rests. An error of a task is in the status.

        Raises `InstanceAlreadyExistsError` for an id that is taken, `DefinitionMismatch` if it is taken by another
        definition, whatever the conflict policy, `CodecError` for an input that cannot be kept, `InvalidInput` for a
        malformed id, and what the store refuses with.
        """
        begin = begun(workflow, input, new_id())
        while True:
            taken = _blocking(self._taken(workflow, instance_id))
            if isinstance(taken, WorkflowStatus):
                return taken
            status = self._go(workflow, instance_id, begin, replace=taken)
            if status is not None:
                return status

    def resume(self, workflow: Workflow[Any, Any], instance_id: str) -> WorkflowStatus:
        """Go on with an instance where it was. One that has ended, is paused or rests longer is left as it is.

        Raises `BackendError` where there is no such instance, and `DefinitionMismatch`.
        """
        left = _blocking(_to_be_left(self._backend.beside(instance_id), workflow, instance_id))
        return left or cast(WorkflowStatus, self._go(workflow, instance_id, None))

    def _taken(self, workflow: Workflow[Any, Any], instance_id: str) -> Flow[WorkflowStatus | bool]:
        """Return the status that stands for a run whose id is taken, or whether the run replaces what has the id."""
        door = self._backend.beside(instance_id)
        if self._policy is ConflictPolicy.TERMINATE_EXISTING:
            return (yield from standing.to_be_replaced(door, workflow, instance_id))
        uses_it = self._policy is ConflictPolicy.USE_EXISTING
        return (yield from standing.existing(door, workflow, instance_id, uses_it=uses_it)) or False

    def _refused(self, workflow: Workflow[Any, Any], instance_id: str, begin: Begin | None) -> Flow[WorkflowStatus]:
        """Return how an instance stands in which the runtime has refused to go on.

        Of two runs that begin at the same moment, one comes too late, although there was nothing when it looked.
        """
        door = self._backend.beside(instance_id)
        status = yield from standing.status_now(door, workflow.codec)
        lost = begin is not None and self._policy is ConflictPolicy.FAIL and (yield from standing.has_lost(door, begin))
        if lost:
            raise standing.taken(instance_id, status.status)
        return status

    def _go(
        self, workflow: Workflow[Any, Any], instance_id: str, begin: Begin | None, *, replace: bool = False
    ) -> WorkflowStatus | None:
        """Take the walk, as a new attempt of the instance, or as the first one of another in its place.

        Returns None where somebody else has begun an instance under this id since it was looked for.
        """
        with ExitStack() as stack:
            try:
                fresh = begin is not None and not replace
                sdk = stack.enter_context(self._backend.sdk(instance_id, replace=replace, fresh=fresh))
            except AlreadyExists:
                return None
            except (InvalidState, *TOLD):  # it has ended, or was paused, since it was looked for
                return _blocking(self._refused(workflow, instance_id, begin))
            run = Run(workflow, sdk, waits=self._waits, hands_in=True)
            try:
                value = drive_blocking(run.begin(begin) if begin else run.begin_again(), sdk.perform)
                output = Blocking(run.means, self._loops).take(walk(workflow, value))
                status = drive_blocking(run.complete(output), sdk.perform)
                if status is not None:
                    return status
            except Exception as raised:  # noqa: BLE001 - what it means is decided there
                if not drive_blocking(run.conclude(raised), sdk.perform):
                    return _blocking(self._refused(workflow, instance_id, begin))
            return _blocking(standing.status_now(self._backend.beside(instance_id), workflow.codec))

    async def run_async(self, workflow: Workflow[I, O], instance_id: str, input: I) -> WorkflowStatus:
        """Do the same as `run`, under trio or asyncio; plain tasks run on threads."""
        begin = begun(workflow, input, new_id())
        while True:
            taken = await drive(self._taken(workflow, instance_id), perform)
            if isinstance(taken, WorkflowStatus):
                return taken
            status = await self._go_async(workflow, instance_id, begin, replace=taken)
            if status is not None:
                return status

    async def resume_async(self, workflow: Workflow[Any, Any], instance_id: str) -> WorkflowStatus:
        """Do the same as `resume`, under trio or asyncio; plain tasks run on threads."""
        left = await drive(_to_be_left(self._backend.beside(instance_id), workflow, instance_id), perform)
        return left or cast(WorkflowStatus, await self._go_async(workflow, instance_id, None))

    async def _go_async(
        self, workflow: Workflow[Any, Any], instance_id: str, begin: Begin | None, *, replace: bool = False
    ) -> WorkflowStatus | None:
        """Do the same as `_go`."""
        async with AsyncExitStack() as stack:
            try:
                fresh = begin is not None and not replace
                opened = self._backend.async_sdk(instance_id, replace=replace, fresh=fresh)
                sdk = await stack.enter_async_context(opened)
            except AlreadyExists:
                return None
            except (InvalidState, *TOLD):
                return await drive(self._refused(workflow, instance_id, begin), perform)
            run = Run(workflow, sdk, waits=self._waits, hands_in=True)
            try:
                value = await drive(run.begin(begin) if begin else run.begin_again(), sdk.perform)
                output = await Awaiting(run.means).take(walk(workflow, value))
                status = await drive(run.complete(output), sdk.perform)
                if status is not None:
                    return status
            except Exception as raised:  # noqa: BLE001 - what it means is decided there
                if not await drive(run.conclude(raised), sdk.perform):
                    return await drive(self._refused(workflow, instance_id, begin), perform)
            return await drive(standing.status_now(self._backend.beside(instance_id), workflow.codec), perform)


def _to_be_left(door: Door, workflow: Workflow[Any, Any], instance_id: str) -> Flow[WorkflowStatus | None]:
    """Return the status of an instance that is not to be gone on with; None for one that is."""
    check_workflow(workflow)
    info = yield from standing.found(door)
    if info is None:
        raise BackendError(f"instance {instance_id!r} was not found: run it first")
    check_definition(workflow, (yield from standing.begin_of(door, instance_id)), instance_id)
    if info.status in FINAL or info.termination_reason is TerminationReason.PAUSED:
        return (yield from standing.status_of(door, info, workflow.codec))
    return None


def _blocking(flow: Flow[T]) -> T:
    return drive_blocking(flow, perform_blocking)


def _failed(error: WorkflowError) -> WorkflowStatus:
    return WorkflowStatus(status="failed", error=str(error), failure=failure_of(error))
