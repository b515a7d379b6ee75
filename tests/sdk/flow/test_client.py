"""What is done with instances from outside, on every backend, by blocking and by awaiting."""

import threading
from typing import Any, cast

import pytest

from runtara.errors import DeadlineExceeded, InvalidInput
from runtara.messages import SendSignal
from runtara.sdk.flow import (
    Backend,
    BackendError,
    CheckpointingRunner,
    CodecError,
    ConflictPolicy,
    DefinitionMismatch,
    Flow,
    InProcessRunner,
    InstanceAlreadyExistsError,
    Migration,
    WorkflowClient,
    WorkflowError,
    cancel_workflow,
    pause_workflow,
    resume_workflow,
    run_durable_workflow,
    run_workflow,
    send_signal,
    unpause_workflow,
)
from runtara.threads import run_async


def add(x: int) -> int:
    return x + 1


def double(x: int) -> int:
    return x * 2


WAITING = Flow("approval").then(add).wait_for_signal("approve").then(double).build()
PLAIN = Flow("plain").then(add).then(double).build()


def test_a_signal_goes_to_the_node_that_waits_for_it(backend: Backend, instance_id: str) -> None:
    status = run_durable_workflow(WAITING, instance_id, 1, backend)
    assert (status.is_awaiting_signal(), status.signal_id, status.signal_name) == (True, "approve", "approve")

    send_signal(instance_id, "approve", 20, backend)

    assert resume_workflow(WAITING, instance_id, backend).output == 40


def test_a_signal_may_come_before_anybody_waits_and_signals_of_one_name_keep_their_order(
    backend: Backend, instance_id: str
) -> None:
    flow = Flow("two").then(add).wait_for_signal("s", name="one").wait_for_signal("s", name="two").build()
    seen: list[Any] = []

    def note(x: int) -> int:
        WorkflowClient(backend).send_signal(instance_id, "s", "first")
        WorkflowClient(backend).send_signal(instance_id, "s", "second")
        return x

    flow = (
        Flow("two")
        .then(note)
        .wait_for_signal("s", name="one")
        .then(seen.append, name="keep")
        .wait_for_signal("s", name="two")
        .build()
    )

    assert run_durable_workflow(flow, instance_id, 1, backend).output == "second"
    assert seen == ["first"]


def test_what_a_task_has_returned_can_be_asked_for(backend: Backend, instance_id: str) -> None:
    run_durable_workflow(WAITING, instance_id, 1, backend)
    client = WorkflowClient(backend)

    assert client.get_task_result(instance_id, "add") == 2
    assert client.get_task_result(instance_id, "double") is None
    assert client.get_task_result(instance_id, "no such task") is None


def test_a_cancel_ends_an_instance_that_rests_at_once(backend: Backend, instance_id: str) -> None:
    run_durable_workflow(WAITING, instance_id, 1, backend)

    assert cancel_workflow(instance_id, backend, "not wanted", "me").is_cancelled
    assert cancel_workflow(instance_id, backend).is_cancelled
    assert resume_workflow(WAITING, instance_id, backend).is_cancelled


def test_a_cancel_of_a_running_one_ends_it_before_its_next_task(backend: Backend, instance_id: str) -> None:
    def cancel(x: int) -> int:
        cancel_workflow(instance_id, backend, "enough")
        return x

    flow = Flow("c").then(cancel).then(double).build()

    assert run_durable_workflow(flow, instance_id, 1, backend).is_cancelled
    assert WorkflowClient(backend).get_task_result(instance_id, "double") is None
    assert WorkflowClient(backend).get_task_result(instance_id, "cancel") == 1


def test_a_pause_holds_an_instance_until_it_is_unpaused(backend: Backend, instance_id: str) -> None:
    def pause(x: int) -> int:
        pause_workflow(instance_id, backend, "lunch", "me")
        return x

    flow = Flow("p").then(pause).then(double).build()

    assert run_durable_workflow(flow, instance_id, 1, backend).is_paused
    assert resume_workflow(flow, instance_id, backend).is_paused
    assert pause_workflow(instance_id, backend).is_paused
    assert unpause_workflow(instance_id, backend).is_in_progress
    assert resume_workflow(flow, instance_id, backend).output == 2


