"""A workflow with a bit of everything, as a program: what its instances are called is the title of its first node."""

from collections.abc import Callable
from typing import Any

from runtara.sdk.flow import Flow, LoopResult, RetryPolicy, run_program, task

EVIL = "<img src=x onerror=window.pwned=1>"


def again(count: int) -> LoopResult[int]:
    """Go round three times."""
    return LoopResult.Again(count + 1) if count < 3 else LoopResult.Done(count)


def named(name: str, **options: Any) -> Callable[[Any], Any]:
    """Return a task that changes nothing."""

    @task(name, **options)
    def same(value: Any) -> Any:
        return value

    return same


@task(retries=RetryPolicy(max_retries=5, initial_delay_secs=600))
def pack(_: Any) -> None:
    """Fail, and wait long before the next try."""
    raise OSError("there is no more tape")


inner = Flow("deliver").then(named("label")).delay("rest", "50ms").build()
flow = (
    Flow("parcel")
    .then(named("weigh", display_name=EVIL))
    .fork()
    .branch(named("price"))
    .branch(named("route"), named("book"), name="carrier")
    .join(lambda done: 1, name="join")
    .loop(again, name="poll")
    .wait_for_signal("approval", timeout="48h")
    .route(lambda answer: answer["way"])
    .branch("post", named("stamp"))
    .branch("box", pack)
    .done()
    .then_flow(inner)
    .build()
)

if __name__ == "__main__":
    run_program(flow)
