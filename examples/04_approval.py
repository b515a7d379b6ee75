"""Pay an invoice once somebody has approved it: a program that waits for a human.

It waits for a signal called `approval` for as long as it takes, without a process: after a while it parks, and the host
launches it again when the signal is there, or when a week has passed.
"""

import json
from datetime import timedelta

from runtara.sdk import RuntaraSdk, durable


@durable
def pay(invoice: str, euros: float) -> str:
    """Pay; as a durable step, so that no crash makes it happen twice once it was acknowledged."""
    print(f"paying {euros:.2f} € for {invoice}", flush=True)
    return f"receipt for {invoice}"


def main() -> None:
    """Wait for the approval and act upon it."""
    with RuntaraSdk.from_env() as sdk:
        invoice = json.loads(sdk.load_input() or b"{}")
        answer = sdk.wait_for_signal("approval", timeout=timedelta(days=7))
        if answer is None:
            sdk.failed("nobody has approved the invoice within a week")
        elif json.loads(answer.payload)["approved"]:
            sdk.completed(pay(invoice["number"], invoice["euros"]).encode())
        else:
            sdk.completed(b"rejected")


if __name__ == "__main__":
    main()

# Session:
# $ runtara start 04_approval.py --id invoice-7 --input '{"number": "2026-7", "euros": 950}'
# invoice-7
# $ runtara signal invoice-7 approval --payload '{"approved": true}' --wait
# receipt for 2026-7
# $ runtara logs invoice-7
# paying 950.00 € for 2026-7
