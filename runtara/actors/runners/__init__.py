"""Runners: where programs are launched, and how they are found again, stopped and read.

The contract is for every system; what implements it here is for Linux only and is imported by name.
"""

from runtara.actors.runners._contract import (
    Attempt,
    Ended,
    Engine,
    HostFailed,
    Plan,
    PlannedImage,
    Prepare,
    Prepared,
)

__all__ = ["Attempt", "Ended", "Engine", "HostFailed", "Plan", "PlannedImage", "Prepare", "Prepared"]
