"""A workflow that a server runs: a program of one line, launched when there is something to do, and not before.

While the order waits for its approval, there is no process. `runtara flow show` and the console show where it is.
"""

import random
from typing import Any

from runtara.sdk import durable
from runtara.sdk.flow import Flow, run_program, task


@durable
def book(item: str) -> str:
    """Ask for a number: a step inside a task, which a second try of the task finds done."""
    number = f"booking {random.randint(1, 9)} of {item}"
    print(number, flush=True)
    return number


@task(retries=3)
def reserve(order: dict[str, Any]) -> str:
    """Take the goods out of the stock; tried again if the warehouse does not answer."""
    return f"shelf for {book(order['item'])}"


def ship(_: Any) -> str:
    """Send the parcel."""
    return "shipped"


def undo(_: Any) -> str:
    """Give everything back."""
    return "refunded"


def decide(answer: dict[str, Any] | None) -> str:
    """Ship what was approved in time, and undo everything else."""
    return "ship" if answer is not None and answer["approved"] else "undo"


order = (
    Flow("order")
    .then(reserve)
    .wait_for_signal("approval", timeout="48h")
    .route(decide, keys=["ship", "undo"])
    .branch("ship", ship)
    .branch("undo", undo)
    .done()
    .build()
)

if __name__ == "__main__":
    run_program(order)

# Session:
# $ runtara start 15_flow_under_serve.py --id order-7 --input '{"item": "lamp"}'
# order-7
# $ runtara signal order-7 approval --payload '{"approved": true}' --wait
# {"branch":"ship","result":"shipped"}
# $ runtara flow show order-7
# order: completed
#   ✓ reserve · done
#   ✓ approval · signal approval, at most 48h · done
#   ✓ branch_0 · route · done
#       ✓ ship · done
#       – undo · skipped
# $ runtara logs order-7
# booking ... of lamp
# $ runtara flow draw 15_flow_under_serve.py --mermaid
# flowchart TD
#     n0(["order"])
# ...
