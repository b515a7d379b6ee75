"""Workers: every graph of the suite through pools of them, and what they promise beside."""

import threading
from typing import Any

import pytest
import trio

from runtara.errors import InvalidInput
from runtara.sdk.flow import (
    Backend,
    Flow,
    InMemoryBackend,
    InstanceAlreadyExistsError,
    PooledWorker,
    Worker,
    WorkflowClient,
    get_task_context,
    task,
)
from tests.sdk.flow.graphs import GRAPHS, Calls, Graph
from tests.sdk.flow.pools import A_WHILE, pool, run_pooled

graphs = pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)


@graphs
@pytest.mark.parametrize(("workers", "slots"), [(1, 1), (4, 1), (1, 4)])
def test_a_pool_comes_to_the_same_as_every_other_runner(
    graph: Graph, workers: int, slots: int, every_backend: Backend, instance_id: str
) -> None:
    calls = Calls()

    status = run_pooled(every_backend, graph.build(calls), instance_id, graph.input, workers=workers, slots=slots)

    assert (status.output, status.error, len(calls.seen)) == (graph.output, None, graph.tasks)