def test_a_status_says_who_has_cancelled_an_instance_and_why(backend: Backend, instance_id: str) -> None:
    run_durable_workflow(WAITING, instance_id, 1, backend)
    client = WorkflowClient(backend)

    said = client.cancel(instance_id, "not wanted", "me")
    client.cancel(instance_id, "too late", "you")

    assert (said.reason, said.cancelled_by, said.paused_by) == ("not wanted", "me", None)
    assert client.status(instance_id) == said
    assert resume_workflow(WAITING, instance_id, backend) == said
    assert run_durable_workflow(WAITING, instance_id, 1, backend, "use_existing") == said


@pytest.mark.parametrize("more", [(), (double,)], ids=["in its last task", "before its last task"])
def test_a_run_that_is_cancelled_is_told_why(backend: Backend, instance_id: str, more: tuple[Any, ...]) -> None:
    def cancel(x: int) -> int:
        cancel_workflow(instance_id, backend, "enough", "me")
        return x

    flow = Flow("c").then(cancel)
    for function in more:
        flow = flow.then(function)

    status = run_durable_workflow(flow.build(), instance_id, 1, backend)

    assert (status.status, status.reason, status.cancelled_by) == ("cancelled", "enough", "me")


def test_a_status_says_who_has_paused_an_instance_last_and_why(backend: Backend, instance_id: str) -> None:
    run_durable_workflow(WAITING, instance_id, 1, backend)
    client = WorkflowClient(backend)

    first = client.pause(instance_id, "lunch", "me")
    same = client.pause(instance_id, "tea", "you")
    between = client.unpause(instance_id)
    client.pause(instance_id, "weekend", "them")
    again = resume_workflow(WAITING, instance_id, backend)

    assert (first.reason, first.paused_by, first.cancelled_by) == ("lunch", "me", None)
    assert same == first
    assert (between.status, between.reason, between.paused_by) == ("in_progress", None, None)
    assert (again.reason, again.paused_by) == ("weekend", "them")


def test_a_status_knows_no_reason_where_none_was_given(backend: Backend, instance_id: str) -> None:
    run_durable_workflow(WAITING, instance_id, 1, backend)
    client, other = WorkflowClient(backend), backend.beside(instance_id)

    paused = client.pause(instance_id)
    client.unpause(instance_id)
    other.call_from_thread(SendSignal(kind="pause", signal_id="by-hand", payload=b"\xff no note"))
    by_hand = resume_workflow(WAITING, instance_id, backend)

    assert (paused.reason, paused.paused_by) == (None, None)
    assert (by_hand.status, by_hand.reason, by_hand.paused_by) == ("paused", None, None)


def test_a_reason_that_would_not_be_kept_is_refused(backend: Backend, instance_id: str) -> None:
    run_durable_workflow(WAITING, instance_id, 1, backend)

    with pytest.raises(InvalidInput, match="a reason of 50"):
        cancel_workflow(instance_id, backend, "x" * 5_000)

    assert WorkflowClient(backend).status(instance_id).is_awaiting_signal


def test_what_has_ended_can_be_neither_cancelled_nor_paused(backend: Backend, instance_id: str) -> None:
    run_durable_workflow(PLAIN, instance_id, 1, backend)

    with pytest.raises(BackendError, match="completed"):
        cancel_workflow(instance_id, backend)
    with pytest.raises(BackendError, match="completed"):
        pause_workflow(instance_id, backend)
    with pytest.raises(BackendError, match="only one that is paused"):
        unpause_workflow(instance_id, backend)


