"""One attempt at an instance of a workflow, for every runner that keeps: how it begins, and how it ends."""

from typing import Any

import msgspec

from runtara import messages
from runtara.errors import InvalidInput, RuntaraError
from runtara.lifecycle import Status
from runtara.sdk._endings import report
from runtara.sdk._flows import Flow
from runtara.sdk._words import words_of
from runtara.sdk.aio import AsyncRuntaraSdk
from runtara.sdk.flow._codecs import read, write
from runtara.sdk.flow._faces import Resting
from runtara.sdk.flow._failures import failure_of
from runtara.sdk.flow._held import Held
from runtara.sdk.flow._kept import BEGIN, Begin, Kept, check_definition, read_begin, write_begin
from runtara.sdk.flow._notes import FAILURE, REST, RestNote
from runtara.sdk.flow.errors import WorkflowError
from runtara.sdk.flow.status import WorkflowStatus
from runtara.sdk.flow.workflow import Workflow
from runtara.sdk.sync import RuntaraSdk

__all__ = ["Run", "begun", "check_workflow", "completed", "encoded"]


class Run:
    """One attempt at an instance: how it begins, and how it ends."""

    def __init__(
        self,
        workflow: Workflow[Any, Any],
        sdk: RuntaraSdk | AsyncRuntaraSdk,
        *,
        waits: bool,
        hands_in: bool = False,
        held: Held | None = None,
    ) -> None:
        self._workflow = workflow
        self._sdk = sdk
        self._waits = waits
        self._hands_in = hands_in
        self._held = held
        self.means: Kept

    def begin(self, begin: Begin) -> Flow[bytes]:
        """Write down what is begun, or find that it was; return the input."""
        state = write_begin(begin)
        if self._hands_in and self._sdk.hand_in(BEGIN, state):
            return self._go_on(begin, is_known=True)
        kept = yield messages.SaveCheckpoint(checkpoint_id=BEGIN, state=state)
        return self._go_on(read_begin(kept.state) if kept.found else begin, is_known=not kept.found)

    def begin_again(self) -> Flow[bytes]:
        """Read what was begun; return the input."""
        kept = yield messages.GetCheckpoint(checkpoint_id=BEGIN)
        if kept.found:
            return self._go_on(read_begin(kept.state))
        return (yield from self.begin_submitted())

    def begin_submitted(self) -> Flow[bytes]:
        """Read what was submitted, which is nowhere but in the input of the instance; return the workflow's."""
        if self._held is not None and self._held.input is not None:
            return self._go_on(read_begin(self._held.input))
        reply = yield messages.GetInput()
        return self._go_on(read_begin(reply.input))

    def begin_launched(self) -> Flow[bytes]:
        """Read what was begun, or begin with the input that the instance was started with; return the workflow's."""
        kept = yield messages.GetCheckpoint(checkpoint_id=BEGIN)
        if kept.found:
            return self._go_on(read_begin(kept.state))
        reply = yield messages.GetInput()
        return (yield from self.begin(_begin(self._workflow, _launched_with(self._workflow, reply.input))))

    def _go_on(self, begin: Begin, *, is_known: bool = False) -> bytes:
        if not is_known:
            check_definition(self._workflow, begin, self._sdk.instance_id)
        migration = self._workflow.migrations.get(begin.hash)
        renamed = {} if migration is None else dict(migration.renamed)
        self.means = Kept(
            self._workflow,
            self._sdk,
            renamed,
            waits=self._waits,
            keeps_later=self._sdk.hand_in if self._hands_in else None,
            held=self._held,
        )
        return begin.input

    def complete(self, output: bytes) -> Flow[WorkflowStatus | None]:
        """Report that it has ended well; None where it was cancelled before it could say so."""
        results = self._results()
        if results:
            reply = yield messages.FinishInstance(results=results, output=output)
        else:
            reply = yield messages.CompleteInstance(output=output)
        return completed(self._workflow, output) if reply.status is Status.COMPLETED else None

    def conclude(self, raised: Exception) -> Flow[bool]:
        """Report how else it has ended; return False where the runtime does not let it go on.

        Raises what says nothing about the workflow, but about the runtime.
        """
        try:
            if isinstance(raised, Resting | WorkflowError):
                yield from self._rest(raised) if isinstance(raised, Resting) else self._fail(raised)
                return True
        except RuntaraError as refused:  # it was cancelled, or another one has taken over, while it came to this
            raised = refused
        yield from report(raised)
        if not isinstance(raised, RuntaraError) or raised.retry.value != "never":
            raise raised
        return False

    def _fail(self, error: WorkflowError) -> Flow[None]:
        for result in self._results():  # who goes on from here need not do it again
            yield messages.SaveCheckpoint(checkpoint_id=result.checkpoint_id, state=result.state)
        note = msgspec.json.encode(failure_of(error))
        yield messages.RecordEvent(subtype=FAILURE, payload=note)
        yield messages.FailInstance(error=words_of(error)[:4096])

    def _rest(self, rest: Resting) -> Flow[None]:
        if rest.is_stored:
            return
        wake_at = None if rest.wake_at is None else int(rest.wake_at.timestamp() * 1000)
        note = RestNote(place=rest.place, wake_at=wake_at, signal_name=rest.signal_name)
        yield messages.RestInstance(
            results=self._results(),
            subtype=REST,
            payload=msgspec.json.encode(note),
            wake_at=wake_at,
            awaits=rest.awaits,
        )

    def _results(self) -> tuple[messages.StepResult, ...]:
        return () if self._held is None else self._held.results()


def check_workflow(workflow: object) -> None:
    """Raise `InvalidInput` for what is no workflow; most often, it was not built."""
    if not isinstance(workflow, Workflow):
        raise InvalidInput(f"{workflow!r:.80} is no workflow: give what Flow(...).build() returns")


def encoded(workflow: Workflow[Any, Any], input: object) -> bytes:
    """Return an input as the workflow's codec makes it. Raises `CodecError`, and `InvalidInput` for no workflow."""
    check_workflow(workflow)
    return write(workflow.codec, input, f"the input of {workflow.name}")


def begun(workflow: Workflow[Any, Any], input: object, submission: str = "") -> Begin:
    """Return what is kept of a beginning. Raises `CodecError` for an input that cannot be."""
    return _begin(workflow, encoded(workflow, input), submission)


def _begin(workflow: Workflow[Any, Any], input: bytes, submission: str = "") -> Begin:
    return Begin(
        workflow=workflow.name,
        hash=workflow.definition_hash,
        definition=workflow.definition,
        codec=workflow.codec.name,
        input=input,
        submission=submission,
        graph=msgspec.Raw(workflow.graph_json),
    )


def _launched_with(workflow: Workflow[Any, Any], input: bytes | None) -> bytes:
    """Return the input of an instance, which is JSON or of the workflow's codec, as that codec makes it."""
    what = f"the input of {workflow.name}"
    try:
        value = msgspec.json.decode(input) if input else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = read(workflow.codec, input or b"", Any, what)
    return write(workflow.codec, value, what)


def completed(workflow: Workflow[Any, Any], output: bytes) -> WorkflowStatus:
    """Return the status of a workflow that has come to an output."""
    return WorkflowStatus(status="completed", output=workflow.codec.decode(output, Any))
