"""A run that is kept: what its wishes mean for an instance of the runtime, and what is written down of it.

Each result is a checkpoint of the instance, under ``flow::`` and its place; ``flow:begin`` says what was begun.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from runtara import messages
from runtara.decoders import decode_json
from runtara.errors import RetriesExhausted, Retry, RuntaraError
from runtara.sdk import _flows as flows
from runtara.sdk._flows import Flow
from runtara.sdk._steps import run_step
from runtara.sdk._types import Signal
from runtara.sdk.aio import AsyncRuntaraSdk
from runtara.sdk.flow._definition import difference
from runtara.sdk.flow._faces import HandedOver, Resting, TryTask
from runtara.sdk.flow._failures import TOLD, failed
from runtara.sdk.flow._held import Held
from runtara.sdk.flow._walk import AwaitSignal, Rest, RunTask
from runtara.sdk.flow.context import TaskExecutionContext
from runtara.sdk.flow.errors import BackendError, DefinitionMismatch, TaskError
from runtara.sdk.flow.workflow import Workflow
from runtara.sdk.sync import RuntaraSdk

__all__ = [
    "BEGIN",
    "PREFIX",
    "Begin",
    "Kept",
    "check_definition",
    "instant_at",
    "place_id",
    "read_begin",
    "write_begin",
]

PREFIX: Final = "flow::"
"""What the checkpoints and places of a run begin with."""

BEGIN: Final = "flow:begin"
"""The checkpoint that says what was begun. No place has this one: a node may well be called begin."""


class Begin(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance of a workflow was begun with."""

    workflow: str
    """Its name."""
    hash: str
    definition: str
    codec: str
    input: bytes
    graph: msgspec.Raw = msgspec.Raw(b"null")
    """The nodes, as `graph.Graph.kept_as` reads them."""
    submission: str = ""
    """Tells a run, or one that was submitted to workers, from any other with the same input."""


def write_begin(begin: Begin) -> bytes:
    """Return what is kept of a beginning, as JSON: others than us look into it."""
    return msgspec.json.encode(begin)


def read_begin(state: bytes | None) -> Begin:
    """Return what was kept of a beginning. Raises `BackendError` for what is none."""
    try:
        return decode_json(state or b"", Begin)
    except msgspec.MsgspecError as error:
        raise BackendError(f"this is not the beginning of a workflow ({error}): use another instance id") from None


def place_id(place: str) -> str:
    """Return the checkpoint under which the result of a place is kept."""
    return PREFIX + place


def check_definition(workflow: Workflow[Any, Any], begin: Begin, instance_id: str) -> None:
    """Raise `DefinitionMismatch` if an instance was begun by another workflow, and nothing says how to go on."""
    same = (begin.workflow, begin.hash, begin.codec) == (workflow.name, workflow.definition_hash, workflow.codec.name)
    if same or (begin.workflow == workflow.name and begin.hash in workflow.migrations):
        return
    changes = difference(begin.definition, workflow.definition)
    if begin.workflow != workflow.name:
        changes.insert(0, f"it was begun as workflow {begin.workflow!r}, this is {workflow.name!r}")
    if begin.codec != workflow.codec.name:
        changes.insert(0, f"it keeps values as {begin.codec}, this as {workflow.codec.name}")
    raise DefinitionMismatch(
        f"instance {instance_id!r} was begun by another definition ({'; '.join(changes)}): "
        "use a new instance id, or say with a Migration how to go on",
        expected=workflow.definition_hash,
        found=begin.hash,
    )


class _AsBytes:
    """Keeps the results of tasks, which are bytes already."""

    def keep(self, value: bytes, _what: str) -> tuple[bytes, bytes]:
        return value, value

    def read(self, state: bytes | None, _what: str) -> bytes:
        return state or b""


