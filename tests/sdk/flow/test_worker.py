"""Workers: every graph of the suite through pools of them, and what they promise beside."""

import asyncio  # what is tested
import gc
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import sniffio
import trio

from runtara.actors.pool import OFFERS_MAX
from runtara.errors import InvalidInput, InvalidState
from runtara.messages import GetStatus, InstanceInfo
from runtara.sdk import durable
from runtara.sdk.flow import (
    MSGPACK,
    Backend,
    Flow,
    InMemoryBackend,
    JsonCodec,
    LoopResult,
    Migration,
    PooledWorker,
    RetryPolicy,
    Worker,
    Workflow,
    WorkflowClient,
    WorkflowStatus,
    get_task_context,
    run_durable_workflow,
    task,
)
from runtara.sdk.flow._lead import REST_AFTER
from tests.sdk.faces import Unspeakable
from tests.sdk.flow.graphs import GRAPHS, Calls, Graph
from tests.sdk.flow.pools import A_WHILE, pool, run_pooled, wait_until

graphs = pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)


def info_of(backend: Backend, instance_id: str) -> InstanceInfo:
    return backend.beside(instance_id).call_from_thread(GetStatus())


@graphs
@pytest.mark.parametrize(("workers", "slots"), [(1, 1), (4, 1), (1, 4)])
def test_a_pool_comes_to_the_same_as_every_other_runner(
    graph: Graph, workers: int, slots: int, every_backend: Backend, instance_id: str
) -> None:
    calls = Calls()

    status = run_pooled(every_backend, graph.build(calls), instance_id, graph.input, workers=workers, slots=slots)

    assert (status.output, status.error, len(calls.seen)) == (graph.output, None, graph.tasks)


# Branches, here and elsewhere -----------------------------------------------------------------------------------------


def meeting(parties: int, name: str) -> Any:
    """Return tasks that end once so many of them have begun, each with the thread that it ran on."""
    barrier = threading.Barrier(parties)

    def branch(number: int) -> Any:
        def run(_: int) -> str:
            barrier.wait(A_WHILE)
            return f"{name}{number}"

        return task(f"{name}{number}")(run)

    return [branch(number) for number in range(parties)]


def fork_of(name: str, branches: list[Any]) -> Workflow[Any, Any]:
    fork = Flow(name).fork()
    for branch in branches:
        fork = fork.branch(branch)
    return fork.join(lambda outputs: sorted(outputs.values())).build()


@pytest.mark.parametrize(("workers", "slots"), [(3, 1), (1, 3)])
def test_branches_run_at_the_same_time_wherever_a_slot_is_free(
    workers: int, slots: int, backend: Backend, instance_id: str
) -> None:
    workflow = fork_of("meet", meeting(3, "b"))

    status = run_pooled(backend, workflow, instance_id, 1, workers=workers, slots=slots)

    assert status.output == ["b0", "b1", "b2"]


def test_branches_of_one_worker_with_one_slot_run_one_after_the_other(backend: Backend, instance_id: str) -> None:
    at_once, most, lock = [0], [0], threading.Lock()

    def branch(number: int) -> Any:
        def run(x: int) -> int:
            with lock:
                at_once[0] += 1
                most[0] = max(most[0], at_once[0])
            threading.Event().wait(0.02)  # longer than an offer takes
            with lock:
                at_once[0] -= 1
            return x

        return task(f"b{number}")(run)

    status = run_pooled(backend, fork_of("alone", [branch(number) for number in range(5)]), instance_id, 1)

    assert status.output == [1] * 5
    assert most == [1]


def test_an_error_elsewhere_is_the_error_of_the_task(backend: Backend, instance_id: str) -> None:
    class Broken(Exception):
        pass

    met = threading.Barrier(2)

    def here(x: int) -> int:
        met.wait(A_WHILE)
        raise Broken("no paper")

    def there(x: int) -> int:
        met.wait(A_WHILE)
        raise Broken("no paper")

    status = run_pooled(backend, fork_of("broken", [here, there]), instance_id, 1, workers=2)

    assert status.is_failed
    assert status.failure is not None
    assert status.failure.error_type.endswith("Broken")
    assert "Broken: no paper" in str(status.error)


