"""What all tests share: what some test asks for first, without being blamed for leaving it running, and an order."""

import threading
from typing import Final

__all__ = ["LONG", "PROCESSES", "THREADS"]

PROCESSES: Final[set[int]] = set()
THREADS: Final[set[threading.Thread]] = set()

LONG: Final = (
    "tests/house/test_documentation.py",
    "tests/house/test_examples.py",
    "tests/reference/test_host_scenarios.py",
    "tests/crash/nodes/test_takeover.py",
    "tests/transport/client/test_door.py",
    "tests/crash/host/test_campaign.py",
    "tests/actors/runners/test_ray.py",
    "tests/doors/test_errors.py",
    "tests/store/test_postgres_faults.py",
    "tests/transport/http/test_schemathesis.py",
    "tests/sdk/flow/test_worker_deaths.py",
    "tests/sdk/flow/test_runner.py",
    "tests/transport/test_gate.py",
    "tests/store/test_conformance_lists.py",
    "tests/identity/test_matrix.py",
    "tests/transport/test_remote.py",
    "tests/sdk/flow/test_worker.py",
    "tests/test_host_nodes.py",
    "tests/sdk/test_aio.py",
    "tests/reference/test_scenarios.py",
    "tests/crash/nodes/test_clocks.py",
    "tests/store/test_transfer.py",
    "tests/doors/test_resends.py",
    "tests/examples/test_quickstart.py",
    "tests/actors/runners/test_oci_container.py",
    "tests/actors/runners/test_contract.py",
    "tests/examples/test_airports.py",
    "tests/actors/test_nodes.py",
    "tests/crash/test_campaign.py",
)
"""Files that take longest. They begin first, so that at the end no worker waits for one of them."""
