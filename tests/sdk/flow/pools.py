"""Pools for the tests: some workers of one backend, on threads of their own, that go home at the end."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from typing import Any, Self

import trio

from runtara.sdk._drive import drive_blocking
from runtara.sdk._wishes import await_push, perform_blocking
from runtara.sdk.flow import Backend, PooledWorker, Workflow, WorkflowClient, WorkflowStatus
from tests.sdk.flow.crashing import Crash

__all__ = ["A_WHILE", "Mortal", "pool", "run_pooled", "wait_until"]

A_WHILE = 100.0
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


class Mortal:
    """A worker that may die: with `with`, it goes home at the end if it has not."""

    def __init__(self, backend: Backend, workflows: Iterable[Workflow[Any, Any]], **options: Any) -> None:
        self._handle = PooledWorker(f"mortal-{next(_numbers)}", backend, **options).spawn(workflows)

    @property
    def is_dead(self) -> bool:
        """Whether it has ended."""
        return not self._handle.is_working

    async def wait_dead(self) -> None:
        """Return when it has ended, of whatever."""
        await trio.to_thread.run_sync(self.join, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))

    def join(self) -> None:
        """Return when it has ended, of whatever."""
        with suppress(BaseExceptionGroup, Crash):
            self._handle.join(A_WHILE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.shutdown()
        self.join()


def wait_until(backend: Backend, instance_id: str, holds: Callable[[WorkflowStatus], bool]) -> WorkflowStatus:
    """Look at an instance whenever something happens to it, until something holds."""
    door, client = backend.beside(instance_id, watch=True), WorkflowClient(backend)
    try:
        while True:
            since = door.session.pushes
            status = client.status(instance_id)
            if holds(status):
                return status
            drive_blocking(await_push(door, 0.5, since), perform_blocking)
    finally:
        door.close()
