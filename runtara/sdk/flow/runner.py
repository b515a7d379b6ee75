"""Runners: one process takes a workflow from its beginning to its end.

`InProcessRunner` keeps nothing. `CheckpointingRunner` keeps the result of every task before the next one begins, so
that a run goes on where it was after any crash.
"""

import random
from enum import StrEnum
from typing import Any, Final, Literal, TypeVar

import msgspec

from runtara import messages
from runtara.errors import InvalidInput, RuntaraError
from runtara.lifecycle import FINAL, Status, TerminationReason
from runtara.sdk._drive import drive, drive_blocking
from runtara.sdk._endings import report
from runtara.sdk._flows import Flow
from runtara.sdk._wishes import ask, perform, perform_blocking
from runtara.sdk.aio import AsyncRuntaraSdk
from runtara.sdk.flow import _standing as standing
from runtara.sdk.flow._codecs import write
from runtara.sdk.flow._faces import Awaiting, Blocking, Resting
from runtara.sdk.flow._failures import failure_of
from runtara.sdk.flow._kept import BEGIN, Begin, Kept, check_definition, read_begin
from runtara.sdk.flow._transient import Transient
from runtara.sdk.flow._walk import walk
from runtara.sdk.flow.backend import Backend
from runtara.sdk.flow.errors import BackendError, InstanceAlreadyExistsError, WorkflowError
from runtara.sdk.flow.status import WorkflowStatus
from runtara.sdk.flow.workflow import Workflow
from runtara.sdk.sync import RuntaraSdk
from runtara.transport import Door

__all__ = ["CheckpointingRunner", "ConflictPolicy", "InProcessRunner"]

I = TypeVar("I")  # noqa: E741 - input
O = TypeVar("O")  # noqa: E741 - output
T = TypeVar("T")

Library = Literal["trio", "asyncio"]


class ConflictPolicy(StrEnum):
    """What becomes of a run whose instance id is taken."""

    FAIL = "fail"
    """It is refused, whatever became of the other one."""
    USE_EXISTING = "use_existing"
    """The status of the other one is returned, and nothing is run."""

    @classmethod
    def of(cls, name: "str | ConflictPolicy | None") -> "ConflictPolicy":
        """Return a policy by its name, in snake or camel case. Raises `InvalidInput` for another one."""
        plain = {policy.value.replace("_", ""): policy for policy in cls}
        found = cls.FAIL if name is None else plain.get(str(name).replace("_", "").lower())
        if found is None:
            raise InvalidInput(f"conflict policy {name!r} does not exist: use one of {', '.join(cls)}")
        return found


class InProcessRunner:
    """Runs workflows in this process and keeps nothing: delays are slept, and what it was doing is lost with it.

    `library` is the event loop that async tasks run in where `run` is used.
    """

    def __init__(self, *, library: Library = "trio") -> None:
        self._library: Final = library

    def run(self, workflow: Workflow[I, O], input: I) -> WorkflowStatus:
        """Run a workflow to its end. An error of a task is in the status; it is not raised."""
        try:
            value = _encoded(workflow, input)
            output = Blocking(Transient(workflow, random.random), self._library).take(walk(workflow, value))
        except WorkflowError as error:
            return _failed(error)
        return _completed(workflow, output)

    async def run_async(self, workflow: Workflow[I, O], input: I) -> WorkflowStatus:
        """Run a workflow to its end, under trio or asyncio; plain tasks run on threads."""
        try:
            value = _encoded(workflow, input)
            output = await Awaiting(Transient(workflow, random.random)).take(walk(workflow, value))
        except WorkflowError as error:
            return _failed(error)
        return _completed(workflow, output)


