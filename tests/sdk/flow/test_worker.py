"""Workers: every graph of the suite through pools of them, and what they promise beside."""

import pytest

from runtara.sdk.flow import (
    Backend,
)
from tests.sdk.flow.graphs import GRAPHS, Calls, Graph
from tests.sdk.flow.pools import run_pooled

graphs = pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)


@graphs
@pytest.mark.parametrize(("workers", "slots"), [(1, 1), (4, 1), (1, 4)])
def test_a_pool_comes_to_the_same_as_every_other_runner(
    graph: Graph, workers: int, slots: int, every_backend: Backend, instance_id: str
) -> None:
    calls = Calls()

    status = run_pooled(every_backend, graph.build(calls), instance_id, graph.input, workers=workers, slots=slots)

    assert (status.output, status.error, len(calls.seen)) == (graph.output, None, graph.tasks)