def test_nobody_is_told_anything_about_an_instance_that_is_not_there(backend: Backend) -> None:
    client = WorkflowClient(backend)
    for call in (client.status, client.cancel, client.pause, client.unpause, client.wait):
        with pytest.raises(BackendError, match="instance 'nobody' was not found"):
            call("nobody")
    with pytest.raises(BackendError, match="was not found"):
        client.send_signal("nobody", "s")
    with pytest.raises(BackendError, match="was not found"):
        resume_workflow(PLAIN, "nobody", backend)


def test_who_waits_hears_of_the_end(backend: Backend, instance_id: str) -> None:
    run_durable_workflow(WAITING, instance_id, 1, backend)
    client = WorkflowClient(backend)
    with pytest.raises(DeadlineExceeded):
        client.wait(instance_id, timeout=0.01)
    found: list[Any] = []
    waiter = threading.Thread(target=lambda: found.append(client.wait(instance_id)))
    waiter.start()

    client.send_signal(instance_id, "approve", 1)
    resume_workflow(WAITING, instance_id, backend)
    waiter.join()

    assert found[0].output == 2


@pytest.mark.parametrize("library", ["trio", "asyncio"])
def test_everything_can_be_awaited(backend: Backend, instance_id: str, library: str) -> None:
    runner, client = CheckpointingRunner(backend), WorkflowClient(backend)

    async def main() -> None:
        assert (await runner.run_async(WAITING, instance_id, 1)).is_awaiting_signal
        assert (await client.pause_async(instance_id)).is_paused
        assert (await client.unpause_async(instance_id)).is_in_progress
        await client.send_signal_async(instance_id, "approve", 4)
        assert (await runner.resume_async(WAITING, instance_id)).output == 8
        assert (await client.status_async(instance_id)).output == 8
        assert (await client.wait_async(instance_id)).is_completed
        assert await client.get_task_result_async(instance_id, "add") == 2
        with pytest.raises(BackendError):
            await client.cancel_async(instance_id)

    run_async(library, main)


def test_what_cannot_be_said_is_refused_in_words(backend: Backend, instance_id: str) -> None:
    run_durable_workflow(WAITING, instance_id, 1, backend)
    client, wrong = WorkflowClient(backend), cast(Any, 5)

    with pytest.raises(CodecError, match="payload of signal 'approve' cannot be stored"):
        client.send_signal(instance_id, "approve", object())
    with pytest.raises(InvalidInput, match="signal name"):
        client.send_signal(instance_id, wrong, 1)
    with pytest.raises(InvalidInput, match="named by a text"):
        client.get_task_result(instance_id, wrong)
    with pytest.raises(InvalidInput, match="are texts, not int"):
        client.cancel(instance_id, wrong)
    with pytest.raises(InvalidInput, match="are texts, not int"):
        client.pause(instance_id, "reason", wrong)

    assert client.status(instance_id).is_awaiting_signal


def test_what_is_no_workflow_or_no_backend_is_refused_in_words(backend: Backend, instance_id: str) -> None:
    unbuilt, runner = cast(Any, Flow("w").then(add)), CheckpointingRunner(backend)

    for call in (
        lambda: runner.run(unbuilt, instance_id, 1),
        lambda: runner.resume(unbuilt, instance_id),
        lambda: InProcessRunner().run(unbuilt, 1),
        lambda: run_workflow(unbuilt, 1),
        lambda: WorkflowClient(backend).submit(unbuilt, instance_id, 1),
    ):
        with pytest.raises(InvalidInput, match="is no workflow: give what"):
            call()
    with pytest.raises(InvalidInput, match="is no backend"):
        CheckpointingRunner(cast(Any, "sqlite:///runtara.db"))
    with pytest.raises(BackendError, match="was not found"):
        WorkflowClient(backend).status(instance_id)


# Ids that are taken ---------------------------------------------------------------------------------------------------


def test_an_id_that_is_taken_is_refused(backend: Backend, instance_id: str) -> None:
    run_durable_workflow(PLAIN, instance_id, 1, backend)

    with pytest.raises(InstanceAlreadyExistsError, match=instance_id):
        run_durable_workflow(PLAIN, instance_id, 1, backend)


