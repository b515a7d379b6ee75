"""Pools for the tests: some workers of one backend, on threads of their own, that go home at the end."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any

from runtara.sdk.flow import Backend, PooledWorker, Workflow, WorkflowClient, WorkflowStatus

__all__ = ["A_WHILE", "pool", "run_pooled"]

A_WHILE = 30.0
"""Seconds after which a test has hung."""

_numbers = count(1)


@contextmanager
def pool(
    backend: Backend, workflows: Iterable[Workflow[Any, Any]], *, workers: int = 1, slots: int = 1, **options: Any
) -> Iterator[WorkflowClient]:
    """Have so many workers work on a backend; the way to submit something comes with it."""
    known = tuple(workflows)
    with ExitStack() as stack:
        for _ in range(workers):
            worker = PooledWorker(
                f"worker-{next(_numbers)}", backend, max_concurrent_tasks=slots, **{"claim_ttl": 30, **options}
            )
            stack.enter_context(worker.spawn(known))
        yield WorkflowClient(backend)


def run_pooled(
    backend: Backend, workflow: Workflow[Any, Any], instance_id: str, value: Any, **options: Any
) -> WorkflowStatus:
    """Submit a workflow, and have a pool of its own bring it to its end."""
    with pool(backend, [workflow], **options) as client:
        client.submit(workflow, instance_id, value)
        return client.wait(instance_id, A_WHILE)