def test_what_a_policy_does_not_try_again_is_not_tried_again_elsewhere_either(
    backend: Backend, instance_id: str
) -> None:
    calls: list[str] = []
    met, policy = threading.Barrier(2), RetryPolicy(5, 0.001, non_retryable=(KeyError,))

    def branch(name: str) -> Any:
        def run(x: int) -> int:
            calls.append(name)
            if calls.count(name) == 1:
                met.wait(A_WHILE)
                raise ValueError("try again")
            raise KeyError("for good")

        return task(name, retries=policy)(run)

    status = run_pooled(backend, fork_of("picky", [branch("a"), branch("b")]), instance_id, 1, workers=2)

    assert "KeyError" in str(status.error)
    assert max(calls.count("a"), calls.count("b")) == 2


def test_a_time_limit_holds_elsewhere_too(backend: Backend, instance_id: str) -> None:
    told, began = threading.Event(), []

    def here(x: int) -> int:
        began.append("here")
        assert told.wait(A_WHILE), "one slot is taken until the other task was told"
        return x

    def elsewhere(x: int) -> int:
        context = get_task_context()
        assert context is not None
        began.append("elsewhere")
        while not context.cancelled:
            threading.Event().wait(0.005)
        told.set()
        return x

    branches = [task("here")(here), task("elsewhere", timeout=0.5)(elsewhere)]
    status = run_pooled(backend, fork_of("slow", branches), instance_id, 1, workers=2)

    assert "took longer than 0.5 seconds" in str(status.error)
    assert sorted(began) == ["elsewhere", "here"]
    assert told.is_set()


@durable
def kept(name: str) -> str:
    """Counts how often it runs."""
    KEPT.append(name)
    return name


@durable
async def kept_async(name: str) -> str:
    """Counts how often it runs."""
    KEPT.append(name)
    return name


KEPT: list[str] = []


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_what_a_task_keeps_itself_is_kept_wherever_it_runs(backend: Backend, instance_id: str, is_async: bool) -> None:
    met, policy = threading.Barrier(2), RetryPolicy(2, 0.001)
    tries: list[str] = []

    def branch(name: str) -> Any:
        def run(x: int) -> str:
            tries.append(name)
            if tries.count(name) == 1:
                met.wait(A_WHILE)
            result = kept(f"{instance_id}-{name}")
            if tries.count(name) == 1:
                raise OSError("after it")
            return result

        async def run_async(x: int) -> str:
            tries.append(name)
            if tries.count(name) == 1:
                await trio.to_thread.run_sync(met.wait, A_WHILE)
            result = await kept_async(f"{instance_id}-{name}")
            if tries.count(name) == 1:
                raise OSError("after it")
            return result

        return task(name, retries=policy)(run_async if is_async else run)

    status = run_pooled(backend, fork_of("keeps", [branch("a"), branch("b")]), instance_id, 1, workers=2)

    assert status.output == [f"{instance_id}-a", f"{instance_id}-b"]
    assert sorted(one for one in KEPT if one.startswith(f"{instance_id}-")) == status.output


# Told to stop ---------------------------------------------------------------------------------------------------------


def test_a_cancel_stops_an_async_task_in_the_middle(backend: Backend, instance_id: str) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def endless(x: int) -> None:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    with pool(backend, [workflow := Flow("endless").then(endless).build()]) as client:
        client.submit(workflow, instance_id, 1)
        assert begun.wait(A_WHILE)
        client.cancel(instance_id, "enough")

        assert client.wait(instance_id, A_WHILE).is_cancelled
        assert ended.wait(A_WHILE)


def cancel_both(
    backend: Backend,
    workflow: Workflow[Any, Any],
    instance_id: str,
    met: threading.Barrier,
    ended: threading.Semaphore,
) -> None:
    """Cancel a workflow whose two branches run at two workers, and have met; both must say that they have ended."""
    with pool(backend, [workflow], workers=2) as client:
        client.submit(workflow, instance_id, 1)
        met.wait(A_WHILE)
        client.cancel(instance_id)

        assert client.wait(instance_id, A_WHILE).is_cancelled
        assert ended.acquire(timeout=A_WHILE)
        assert ended.acquire(timeout=A_WHILE)


