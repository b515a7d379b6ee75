"""Workers that die without a word, before, inside and after everything they do: others go on where they were."""

import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, Literal, NamedTuple

import pytest
import trio

from runtara.messages import GetStatus
from runtara.sdk.flow import Backend, InMemoryBackend, Workflow, WorkflowClient
from tests.sdk.flow.crashing import Crash, CrashingBackend
from tests.sdk.flow.graphs import GRAPHS, Calls, Graph
from tests.sdk.flow.pools import A_WHILE, Mortal, pool

LEASE = 0.3
"""Seconds after which a worker that is not heard of has lost what it holds."""

BRANCHES = 3
"""So many tasks of an instance at most are under way at once, and run again by the next one to lead it."""

CALLS_MAX = 40
"""More than any graph takes of a worker."""


class Life(NamedTuple):
    """A workflow and the worker that dies of it."""

    calls: Calls
    workflow: Workflow[Any, Any]
    instance_id: str
    mortal: CrashingBackend


def life(graph: Graph, backend: Backend, instance_id: str, at: int, when: Literal["before", "after"]) -> Life:
    """Return a life that ends at the `at`-th call."""
    calls, name = Calls(), f"{graph.name}-{when}-{at}"
    mortal = CrashingBackend(backend, at, when)
    return Life(calls, of_its_own(graph, calls, name), f"{instance_id}-{when}-{at}", mortal)


def of_its_own(graph: Graph, calls: Calls, name: str) -> Workflow[Any, Any]:
    """Build a graph with a name that no other worker knows, so that none takes it up."""
    built = graph.build(calls)
    return Workflow(name, built.steps, metadata={}, codec=built.codec)


async def seen_no_more_than_allowed(graph: Graph, calls: Calls, backend: Backend, instance_id: str) -> None:
    """Check that no more tasks ran again than may be under way when somebody dies."""
    attempts = (await backend.beside(instance_id).call(GetStatus())).epoch

    assert len(calls.seen) <= graph.tasks + BRANCHES * (attempts - 1), (instance_id, calls.seen)


async def until_either(*calls: Callable[[], Awaitable[object]]) -> None:
    """Wait for the first of several."""
    async with trio.open_nursery() as nursery:

        async def run(call: Callable[[], Awaitable[object]]) -> None:
            await call()
            nursery.cancel_scope.cancel()

        for call in calls:
            nursery.start_soon(run, call)


async def live(one: Life, client: WorkflowClient, value: Any) -> None:
    """Have the worker take up the workflow, until it has died or has brought it to its end."""
    with Mortal(one.mortal, [one.workflow], claim_ttl=LEASE, max_concurrent_tasks=1) as worker:
        await client.submit_async(one.workflow, one.instance_id, value)
        await until_either(worker.wait_dead, lambda: client.wait_async(one.instance_id, A_WHILE))


async def die_and_go_on(graph: Graph, lives: list[Life], backend: Backend) -> int:
    """Have all workers die, and others take over; return how many have died."""
    client = WorkflowClient(backend)
    async with trio.open_nursery() as nursery:
        for one in lives:
            nursery.start_soon(live, one, client, graph.input)
    with pool(backend, [one.workflow for one in lives], slots=4):
        for one in lives:
            status = await client.wait_async(one.instance_id, A_WHILE)

            assert (status.output, status.error) == (graph.output, None), one.instance_id
            await seen_no_more_than_allowed(graph, one.calls, backend, one.instance_id)
    return sum(one.mortal.crashed for one in lives)


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_worker_that_dies_at_any_call_is_replaced_and_no_task_runs_again_that_was_kept(
    graph: Graph, when: Literal["before", "after"], backend: Backend, instance_id: str
) -> None:
    first, every = GRAPHS.index(graph) % 3 + 1, 3 if isinstance(backend, InMemoryBackend) else 9
    lives = [life(graph, backend, instance_id, at, when) for at in range(first, CALLS_MAX, every)]

    died = await die_and_go_on(graph, lives, backend)

    assert died >= graph.tasks // every


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_and_so_it_is_at_every_call_on_every_store(
    graph: Graph, when: Literal["before", "after"], every_backend: Backend, instance_id: str
) -> None:
    lives = [life(graph, every_backend, instance_id, at, when) for at in range(1, CALLS_MAX)]

    died = await die_and_go_on(graph, lives, every_backend)

    assert died > graph.tasks


async def test_workers_that_die_inside_of_tasks_are_replaced(backend: Backend, instance_id: str) -> None:
    async with trio.open_nursery() as nursery:
        for graph in GRAPHS:
            nursery.start_soon(die_inside, graph, backend, f"{instance_id}-{graph.name}")


async def die_inside(graph: Graph, backend: Backend, instance_id: str) -> None:
    """Have two of four workers die in the middle of tasks of a workflow."""
    left, lock = [3], threading.Lock()

    def dies(_: str) -> None:
        with lock:
            left[0] -= 1
        if left[0] in (1, 0):  # not the first one, and then two: whoever leads, or whoever helps
            raise Crash

    calls = Calls(dies)
    workflow, client = of_its_own(graph, calls, f"{graph.name}-inside"), WorkflowClient(backend)
    with ExitStack() as workers:
        for _ in range(4):
            workers.enter_context(Mortal(backend, [workflow], claim_ttl=LEASE, max_concurrent_tasks=1))
        await client.submit_async(workflow, instance_id, graph.input)

        status = await client.wait_async(instance_id, A_WHILE)

    assert (status.output, status.error) == (graph.output, None), graph.name
    await seen_no_more_than_allowed(graph, calls, backend, instance_id)
