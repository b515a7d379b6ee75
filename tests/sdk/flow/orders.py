"""An order as a workflow, run by a process that may be killed: `python -m tests.sdk.flow.orders FOLDER`.

It says on its standard output what it begins and what it has done, so that whoever watches can kill it in between.
"""

import sys
from typing import Any

from runtara.sdk.flow import BackendError, CheckpointingRunner, Flow, SqliteBackend, WorkflowClient, task


def say(*words: object) -> None:
    """Say something at once, in one piece: branches speak at the same time."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def noted(name: str, result: Any) -> Any:
    """Return a task that says when it begins and when it ends."""

    @task(name)
    def run(_: Any) -> Any:
        say("begin", name)
        say("end", name)
        return result

    return run


ORDER = (
    Flow("order")
    .fork()
    .branch(noted("reserve", "shelf"), noted("label", "label"))
    .branch(noted("charge", "receipt"))
    .join(lambda outputs: outputs, name="prepared")
    .wait_for_signal("approval", timeout="10m")
    .route(lambda answer: "ship" if answer["approved"] else "undo", keys=["ship", "undo"])
    .branch("ship", noted("ship", "shipped"))
    .branch("undo", noted("unlabel", None), noted("refund", "refunded"))
    .done()
    .build()
)


def main(folder: str, *, approved: bool) -> None:
    """Run the order, or go on with it, and say what came of it."""
    with SqliteBackend(folder) as backend:
        runner, client = CheckpointingRunner(backend), WorkflowClient(backend)
        try:
            status = runner.resume(ORDER, "order-1")
        except BackendError:
            status = runner.run(ORDER, "order-1", {"item": "lamp"})
        say("stands", status.status)
        if status.is_awaiting_signal:
            client.send_signal("order-1", "approval", {"approved": approved})
            say("sent")
            status = runner.resume(ORDER, "order-1")
        say("came to", status.output)


if __name__ == "__main__":
    main(sys.argv[1], approved=sys.argv[2] == "yes")