def test_a_cancel_stops_asyncio_tasks_in_the_middle_here_and_elsewhere(backend: Backend, instance_id: str) -> None:
    met, ended = threading.Barrier(3), threading.Semaphore(0)

    def branch(name: str) -> Any:
        async def run(x: int) -> None:
            try:  # a cancel may come before this task hears that all have met
                await asyncio.to_thread(met.wait, A_WHILE)
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.release()
                raise

        return task(name)(run)

    cancel_both(backend, fork_of("stopped", [branch("a"), branch("b")]), instance_id, met, ended)


def test_an_asyncio_task_that_is_cancelled_by_itself_has_failed(backend: Backend, instance_id: str) -> None:
    async def gives_up(x: int) -> None:
        raise asyncio.CancelledError("enough")

    workflow = Flow("gives up").then(gives_up).build()

    status = run_pooled(backend, workflow, instance_id, 1)

    assert status.is_failed
    assert "task 'gives_up' failed: CancelledError" in str(status.error)
    assert "CancelledError" in str(run_durable_workflow(workflow, f"{instance_id}-here", 1, backend).error)


def test_a_cancel_is_told_to_plain_tasks_here_and_elsewhere(backend: Backend, instance_id: str) -> None:
    met, ended = threading.Barrier(3), threading.Semaphore(0)

    def branch(name: str) -> Any:
        def run(x: int) -> int:
            context = get_task_context()
            assert context is not None
            met.wait(A_WHILE)
            try:
                while x:
                    context.raise_if_cancelled()
                    threading.Event().wait(0.005)
            finally:
                ended.release()
            return x

        return task(name)(run)

    cancel_both(backend, fork_of("told", [branch("a"), branch("b")]), instance_id, met, ended)


def test_a_worker_that_goes_home_ends_its_task_and_leaves_the_rest_to_others(
    backend: Backend, instance_id: str
) -> None:
    begun, go_on, seen = threading.Event(), threading.Event(), []

    def first(x: int) -> int:
        seen.append("first")
        begun.set()
        assert go_on.wait(A_WHILE)
        return x + 1

    def second(x: int) -> int:
        seen.append("second")
        return x * 10

    workflow, client = Flow("home").then(first).then(second).build(), WorkflowClient(backend)
    leaving = PooledWorker("leaving", backend, [workflow], max_concurrent_tasks=1).spawn()
    client.submit(workflow, instance_id, 1)
    assert begun.wait(A_WHILE)
    leaving.shutdown()
    assert not leaving.join(0.01)
    go_on.set()
    assert leaving.join(A_WHILE)
    assert seen == ["first"]
    assert client.status(instance_id).is_in_progress

    with pool(backend, [workflow]):
        assert client.wait(instance_id, A_WHILE).output == 20
    assert seen == ["first", "second"]


def test_a_worker_whose_handle_nobody_holds_goes_home(backend: Backend) -> None:
    handle = PooledWorker("dropped", backend, [GRAPHS[0].build(Calls())]).spawn()
    thread = next(one for one in threading.enumerate() if one.name == "runtara-dropped")

    del handle
    gc.collect()
    thread.join(A_WHILE)

    assert not thread.is_alive()


# Who takes what -------------------------------------------------------------------------------------------------------


def test_what_is_critical_goes_first_and_what_is_minor_last(backend: Backend, instance_id: str) -> None:
    begun, go_on, order = threading.Event(), threading.Event(), []

    def note(name: str) -> None:
        if name == "first":
            begun.set()
            assert go_on.wait(A_WHILE)
        order.append(name)

    workflow = Flow("ranked", metadata={"priority": 4}).then(note).build()
    with pool(backend, [workflow]) as client:
        client.submit(workflow, f"{instance_id}-first", "first")
        assert begun.wait(A_WHILE)
        for name, priority in [("minor", 5), ("its own", None), ("normal", 3), ("critical", 1)]:
            client.submit(workflow, f"{instance_id}-{name.replace(' ', '-')}", name, priority=priority)
        go_on.set()
        client.wait(f"{instance_id}-minor", A_WHILE)

    assert order == ["first", "critical", "normal", "its own", "minor"]
    assert info_of(backend, f"{instance_id}-critical").priority == 2


