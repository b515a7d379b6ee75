"""An order as a workflow: reserve and charge at once, wait for an approval, ship; or undo what was done.

It may be killed anywhere: `resume` goes on from there, and nothing that was done is done again.
"""

from typing import Any

from runtara.sdk.flow import CheckpointingRunner, Flow, RetryPolicy, SqliteBackend, WorkflowClient, task


@task(retries=RetryPolicy(max_retries=3, initial_delay_secs=0.1))
def reserve(order: dict[str, Any]) -> str:
    """Take the goods out of the stock; tried again if the warehouse does not answer."""
    print(f"reserved {order['item']}")
    return f"shelf of {order['item']}"


@task(timeout="30s")
def charge(order: dict[str, Any]) -> str:
    """Take the money."""
    print(f"charged {order['euros']} €")
    return f"receipt over {order['euros']} €"


def ship(done: dict[str, Any]) -> str:
    """Send the parcel."""
    print("shipped")
    return "shipped"


def refund(done: dict[str, Any]) -> str:
    """Give back the money and the goods: the compensation of what was done."""
    print("refunded, and back on the shelf")
    return "refunded"


def decide(answer: dict[str, Any] | None) -> str:
    """Ship what was approved in time, and undo everything else."""
    return "ship" if answer is not None and answer["approved"] else "undo"


order = (
    Flow("order")
    .fork()
    .branch(reserve)
    .branch(charge)
    .join(lambda done: done, name="prepared")
    .wait_for_signal("approval", timeout="48h")
    .route(decide, keys=["ship", "undo"])
    .branch("ship", ship)
    .branch("undo", refund)
    .done()
    .build()
)

with SqliteBackend("orders") as backend:
    runner, client = CheckpointingRunner(backend), WorkflowClient(backend)
    print(runner.run(order, "order-7", {"item": "lamp", "euros": 40}).status)
    client.send_signal("order-7", "approval", {"approved": True})
    print(runner.resume(order, "order-7").output)

# Output:
# ...
# awaiting_signal
# shipped
# {'branch': 'ship', 'result': 'shipped'}
