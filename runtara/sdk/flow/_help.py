"""How a worker runs a single task for the one who leads its instance."""

import msgspec

from runtara.messages import TaskClaim
from runtara.sdk._bodies import Outcome
from runtara.sdk._scopes import Scope
from runtara.sdk._types import RetryConfig
from runtara.sdk._words import text_of
from runtara.sdk.aio import AsyncRuntaraSdk
from runtara.sdk.flow._faces import TryTask
from runtara.sdk.flow._nodes import Task
from runtara.sdk.flow._programs import Served
from runtara.sdk.flow._tries import Bench, Tries
from runtara.sdk.flow._walk import RunTask
from runtara.sdk.flow._wire import Try, read_try, write_outcome
from runtara.sdk.flow.backend import Backend
from runtara.sdk.flow.context import TaskExecutionContext
from runtara.sdk.flow.errors import WorkflowError

__all__ = ["help_out"]


async def help_out(backend: Backend, served: Served, claim: TaskClaim, bench: Bench) -> bytes:
    """Run a claimed task once; return what came of it, for the one who leads."""
    try:
        one = read_try(claim.payload)
        task = served.task_at(one.place)
    except (msgspec.MsgspecError, WorkflowError) as error:
        return write_outcome(Outcome(error=WorkflowError(str(error))), RetryConfig(never_on=(WorkflowError,)))
    door = backend.open_door(claim.instance_id, one.epoch, beats=False)  # who leads says that the instance lives
    sdk = AsyncRuntaraSdk(door, backend.clock)
    policy = task.spec.metadata.retries
    config = RetryConfig() if policy is None else policy.config
    try:
        return write_outcome(await Tries(sdk, bench).run(_wish(served, task, one, sdk)), config)
    except Exception as error:  # noqa: BLE001 - who leads is to know; a task that is odd beyond telling ends no worker
        return write_outcome(Outcome(error=WorkflowError(text_of(error))), config)
    finally:
        sdk.close()


def _wish(served: Served, task: Task, one: Try, sdk: AsyncRuntaraSdk) -> TryTask:
    context = TaskExecutionContext(
        workflow_id=served.workflow.name,
        instance_id=sdk.instance_id,
        task_id=one.place,
        attempt=one.attempt,
        metadata=task.spec.metadata,
        workflow_metadata=served.workflow.metadata,
    )
    wish = RunTask(one.place, task, one.value, of_loop=one.of_loop)
    return TryTask(served.workflow.codec, wish, Scope(sdk, f"{one.step}/"), context)