def test_a_task_with_tags_is_run_by_a_worker_that_has_them(backend: Backend, instance_id: str) -> None:
    def on(name: str, *tags: str) -> Any:
        async def run(_: Any) -> str:
            return threading.current_thread().name

        return task(name, tags=tags)(run)

    workflow = Flow("tagged").then(on("plain")).then(on("gpu", "gpu")).build()
    plain = PooledWorker("plain", backend, tags=["cpu"])
    gpu = PooledWorker("gpu", backend, tags=["gpu", "cpu"])
    with plain.spawn([workflow]), gpu.spawn([workflow]):
        client = WorkflowClient(backend)
        for number in range(4):
            client.submit(workflow, f"{instance_id}-{number}", 1)

        outputs = {client.wait(f"{instance_id}-{number}", A_WHILE).output for number in range(4)}

    assert outputs == {"runtara-gpu"}


def test_an_instance_whose_next_task_nobody_here_may_run_is_handed_over(backend: Backend, instance_id: str) -> None:
    async def where(_: Any) -> str:
        return threading.current_thread().name

    workflow = Flow("handed over").then(lambda x: x).then(task("gpu", tags=["gpu"])(where)).build()
    client = WorkflowClient(backend)
    with PooledWorker("plain", backend, tags=["cpu"]).spawn([workflow]):
        client.submit(workflow, instance_id, 1)
        while info_of(backend, instance_id).epoch < 2:  # it was let go of
            threading.Event().wait(0.01)
        with PooledWorker("late-gpu", backend, tags=["gpu"]).spawn([workflow]):
            assert client.wait(instance_id, A_WHILE).output == "runtara-late-gpu"


def test_an_instance_of_an_older_definition_is_taken_up_where_a_migration_says_so(
    backend: Backend, instance_id: str
) -> None:
    old = Flow("grown").then(task("a")(lambda x: x + 1)).build()
    new = (
        Flow("grown")
        .then(task("a")(lambda x: x + 1))
        .then(task("b")(lambda x: x * 10))
        .build(migrations=[Migration(from_hash=old.definition_hash)])
    )

    with pool(backend, [new]) as client:
        client.submit(old, instance_id, 1)

        assert client.wait(instance_id, A_WHILE).output == 20


def test_a_name_that_no_id_could_have_and_another_codec_are_served(backend: Backend, instance_id: str) -> None:
    workflow = Flow("päckchen / 1").then(lambda data: data + b"!").build(codec=MSGPACK)

    assert run_pooled(backend, workflow, instance_id, b"hello").output == b"hello!"


def test_while_a_task_waits_long_for_another_try_its_slot_does_something_else(
    backend: Backend, instance_id: str
) -> None:
    failed, order = threading.Event(), []

    def flaky(x: int) -> int:
        order.append("flaky")
        failed.set()
        raise OSError("not yet")

    first = Flow("flaky").then(task("flaky", retries=RetryPolicy(3, 3600))(flaky)).build()
    second = Flow("other").then(lambda x: order.append("other")).build()
    with pool(backend, [first, second]) as client:
        client.submit(first, instance_id, 1)
        assert failed.wait(A_WHILE)
        client.submit(second, f"{instance_id}-other", 1)
        client.wait(f"{instance_id}-other", A_WHILE)
        resting = wait_until(backend, instance_id, lambda status: not status.is_in_progress)
    assert order == ["flaky", "other"]
    assert (resting.status, resting.delay_id) == ("waiting", "flaky")


def test_a_task_whose_instance_rested_until_another_try_is_tried_then(backend: Backend, instance_id: str) -> None:
    tries: list[int] = []

    def flaky(x: int) -> int:
        tries.append(x)
        if len(tries) == 1:
            raise OSError("not yet")
        return x + 1

    workflow = Flow("flaky").then(task("flaky", retries=RetryPolicy(3, REST_AFTER + 0.01))(flaky)).build()

    assert run_pooled(backend, workflow, instance_id, 1).output == 2
    assert info_of(backend, instance_id).epoch == 2, "it was let go of meanwhile"


def test_a_task_that_takes_longer_than_the_lease_is_not_given_to_others(backend: Backend, instance_id: str) -> None:
    calls: list[int] = []

    def slow(x: int) -> int:
        calls.append(x)
        threading.Event().wait(3.5)
        return x

    workflow = Flow("slow").then(slow).build()

    assert run_pooled(backend, workflow, instance_id, 1, workers=2, claim_ttl=1.5).output == 1
    assert calls == [1]


