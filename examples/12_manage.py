"""Manage the orders of 11_orders.py from Python: the client does whatever a server can be asked for.

It talks to the server on this machine. `Management.connect("host:8001", key=...)` is the way to another one, and
`Management.from_context()` to one that `runtara login` knows.
"""

from datetime import UTC, datetime
from pathlib import Path

from runtara.errors import DeadlineExceeded
from runtara.lifecycle import Status
from runtara.sdk.management import Management, new_start

ORDERS = Path(__file__).resolve().with_name("11_orders.py")


def main() -> None:
    """Take some orders."""
    with Management.local() as manage:
        manage.start(str(ORDERS), {"euros": 950}, instance_id="order-1")
        try:
            manage.wait_for_completion("order-1", timeout=0.1)
        except DeadlineExceeded:
            print("order-1 waits for its money")
        manage.signal("order-1", "paid", "by card")
        manage.wait_for_completion("order-1", timeout=60)
        print(manage.output("order-1"))

        print(manage.run(str(ORDERS), {"euros": 0}, instance_id="order-2", wait=60).error)
        print(manage.retry("order-2").instance_id, "is tried with the same input")
        manage.fork("order-2", "order-3", input={"euros": 7})
        print(manage.stop("order-3", grace=1, timeout=60).status)

        image = manage.push_image("orders", ORDERS)
        manage.start_many({f"bulk-{euros}": new_start("orders", {"euros": euros}, image=True) for euros in (1, 2, 3)})
        print(f"{image.name}@{image.version} runs", len(list(manage.list_instances(image="orders"))), "instances")
        manage.signal_many("cancel", prefix="bulk-", grace=1)
        print({manage.wait_for_completion(f"bulk-{euros}", 60).status.value for euros in (1, 2, 3)})

        planned = manage.put_schedule("nightly", new_start("orders", image=True), cron="30 3 * * *")
        print("next start at", datetime.fromtimestamp((planned.next_at or 0) / 1000, UTC).strftime("%H:%M"))
        manage.delete_schedule("nightly")
        print("failed:", [row.instance_id for row in manage.list_instances(status=Status.FAILED, prefix="order-2")][:1])


if __name__ == "__main__":
    main()

# Session:
# $ python 12_manage.py
# order-1 waits for its money
# {'euros': 950, 'paid': 'by card'}
# ValueError: an order must cost something
# order-2.r1 is tried with the same input
# cancelled
# orders@1 runs 3 instances
# {'cancelled'}
# next start at 03:30
# failed: ['order-2']