@pytest.mark.parametrize(
    "policy", ["use_existing", "useExisting", pytest.param(ConflictPolicy.USE_EXISTING, id="member")]
)
def test_or_its_status_stands_for_the_new_run(backend: Backend, instance_id: str, policy: str) -> None:
    run_durable_workflow(WAITING, instance_id, 1, backend)

    status = run_durable_workflow(WAITING, instance_id, 99, backend, policy)

    assert status.is_awaiting_signal
    assert WorkflowClient(backend).get_task_result(instance_id, "add") == 2


def test_another_definition_is_refused_whatever_the_policy_and_says_what_is_different(
    backend: Backend, instance_id: str
) -> None:
    run_durable_workflow(WAITING, instance_id, 1, backend)
    changed = Flow("approval").then(add).wait_for_signal("approve", timeout="1h").then(double).build()

    for policy in ConflictPolicy:
        with pytest.raises(DefinitionMismatch, match="new: S:approve:approve:t:3600000;") as caught:
            run_durable_workflow(changed, instance_id, 1, backend, policy)
        assert (caught.value.expected, caught.value.found) == (changed.definition_hash, WAITING.definition_hash)
    with pytest.raises(DefinitionMismatch):
        resume_workflow(changed, instance_id, backend)


def test_the_same_shape_under_another_name_is_another_workflow(backend: Backend, instance_id: str) -> None:
    run_durable_workflow(WAITING, instance_id, 1, backend)
    twin = Flow("twin").then(add).wait_for_signal("approve").then(double).build()

    assert twin.definition_hash == WAITING.definition_hash
    with pytest.raises(DefinitionMismatch, match="begun as workflow 'approval', this is 'twin'"):
        resume_workflow(twin, instance_id, backend)


def test_a_declared_migration_goes_on_with_what_an_older_definition_has_done(
    backend: Backend, instance_id: str
) -> None:
    run_durable_workflow(WAITING, instance_id, 1, backend)
    calls: list[int] = []

    def renamed(x: int) -> int:
        calls.append(x)
        return x

    newer = (
        Flow("approval")
        .then(renamed, name="increase")
        .wait_for_signal("approve")
        .then(double)
        .then(add, name="one more")
        .build(migrations=[Migration(from_hash=WAITING.definition_hash, renamed={"increase": "add"})])
    )
    send_signal(instance_id, "approve", 10, backend)

    assert resume_workflow(newer, instance_id, backend).output == 21
    assert calls == []


@pytest.mark.parametrize("policy", ["terminate_existing", "terminateExisting"])
def test_or_it_gives_way_to_the_new_run(backend: Backend, instance_id: str, policy: str) -> None:
    run_durable_workflow(WAITING, instance_id, 1, backend)
    send_signal(instance_id, "approve", 7, backend)

    status = run_durable_workflow(WAITING, instance_id, 10, backend, policy)

    assert status.is_awaiting_signal  # the signal was the other one's
    assert WorkflowClient(backend).get_task_result(instance_id, "add") == 11
    send_signal(instance_id, "approve", 3, backend)
    assert resume_workflow(WAITING, instance_id, backend).output == 6


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled", "paused"])
def test_whatever_became_of_it(backend: Backend, instance_id: str, end: str) -> None:
    fails = [True] if end == "failed" else []

    def work(x: int) -> int:
        if fails:
            raise ValueError("no")
        return x

    flow = Flow("any").then(work).wait_for_signal("go", timeout="1ms" if end == "completed" else "1h").build()
    run_durable_workflow(flow, instance_id, 1, backend)
    if end == "cancelled":
        cancel_workflow(instance_id, backend, "old")
    if end == "paused":
        pause_workflow(instance_id, backend, "old")
    if end == "completed":
        CheckpointingRunner(backend, waits=True).resume(flow, instance_id)
    before = WorkflowClient(backend).status(instance_id)
    fails.clear()

    after = CheckpointingRunner(backend, conflict_policy="terminate_existing").run(flow, instance_id, 2)

    assert before.status == end
    assert (after.status, after.reason) == ("awaiting_signal", None)
    assert WorkflowClient(backend).get_task_result(instance_id, "work") == 2