# How it is used -------------------------------------------------------------------------------------------------------


async def test_a_service_with_a_loop_of_its_own_works_in_it(backend: Backend, instance_id: str) -> None:
    workflow = Flow("service").then(lambda x: x + 1).build()

    async with PooledWorker("service", backend).open([workflow]):
        client = WorkflowClient(backend)
        await client.submit_async(workflow, instance_id, 1)
        status = await client.wait_async(instance_id, A_WHILE)

    assert status.output == 2


def test_the_names_of_the_fields_binding_work(backend: Backend, instance_id: str) -> None:
    workflow = Flow("binding").loop(LoopResult.Done).build()

    handle = Worker("binding-1", backend, poll_interval=0.5, claim_ttl=300.0).start([workflow])
    WorkflowClient(backend).submit(workflow, instance_id, 7)
    status = WorkflowClient(backend).wait(instance_id, A_WHILE)
    handle.shutdown()

    assert handle.join(A_WHILE)
    assert handle.backend is backend
    assert status.output == 7


def test_workers_that_are_given_no_name_are_called_after_host_and_process_each_by_another_one() -> None:
    with InMemoryBackend() as backend:
        first, second = PooledWorker(backend=backend).worker_id, PooledWorker(backend=backend).worker_id

    assert str(os.getpid()) in first.split("-")
    assert str(os.getpid()) in second.split("-")
    assert first != second


def test_a_worker_works_once_at_a_time(backend: Backend) -> None:
    worker = PooledWorker("once", backend, [Flow("w").then(len).build()])

    with worker.spawn(), pytest.raises(InvalidState, match="worker 'once' is at work already"):
        worker.spawn()
    with worker.spawn():
        pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"worker_id": "a b"}, "worker id 'a b' is not allowed"),
        ({"max_concurrent_tasks": 0}, "max_concurrent_tasks of 0 is not allowed"),
        ({"max_concurrent_tasks": True}, "max_concurrent_tasks of True is not allowed"),
        ({"claim_ttl": 0}, "claim_ttl of 0 is not allowed"),
        ({"claim_ttl": "soon"}, "a duration of 'soon' is not understood"),
        ({"poll_interval": 3600}, "poll_interval of 3600 is not allowed"),
        ({"tags": [""]}, "are not allowed"),
        ({"backend": None}, "None is no backend"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], words: str) -> None:
    with InMemoryBackend() as backend, pytest.raises(InvalidInput, match=words):
        PooledWorker(**{"worker_id": "w", "backend": backend, **options})


def test_a_worker_needs_workflows_and_each_once() -> None:
    one, same = Flow("w").then(len).build(), Flow("w").then(len).build()
    with InMemoryBackend() as backend:
        worker = PooledWorker("w", backend)

        with pytest.raises(InvalidInput, match="give at least one"):
            worker.spawn()
        with pytest.raises(InvalidInput, match="is one workflow, and a worker takes a list of them"):
            worker.spawn(one)  # type: ignore[arg-type]  # what is refused
        with pytest.raises(InvalidInput, match="is no workflow"):
            worker.spawn([len])  # type: ignore[list-item]  # what is refused
        with pytest.raises(InvalidInput, match="is given twice"):
            worker.spawn([one, same])


# What goes wrong ------------------------------------------------------------------------------------------------------


class Spiteful(JsonCodec):
    """A codec that fails in a way that nobody foresees."""

    name = "spiteful"

    def join(self, parts: Mapping[str, bytes]) -> bytes:
        raise ZeroDivisionError(f"{len(parts)} parts")


def test_an_instance_that_fails_in_a_way_of_its_own_does_not_end_its_worker(backend: Backend, instance_id: str) -> None:
    spiteful = Flow("spiteful").fork().branch(abs).join(lambda x: x, name="join").build(codec=Spiteful())
    plain = Flow("plain").then(abs).build()
    with pool(backend, [spiteful, plain]) as client:
        client.submit(spiteful, instance_id, 1)
        client.submit(plain, f"{instance_id}-next", -2)

        assert client.wait(f"{instance_id}-next", A_WHILE).output == 2
        assert "ZeroDivisionError: 1 parts" in str(client.wait(instance_id, A_WHILE).error)


