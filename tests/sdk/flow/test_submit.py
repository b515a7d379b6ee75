"""What is submitted: how it stands and what can be said to it before a worker has it, while one has it, and after."""

from threading import Event
from typing import Any

import pytest

from runtara.errors import InvalidInput
from runtara.messages import StartInstance
from runtara.sdk.flow import (
    Backend,
    BackendError,
    CheckpointingRunner,
    CodecError,
    ConflictPolicy,
    DefinitionMismatch,
    Flow,
    InstanceAlreadyExistsError,
    Workflow,
    WorkflowClient,
)
from tests.sdk.flow.pools import A_WHILE, pool, wait_until


def add(x: int) -> int:
    return x + 1


ADD: Workflow[Any, Any] = Flow("add").then(add).build()
ASK: Workflow[Any, Any] = (
    Flow("ask").then(add).wait_for_signal("answer").then(lambda payload: ["got", payload], name="told").build()
)


def test_what_was_submitted_waits_for_a_worker_and_is_run_by_it(backend: Backend, instance_id: str) -> None:
    client = WorkflowClient(backend)

    assert client.submit(ADD, instance_id, 1).is_in_progress
    with pool(backend, [ADD]):
        assert client.wait(instance_id, A_WHILE).output == 2
    assert client.get_task_result(instance_id, "add") == 2


async def test_it_can_be_awaited(backend: Backend, instance_id: str) -> None:
    client = WorkflowClient(backend)

    assert (await client.submit_async(ADD, instance_id, 1)).is_in_progress


def test_an_id_that_is_taken_is_refused_whatever_became_of_it(backend: Backend, instance_id: str) -> None:
    client = WorkflowClient(backend)
    client.submit(ADD, instance_id, 1)

    with pytest.raises(InstanceAlreadyExistsError, match="already exists"):
        client.submit(ADD, instance_id, 1)
    with pool(backend, [ADD]):
        client.wait(instance_id, A_WHILE)
    with pytest.raises(InstanceAlreadyExistsError, match="already exists, and is completed"):
        client.submit(ADD, instance_id, 1)


def test_or_stands_for_the_other_one_where_the_policy_says_so(backend: Backend, instance_id: str) -> None:
    client = WorkflowClient(backend, conflict_policy="use_existing")
    client.submit(ADD, instance_id, 1)

    assert client.submit(ADD, instance_id, 5).is_in_progress
    with pool(backend, [ADD]):
        client.wait(instance_id, A_WHILE)
    assert client.submit(ADD, instance_id, 5).output == 2


def test_or_takes_its_place_where_the_policy_says_so(backend: Backend, instance_id: str) -> None:
    client = WorkflowClient(backend, conflict_policy="terminate_existing")
    client.submit(ADD, instance_id, 1)

    assert client.submit(ADD, instance_id, 5).is_in_progress
    with pool(backend, [ADD]):
        assert client.wait(instance_id, A_WHILE).output == 6
        assert client.submit(ADD, instance_id, 7).is_in_progress
        assert client.wait(instance_id, A_WHILE).output == 8


def test_whoever_is_at_work_on_it_is_stopped_and_free_for_the_new_one(backend: Backend, instance_id: str) -> None:
    entered, go_on, seen = Event(), Event(), list[Any]()

    def work(x: int) -> int:
        entered.set()
        assert go_on.wait(A_WHILE)
        return x

    def note(x: int) -> int:
        seen.append(x)
        return x * 10

    flow: Workflow[Any, Any] = Flow("long").then(work).then(note).build()
    client = WorkflowClient(backend, conflict_policy="terminate_existing")
    with pool(backend, [flow]):
        client.submit(flow, instance_id, 1)
        assert entered.wait(A_WHILE)
        client.submit(flow, instance_id, 2)
        go_on.set()

        assert client.wait(instance_id, A_WHILE).output == 20
    assert seen == [2]


def test_a_run_of_this_process_gives_way_to_what_is_submitted(backend: Backend, instance_id: str) -> None:
    CheckpointingRunner(backend).run(ASK, instance_id, 1)
    client = WorkflowClient(backend, conflict_policy="terminate_existing")

    client.submit(ASK, instance_id, 5)

    with pool(backend, [ASK]):
        wait_until(backend, instance_id, lambda status: status.is_awaiting_signal())
        assert client.get_task_result(instance_id, "add") == 6
        client.send_signal(instance_id, "answer", "yes")
        assert client.wait(instance_id, A_WHILE).output == ["got", "yes"]


@pytest.mark.parametrize("policy", list(ConflictPolicy))
def test_an_id_that_another_definition_has_is_refused(backend: Backend, instance_id: str, policy: str) -> None:
    client = WorkflowClient(backend, conflict_policy=policy)
    client.submit(ADD, instance_id, 1)

    with pytest.raises(DefinitionMismatch, match="was begun as workflow 'add'"):
        client.submit(ASK, instance_id, 1)


def test_a_submission_that_is_sent_again_after_a_lost_answer_is_the_same_one(
    backend: Backend, instance_id: str
) -> None:
    door = backend.beside(instance_id)
    sent: list[Any] = []
    client = WorkflowClient(_Recording(backend, sent))
    client.submit(ADD, instance_id, 1)

    (start,) = [command for command in sent if isinstance(command, StartInstance)]

    assert not door.call_from_thread(start).created