@pytest.mark.parametrize("library", ["trio", "asyncio"])
def test_a_run_that_is_awaited_gives_way_likewise(backend: Backend, instance_id: str, library: str) -> None:
    runner = CheckpointingRunner(backend, conflict_policy="terminate_existing")

    async def main() -> None:
        assert (await runner.run_async(WAITING, instance_id, 1)).is_awaiting_signal
        assert (await runner.run_async(WAITING, instance_id, 2)).is_awaiting_signal
        assert await WorkflowClient(backend).get_task_result_async(instance_id, "add") == 3

    run_async(library, main)


def test_a_run_that_gives_way_while_a_task_of_it_runs_does_no_more(backend: Backend, instance_id: str) -> None:
    entered, go_on, seen, told = threading.Event(), threading.Event(), list[Any](), list[Any]()

    def work(x: int) -> int:
        if x == 1:
            entered.set()
            go_on.wait()
        return x

    def note(x: int) -> int:
        seen.append(x)
        return x * 10

    flow = Flow("long").then(work).then(note).build()

    old = threading.Thread(target=lambda: told.append(run_durable_workflow(flow, instance_id, 1, backend)))
    old.start()
    entered.wait()
    new = run_durable_workflow(flow, instance_id, 2, backend, "terminate_existing")
    go_on.set()
    old.join()

    assert (new.output, seen) == (20, [2])
    assert told == [new]  # whoever has lost an instance is told how it stands


def test_what_is_no_instance_of_a_workflow_is_not_replaced(backend: Backend, instance_id: str) -> None:
    with backend.sdk(instance_id) as sdk:
        sdk.checkpoint("something", b"else")

    with pytest.raises(BackendError, match="not one of a workflow"):
        run_durable_workflow(PLAIN, instance_id, 1, backend, "terminate_existing")

    with backend.sdk(instance_id) as sdk:
        assert sdk.get_checkpoint("something") == b"else"


def test_an_instance_that_began_nothing_is_replaced_with_the_signals_that_it_was_sent(
    backend: Backend, instance_id: str
) -> None:
    with backend.sdk(instance_id) as sdk:
        backend.beside(instance_id).call_from_thread(
            SendSignal(kind="custom", signal_id="s", name="approve", payload=b"1")
        )
        assert sdk.epoch == 1

    status = run_durable_workflow(WAITING, instance_id, 1, backend, "terminate_existing")

    assert status.is_awaiting_signal


def test_an_unknown_policy_is_refused(backend: Backend) -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        CheckpointingRunner(backend, conflict_policy="replace")


# To the end -----------------------------------------------------------------------------------------------------------


def test_run_workflow_returns_the_output_or_raises() -> None:
    def fail(x: int) -> int:
        raise ValueError("no")

    assert run_workflow(PLAIN, 1) == 4
    with pytest.raises(WorkflowError, match="task 'fail' failed: ValueError: no"):
        run_workflow(Flow("f").then(fail).build(), 1)


def test_run_workflow_waits_out_delays_and_signals_on_a_backend(backend: Backend) -> None:
    flow = Flow("waits").delay("d", "10ms").wait_for_signal("s", timeout="10ms").then(lambda x: [x]).build()

    assert run_workflow(flow, 1, backend=backend) == [None]


def test_but_under_an_id_it_says_that_the_run_rests(backend: Backend, instance_id: str) -> None:
    with pytest.raises(WorkflowError, match="has not completed: it is awaiting_signal"):
        run_workflow(WAITING, 1, instance_id=instance_id, backend=backend)

    assert WorkflowClient(backend).status(instance_id).is_awaiting_signal
