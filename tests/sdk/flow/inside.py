"""A workflow whose tasks use the SDK, run by a process that may be killed: `python -m tests.sdk.flow.inside FOLDER`.

It says what it begins and what it has done, so that whoever watches can kill it in between.
"""

import sys
from typing import Any, cast

from runtara.sdk import AsyncRuntaraSdk, RuntaraSdk, durable, sdk
from runtara.sdk.flow import (
    BackendError,
    CheckpointingRunner,
    Flow,
    RetryPolicy,
    SqliteBackend,
    get_task_context,
    task,
)
from tests.sdk.flow.orders import say

TRY_AGAIN = RetryPolicy(max_retries=1, initial_delay_secs=0.001)


@durable(max_retries=0)
def step(name: str) -> str:
    """Do something that must not be done twice."""
    say("begin", name)
    say("end", name)
    return name


@durable(max_retries=0)
async def step_async(name: str) -> str:
    """Do the same, awaited."""
    say("begin", name)
    say("end", name)
    return name


def fail_once() -> None:
    """Fail in the first try of a task."""
    context = get_task_context()
    assert context is not None
    if context.attempt == 1:
        say("fails")
        raise OSError("try again")


@task(retries=TRY_AGAIN)
def plain(_: Any) -> str:
    """Two steps with a sleep and a signal between them, and then a failure: the second try finds all of them done."""
    own = cast(RuntaraSdk, sdk())
    first = step("one")
    own.sleep(0.001, "nap")
    own.send_custom_signal(own.instance_id, "word", b"go")
    signal = own.wait_for_signal("word")
    say("heard", signal and signal.payload.decode())
    second = step("two")
    fail_once()
    return first + second


@task(retries=TRY_AGAIN)
async def awaited(_: Any) -> str:
    """Do the same, as an async task of a runner that blocks."""
    own = cast(AsyncRuntaraSdk, sdk())
    first = await step_async("three")
    await own.sleep(0.001, "doze")
    second = await step_async("four")
    fail_once()
    return first + second


INSIDE = Flow("inside").fork().branch(plain).branch(awaited).join(lambda done: done, name="both").build()


def main(folder: str) -> None:
    """Run it, or go on with it, and say what came of it."""
    with SqliteBackend(folder) as backend:
        runner = CheckpointingRunner(backend)
        try:
            status = runner.resume(INSIDE, "inside-1")
        except BackendError:
            status = runner.run(INSIDE, "inside-1", None)
        say("came to", status.output or status.error)


if __name__ == "__main__":
    main(sys.argv[1])
