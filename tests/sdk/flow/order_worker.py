"""A worker in a process of its own: `python -m tests.sdk.flow.order_worker ADDRESS CA_FILE NAME`.

It takes up orders, and says what it begins and ends, until its standard input is closed.
"""

import sys

from runtara.sdk.flow import PooledWorker, RemoteBackend
from tests.sdk.flow.orders import ORDER, say

LEASE = 1.0


def main(address: str, ca_file: str, name: str) -> None:
    """Work until nobody holds the other end of the standard input."""
    with RemoteBackend(address, ca_file=ca_file) as backend:
        worker = PooledWorker(name, backend, [ORDER], claim_ttl=LEASE, max_concurrent_tasks=1)
        with worker.spawn():
            say("ready")
            sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
