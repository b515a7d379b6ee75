"""A run that is kept nowhere: what its wishes mean where everything is over with the process."""

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from runtara.sdk._bodies import Outcome
from runtara.sdk._flows import Flow
from runtara.sdk._scopes import Scope
from runtara.sdk._steps import PermanentError
from runtara.sdk.flow._faces import TryTask
from runtara.sdk.flow._failures import failed
from runtara.sdk.flow._walk import AwaitSignal, Rest, RunTask
from runtara.sdk.flow.context import TaskExecutionContext
from runtara.sdk.flow.errors import WorkflowError
from runtara.sdk.flow.workflow import Workflow
from runtara.threads import pause

__all__ = ["Transient"]


class _Pause(NamedTuple):
    """Wait so many seconds."""

    seconds: float


class Transient:
    """Does what the walks of one run wish for; `random` spreads the waits before another try."""

    def __init__(self, workflow: Workflow[Any, Any], random: Callable[[], float]) -> None:
        self._workflow = workflow
        self._random = random

    def flow_of(self, wish: Any) -> Flow[Any]:
        """Return how a wish is done."""
        if wish.__class__ is RunTask:
            return self._run_task(wish)
        return _rest(wish) if wish.__class__ is Rest else _await_signal(wish)

    def perform_blocking(self, wish: _Pause) -> None:
        """Wait, blocking the thread."""
        threading.Event().wait(wish.seconds)

    async def perform(self, wish: _Pause) -> None:
        """Wait, awaiting it."""
        await pause(wish.seconds)

    def _run_task(self, wish: RunTask) -> Flow[bytes]:
        config = wish.task.spec.metadata.tries
        attempt = 0
        while True:
            attempt += 1
            outcome: Outcome = yield self._try(wish, attempt)
            error = outcome.error
            if error is None:
                value: bytes = outcome.value
                return value
            again = config.is_tried_again(error) and not isinstance(error, PermanentError)
            if not again or attempt > config.max_retries:
                raise failed(wish.place, error, attempt)
            yield _Pause(config.delay_after(error, attempt, self._random).total_seconds())

    def _try(self, wish: RunTask, attempt: int) -> TryTask:
        context = TaskExecutionContext(
            workflow_id=self._workflow.name,
            instance_id="",
            task_id=wish.place,
            attempt=attempt,
            metadata=wish.task.spec.metadata,
            workflow_metadata=self._workflow.metadata,
        )
        return TryTask(self._workflow.codec, wish, Scope(self, f"{wish.place}/"), context)


def _rest(wish: Rest) -> Flow[None]:
    yield _Pause(wish.duration.total_seconds())


def _await_signal(wish: AwaitSignal) -> Flow[None]:
    if wish.timeout is None:
        raise WorkflowError(
            f"{wish.place} waits for signal {wish.name!r}, which nobody can send to a run that is not kept: "
            "use a CheckpointingRunner, or give it a timeout"
        )
    yield _Pause(wish.timeout.total_seconds())