def poisoned(backend: Backend, instance_id: str, error: Callable[[], BaseException]) -> WorkflowStatus:
    """Raise an error at two workers at once; see both go on with something else, and return what came of it."""
    met = threading.Barrier(2)

    def branch(name: str) -> Any:
        def run(_: int) -> int:
            met.wait(A_WHILE)  # one runs where the instance is led, the other one elsewhere
            raise error()

        return task(name)(run)

    poison, plain = fork_of("poison", [branch("a"), branch("b")]), Flow("plain").then(abs).build()
    with pool(backend, [poison, plain], workers=2) as client:
        client.submit(poison, instance_id, 1)
        status = client.wait(instance_id, A_WHILE)
        client.submit(plain, f"{instance_id}-next", -2)

        assert client.wait(f"{instance_id}-next", A_WHILE).output == 2
    return status


@pytest.mark.parametrize("error", [Unspeakable, lambda: ValueError("\udc80")], ids=["unspeakable", "no characters"])
def test_an_error_that_cannot_be_told_fails_its_task_and_ends_no_worker(
    backend: Backend, instance_id: str, error: Any
) -> None:
    status = poisoned(backend, instance_id, error)

    assert status.failure is not None
    assert status.failure.error_type.rpartition(".")[2] in ("Unspeakable", "ValueError")


@pytest.mark.parametrize("exits", [SystemExit, KeyboardInterrupt, GeneratorExit], ids=lambda kind: kind.__name__)
def test_a_task_that_exits_has_failed_and_ends_no_worker(
    backend: Backend, instance_id: str, exits: type[BaseException]
) -> None:
    status = poisoned(backend, instance_id, lambda: exits("enough"))

    assert f"a task does not end its worker, and this one tried to, with {exits.__name__}: enough" in str(status.error)


@pytest.mark.parametrize("library", ["trio", "asyncio"])
def test_an_async_task_that_exits_has_failed_and_ends_no_worker(
    backend: Backend, instance_id: str, library: Any
) -> None:
    async def leave(_: int) -> int:
        raise SystemExit(3)

    workflow = Flow("leave").then(leave).build()

    status = run_pooled(backend, workflow, instance_id, 1, library=library)

    assert "a task does not end its worker, and this one tried to, with SystemExit: 3" in str(status.error)


def test_more_branches_than_may_be_offered_at_a_time_all_run(backend: Backend, instance_id: str) -> None:
    def branch(number: int) -> Any:
        async def run(x: int) -> int:
            await trio.sleep(0.02 if number < 3 else 0)  # so that all others are offered
            return x

        return task(f"b{number}")(run)

    workflow = fork_of("wide", [branch(number) for number in range(OFFERS_MAX + 50)])

    assert run_pooled(backend, workflow, instance_id, 1).output == [1] * (OFFERS_MAX + 50)


def test_a_result_that_is_too_large_is_an_error_of_its_task_wherever_it_runs(instance_id: str) -> None:
    met = threading.Barrier(2)

    def branch(name: str) -> Any:
        def run(x: int) -> str:
            met.wait(A_WHILE)
            return "x" * 100_000

        return task(name)(run)

    with InMemoryBackend(state_max_bytes=64 * 1024) as backend:
        status = run_pooled(backend, fork_of("large", [branch("a"), branch("b")]), instance_id, 1, workers=2)

    assert status.is_failed
    assert "at most 65536 are allowed" in str(status.error), "either branch may be the first to say so"


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_that_are_written_for_asyncio_run_under_it(backend: Backend, instance_id: str, workers: int) -> None:
    async def where(x: int) -> str:
        await asyncio.sleep(0)
        await kept_async(f"{instance_id}-asyncio")
        return sniffio.current_async_library()

    workflow = (
        Flow("asyncio").fork().branch(where, name="a").branch(where, name="b").join(lambda x: x, name="j").build()
    )

    status = run_pooled(backend, workflow, instance_id, 1, workers=workers, library="asyncio")

    assert status.output == {"a": "asyncio", "b": "asyncio"}