class Kept:
    """Does what the walks of one run wish for, with the SDK of its instance.

    `renamed`: what places were called when the instance was begun. `waits`: delays and signals are waited for here,
    for as long as the owner does not park; else the run rests until somebody resumes it. `keeps_later` may take results
    that are saved by themselves; with `held`, they are saved before the next task begins, or with what is said next.
    """

    def __init__(
        self,
        workflow: Workflow[Any, Any],
        owner: RuntaraSdk | AsyncRuntaraSdk,
        renamed: dict[str, str],
        *,
        waits: bool,
        keeps_later: Callable[[str, bytes], bool] | None = None,
        held: Held | None = None,
    ) -> None:
        self._workflow = workflow
        self._owner: Final = owner
        self._renamed = renamed
        self._held: Final = held
        self._keeps_later: Final = keeps_later if held is None else held.take
        self._patience: Final = owner.park_after if waits else 0.0
        self.perform_blocking: Final = owner.perform
        self.perform: Final = owner.perform  # it blocks or is awaited, as the owner does

    def settle(self) -> Flow[None]:
        """Save what is held."""
        if self._held is not None:
            yield from self._held.saved()

    def flow_of(self, wish: Any) -> Flow[Any]:
        """Return how a wish is done."""
        if wish.__class__ is RunTask:
            return self._run_task(wish)
        return self._rest(wish) if wish.__class__ is Rest else self._await_signal(wish)

    def _id(self, place: str) -> str:
        if self._renamed:
            head, slash, name = place.rpartition("/")
            node, mark, iteration = name.partition("#")
            place = f"{head}{slash}{self._renamed.get(node, node)}{mark}{iteration}"
        return place_id(place)

    def _run_task(self, wish: RunTask) -> Flow[bytes]:
        step, held = self._id(wish.place), self._held
        if held is None:
            return (yield from self._run_step(wish, step, is_new=not self._owner.is_resumed))
        known = held.known(step)
        if known is not None:
            return known.state
        yield from held.saved()
        return (yield from self._run_step(wish, step, is_new=held.knows_all or not self._owner.is_resumed))

    def _run_step(self, wish: RunTask, step: str, *, is_new: bool) -> Flow[bytes]:
        metadata = wish.task.spec.metadata
        scope, tries = self._owner.scope, 0

        def body(attempt: int) -> TryTask:
            nonlocal tries
            tries = attempt
            context = TaskExecutionContext(
                workflow_id=self._workflow.name,
                instance_id=self._owner.instance_id,
                task_id=wish.place,
                attempt=attempt,
                metadata=metadata,
                workflow_metadata=self._workflow.metadata,
            )
            return TryTask(self._workflow.codec, wish, scope.inside(step), context)

        try:
            state: bytes = yield from run_step(
                self._owner,
                step,
                metadata.tries,
                _AS_BYTES,
                body,
                is_new=is_new,
                keeps_later=self._keeps_later,
            )
        except HandedOver:
            raise
        except Resting as rest:
            rest.place = wish.place
            raise
        except RetriesExhausted as error:
            raise TaskError(str(error), task_id=wish.place, error_type="RetriesExhausted") from None
        except Exception as error:
            if not tries or _is_of_the_runtime(error):
                raise
            raised = failed(wish.place, error, tries)
            raise raised from raised.__cause__
        return state

    def _rest(self, wish: Rest) -> Flow[None]:
        step, held = self._id(wish.place), self._held
        duration_ms = -(-int(wish.duration.total_seconds() * 1_000_000) // 1_000)
        if held is not None:
            known = held.known(step)
            if known is not None and not known.remaining_ms:
                return
            if held.is_alone and self._patience <= 0:
                yield from held.rest_for(step, wish.place, duration_ms)
                return
        yield from self._owner.look_for_signals()
        reply = yield messages.Sleep(checkpoint_id=step, duration_ms=duration_ms)
        flows.raise_for(Signal.of(reply.signal))
        if reply.remaining_ms > self._patience * 1_000:
            raise Resting(wish.place, wake_at=instant_at(reply.wake_at))
        if reply.remaining_ms > 0:
            yield from flows.sleep(self._owner.session, wish.duration, step, b"")

    def _await_signal(self, wish: AwaitSignal) -> Flow[bytes | None]:
        place = self._id(wish.place)
        yield from self.settle()
        yield from self._owner.look_for_signals()
        limit = None if wish.timeout is None else int(wish.timeout.total_seconds() * 1_000)
        command = messages.TakeSignal(name=wish.name, place=place, timeout_ms=limit)
        reply = yield from flows.take_signal(self._owner.session, self._owner.clock, command, self._patience)
        if reply.signal is not None:
            payload: bytes = reply.signal.payload
            return payload
        if reply.timed_out:
            return None
        awaited = messages.AwaitedSignal(name=wish.name, place=place)
        raise Resting(wish.place, wake_at=instant_at(reply.deadline_at), signal_name=wish.name, awaits=(awaited,))


_AS_BYTES: Final = _AsBytes()


def _is_of_the_runtime(error: Exception) -> bool:
    """Whether an error says that the run is to end, or cannot go on for a while: nothing about the task."""
    return isinstance(error, TOLD) or (isinstance(error, RuntaraError) and error.retry is not Retry.NEVER)


def instant_at(at_ms: int | None) -> datetime | None:
    """Return an instant that is given in milliseconds since 1970 UTC."""
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC)