class CheckpointingRunner:
    """Runs workflows in this process and keeps what every task has returned, in the instances of a backend.

    Branches of a fork run at the same time. A delay, or a wait for a signal, ends the run with a status that says so;
    `resume` goes on with it. With ``waits`` it is waited for instead. `library` is the event loop that async tasks run
    in where `run` and `resume` are used.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        conflict_policy: str | ConflictPolicy | None = None,
        waits: bool = False,
        library: Library = "trio",
    ) -> None:
        self._backend: Final = backend
        self._policy: Final = ConflictPolicy.of(conflict_policy)
        self._waits: Final = waits
        self._library: Final[Library] = library

    @property
    def backend(self) -> Backend:
        """Where instances are kept."""
        return self._backend

    def with_conflict_policy(self, policy: str | ConflictPolicy) -> "CheckpointingRunner":
        """Return a runner on the same backend with another conflict policy."""
        return CheckpointingRunner(self._backend, conflict_policy=policy, waits=self._waits, library=self._library)

    def run(self, workflow: Workflow[I, O], instance_id: str, input: I) -> WorkflowStatus:
        """Run a workflow as a new instance, to its end or until it rests. An error of a task is in the status.

        Raises `InstanceAlreadyExistsError` for an id that is taken, `DefinitionMismatch` if it is taken by another
        definition, `CodecError` for an input that cannot be kept, `InvalidInput` for a malformed id, and what the store
        refuses with.
        """
        begin = _begin(workflow, input)
        door = self._backend.beside(instance_id)
        existing = _blocking(_existing(door, workflow, instance_id, self._policy))
        return existing or self._go(workflow, instance_id, begin)

    def resume(self, workflow: Workflow[Any, Any], instance_id: str) -> WorkflowStatus:
        """Go on with an instance where it was. One that has ended, is paused or rests longer is left as it is.

        Raises `BackendError` where there is no such instance, and `DefinitionMismatch`.
        """
        left = _blocking(_to_be_left(self._backend.beside(instance_id), workflow, instance_id))
        return left or self._go(workflow, instance_id, None)

    def _go(self, workflow: Workflow[Any, Any], instance_id: str, begin: Begin | None) -> WorkflowStatus:
        """Take the walk, as a new attempt of the instance."""
        with self._backend.sdk(instance_id) as sdk:
            door = self._backend.beside(instance_id)
            run = _Run(workflow, sdk, door, waits=self._waits)
            try:
                value = drive_blocking(run.begin(begin), sdk.perform)
                output = Blocking(run.means, self._library).take(walk(workflow, value))
                completed = drive_blocking(run.complete(output), sdk.perform)
                if completed is not None:
                    return completed
            except Exception as raised:  # noqa: BLE001 - what it means is decided there
                drive_blocking(run.conclude(raised), sdk.perform)
            return _blocking(run.status())

    async def run_async(self, workflow: Workflow[I, O], instance_id: str, input: I) -> WorkflowStatus:
        """Do the same as `run`, under trio or asyncio; plain tasks run on threads."""
        begin = _begin(workflow, input)
        door = self._backend.beside(instance_id)
        existing = await drive(_existing(door, workflow, instance_id, self._policy), perform)
        return existing or await self._go_async(workflow, instance_id, begin)

    async def resume_async(self, workflow: Workflow[Any, Any], instance_id: str) -> WorkflowStatus:
        """Do the same as `resume`, under trio or asyncio; plain tasks run on threads."""
        left = await drive(_to_be_left(self._backend.beside(instance_id), workflow, instance_id), perform)
        return left or await self._go_async(workflow, instance_id, None)

    async def _go_async(self, workflow: Workflow[Any, Any], instance_id: str, begin: Begin | None) -> WorkflowStatus:
        async with self._backend.async_sdk(instance_id) as sdk:
            door = self._backend.beside(instance_id)
            run = _Run(workflow, sdk, door, waits=self._waits)
            try:
                value = await drive(run.begin(begin), sdk.perform)
                output = await Awaiting(run.means).take(walk(workflow, value))
                completed = await drive(run.complete(output), sdk.perform)
                if completed is not None:
                    return completed
            except Exception as raised:  # noqa: BLE001 - what it means is decided there
                await drive(run.conclude(raised), sdk.perform)
            return await drive(run.status(), perform)


class _Run:
    """One attempt at an instance: how it begins, and how it ends."""

    def __init__(
        self, workflow: Workflow[Any, Any], sdk: RuntaraSdk | AsyncRuntaraSdk, door: Door, *, waits: bool
    ) -> None:
        self._workflow = workflow
        self._sdk = sdk
        self._door = door
        self._waits = waits
        self.means: Kept

    def begin(self, begin: Begin | None) -> Flow[bytes]:
        """Write down what is begun, or read what was; return the input."""
        if begin is None:
            kept = yield messages.GetCheckpoint(checkpoint_id=BEGIN)
        else:
            kept = yield messages.SaveCheckpoint(checkpoint_id=BEGIN, state=msgspec.msgpack.encode(begin))
        if kept.found:
            begin = read_begin(kept.state or b"")
            check_definition(self._workflow, begin, self._sdk.instance_id)
        assert begin is not None, "there was a beginning a moment ago, and none is ever removed"
        migration = self._workflow.migrations.get(begin.hash)
        renamed = {} if migration is None else dict(migration.renamed)
        self.means = Kept(self._workflow, self._sdk, renamed, waits=self._waits)
        return begin.input

    def complete(self, output: bytes) -> Flow[WorkflowStatus | None]:
        """Report that it has ended well; None where it was cancelled before it could say so."""
        reply = yield messages.CompleteInstance(output=output)
        return _completed(self._workflow, output) if reply.status is Status.COMPLETED else None

    def conclude(self, raised: Exception) -> Flow[None]:
        """Report how else it has ended. Raises what says nothing about the workflow, but about the runtime."""
        if isinstance(raised, Resting):
            yield from self._rest(raised)
            return
        if isinstance(raised, WorkflowError):
            note = msgspec.json.encode(failure_of(raised))
            yield messages.RecordEvent(subtype=standing.FAILURE, payload=note)
            yield messages.FailInstance(error=str(raised)[:4096])
            return
        yield from report(raised)
        if not isinstance(raised, RuntaraError) or raised.retry.value != "never":
            raise raised

    def _rest(self, rest: Resting) -> Flow[None]:
        wake_at = None if rest.wake_at is None else int(rest.wake_at.timestamp() * 1000)
        note = standing.RestNote(place=rest.place, wake_at=wake_at, signal_name=rest.signal_name)
        yield messages.RecordEvent(subtype=standing.REST, payload=msgspec.json.encode(note))
        yield messages.SuspendInstance(wake_at=wake_at)

    def status(self) -> Flow[WorkflowStatus]:
        """Return how the instance stands now."""
        info = yield from ask(self._door, messages.GetStatus())
        return (yield from standing.status_of(self._door, info, self._workflow.codec))


def _existing(
    door: Door, workflow: Workflow[Any, Any], instance_id: str, policy: ConflictPolicy
) -> Flow[WorkflowStatus | None]:
    """Return the status that stands for a run whose id is taken; None where it can begin."""
    info = yield from standing.found(door)
    if info is None or (info.status not in FINAL and info.checkpoint_count == 0 and info.program is None):
        return None  # it is new, or whoever had it died before anything was begun
    begin = yield from standing.begin_of(door, instance_id)
    check_definition(workflow, begin, instance_id)
    if policy is ConflictPolicy.USE_EXISTING:
        return (yield from standing.status_of(door, info, workflow.codec))
    raise InstanceAlreadyExistsError(
        f"instance {instance_id!r} exists already, and is {info.status}: "
        "use another id, resume it, or set a conflict policy"
    )


def _to_be_left(door: Door, workflow: Workflow[Any, Any], instance_id: str) -> Flow[WorkflowStatus | None]:
    """Return the status of an instance that is not to be gone on with; None for one that is."""
    info = yield from standing.found(door)
    if info is None:
        raise BackendError(f"there is no instance {instance_id!r}: run it first")
    check_definition(workflow, (yield from standing.begin_of(door, instance_id)), instance_id)
    if info.status in FINAL or info.termination_reason is TerminationReason.PAUSED:
        return (yield from standing.status_of(door, info, workflow.codec))
    return None


def _blocking(flow: Flow[T]) -> T:
    return drive_blocking(flow, perform_blocking)


def _encoded(workflow: Workflow[Any, Any], input: object) -> bytes:
    return write(workflow.codec, input, f"the input of {workflow.name}")


def _begin(workflow: Workflow[Any, Any], input: object) -> Begin:
    return Begin(
        workflow=workflow.name,
        hash=workflow.definition_hash,
        definition=workflow.definition,
        codec=workflow.codec.name,
        input=_encoded(workflow, input),
    )


def _completed(workflow: Workflow[Any, Any], output: bytes) -> WorkflowStatus:
    return WorkflowStatus(status="completed", output=workflow.codec.decode(output, Any))


def _failed(error: WorkflowError) -> WorkflowStatus:
    return WorkflowStatus(status="failed", error=str(error), failure=failure_of(error))
