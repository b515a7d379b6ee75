"""Take orders: a program to manage, from the command line here, and from Python in 12_manage.py.

It waits until its order is paid, and fails where that makes no sense.
"""

import json

from runtara.sdk import RuntaraSdk


def main() -> None:
    """Wait for the money."""
    with RuntaraSdk.from_env() as sdk, sdk.program() as program:
        order = json.loads(sdk.load_input() or b'{"euros": 0}')
        sdk.checkpoint("accepted", b"")
        if order["euros"] <= 0:
            raise ValueError("an order must cost something")
        paid = sdk.wait_for_signal("paid")
        program.output = order | {"paid": json.loads(paid.payload) if paid else None}


if __name__ == "__main__":
    main()

# Session:
# $ runtara start 11_orders.py --id order-1 --input '{"euros": 950}'
# order-1
# $ runtara signal order-1 paid --payload '"by card"' --wait
# {"euros":950,"paid":"by card"}
# $ runtara start 11_orders.py --id order-2 --input '{"euros": 0}' --wait || echo "exit code $?"
# exit code 1
# $ runtara fork order-2 order-3 --input '{"euros": 7}'
# order-3
# $ runtara stop order-3 --grace 1 --wait || echo "exit code $?"
# exit code 5
# $ runtara ps --prefix order- --json | grep -o '"status":"[a-z]*"'
# "status":"completed"
# "status":"failed"
# "status":"cancelled"