class _Recording(Backend):
    """Takes note of what is sent."""

    def __init__(self, inner: Backend, sent: list[Any]) -> None:
        self._inner = inner
        self._sent = sent

    def beside(self, instance_id: str, *, watch: bool = False) -> Any:
        return _RecordingDoor(self._inner.beside(instance_id, watch=watch), self._sent)


class _RecordingDoor:
    def __init__(self, door: Any, sent: list[Any]) -> None:
        self._door = door
        self._sent = sent

    def call_from_thread(self, command: Any, *, timeout: float | None = None) -> Any:
        self._sent.append(command)
        return self._door.call_from_thread(command, timeout=timeout)


@pytest.mark.parametrize("priority", [0, 6, "high", True])
def test_a_priority_that_is_none_is_refused(backend: Backend, instance_id: str, priority: Any) -> None:
    with pytest.raises(InvalidInput, match="priority must be between 1"):
        WorkflowClient(backend).submit(ADD, instance_id, 1, priority=priority)


def test_an_input_that_cannot_be_kept_is_refused(backend: Backend, instance_id: str) -> None:
    with pytest.raises(CodecError, match="the input of add cannot be stored"):
        WorkflowClient(backend).submit(ADD, instance_id, object())


def test_what_no_worker_has_begun_is_cancelled_at_once(backend: Backend, instance_id: str) -> None:
    client = WorkflowClient(backend)
    client.submit(ADD, instance_id, 1)

    assert client.cancel(instance_id).is_cancelled
    assert client.cancel(instance_id).is_cancelled
    assert client.wait(instance_id, A_WHILE).is_cancelled


def test_what_no_worker_has_begun_can_be_paused_and_is_not_begun_then(backend: Backend, instance_id: str) -> None:
    client = WorkflowClient(backend)
    client.submit(ADD, instance_id, 1)

    assert client.pause(instance_id).is_paused
    with pool(backend, [ADD]):
        client.submit(ADD, f"{instance_id}-other", 1)
        client.wait(f"{instance_id}-other", A_WHILE)
        assert client.status(instance_id).is_paused
        client.unpause(instance_id)

        assert client.wait(instance_id, A_WHILE).output == 2


def test_a_signal_that_comes_before_a_worker_does_is_found_by_it(backend: Backend, instance_id: str) -> None:
    client = WorkflowClient(backend)
    client.submit(ASK, instance_id, 1)
    client.send_signal(instance_id, "answer", 42)

    with pool(backend, [ASK]):
        assert client.wait(instance_id, A_WHILE).output == ["got", 42]


def test_a_wait_for_a_signal_holds_no_slot_and_the_signal_ends_it(backend: Backend, instance_id: str) -> None:
    with pool(backend, [ASK]) as client:
        ids = [f"{instance_id}-{number}" for number in range(3)]
        for one in ids:
            client.submit(ASK, one, 1)
        for one in ids:
            status = wait_until(backend, one, lambda status: status.is_awaiting_signal())
            assert (status.signal_name, status.signal_id) == ("answer", "answer")
        for one in reversed(ids):
            client.send_signal(one, "answer", one)

        assert [client.wait(one, A_WHILE).output for one in ids] == [["got", one] for one in ids]


def test_branches_that_wait_for_different_things_are_woken_by_each(backend: Backend, instance_id: str) -> None:
    def waits(name: str) -> Any:
        return Flow(name).wait_for_signal(name).build()

    workflow = (
        Flow("several")
        .fork()
        .branch(add)
        .join(lambda outputs: outputs["add"], name="begin")
        .then_flow(waits("left"))
        .then_flow(waits("right"))
        .delay("nap", "20ms")
        .build()
    )
    with pool(backend, [workflow]) as client:
        client.submit(workflow, instance_id, 1)
        wait_until(backend, instance_id, lambda status: status.is_awaiting_signal())
        client.send_signal(instance_id, "right", "r")
        client.send_signal(instance_id, "left", "l")

        assert client.wait(instance_id, A_WHILE).output == "r"


def test_a_pause_holds_what_a_worker_leads_from_its_next_task_on(backend: Backend, instance_id: str) -> None:
    client = WorkflowClient(backend)

    def pause(x: int) -> int:
        client.pause(instance_id)
        return x + 1

    workflow = Flow("paused").then(pause).then(add).build()
    with pool(backend, [workflow]):
        client.submit(workflow, instance_id, 1)
        wait_until(backend, instance_id, lambda status: status.is_paused())
        client.unpause(instance_id)

        assert client.wait(instance_id, A_WHILE).output == 3


def test_what_was_submitted_can_be_gone_on_with_by_a_runner_of_ones_own(backend: Backend, instance_id: str) -> None:
    WorkflowClient(backend).submit(ADD, instance_id, 1)

    assert CheckpointingRunner(backend).resume(ADD, instance_id).output == 2


def test_what_is_no_beginning_of_a_workflow_fails_and_says_so(backend: Backend, instance_id: str) -> None:
    from runtara.sdk.flow._programs import program_of

    door = backend.beside(instance_id)
    door.call_from_thread(StartInstance(program=program_of(ADD), input=b"{}"))

    with pool(backend, [ADD]) as client:
        status = wait_until(backend, instance_id, lambda status: status.is_failed())
        assert "is not the beginning of a workflow" in str(status.error)
        with pytest.raises(BackendError, match="is not one of a workflow"):
            client.send_signal(instance_id, "answer")
