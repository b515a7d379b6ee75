"""How long the event loop is busy at a stretch: whatever comes meanwhile, a datagram or a time-out, waits so long.

For a process whose loop is the system's own, as that of a host; in somebody else's loop it would count his work.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import trio
from trio.abc import Instrument

from runtara.clock import monotonic
from runtara.metrics import Metrics, Tally

__all__ = ["metering_loop"]


class _LoopMeter(Instrument):
    """Looks at the clock when the loop begins to wait for something to happen, and when it has ended to."""

    def __init__(self, turns: Tally) -> None:
        self._turns = turns
        self._began: float | None = None

    def after_io_wait(self, timeout: float) -> None:
        self._began = monotonic()

    def before_io_wait(self, timeout: float) -> None:
        if self._began is not None:
            self._turns.observe(monotonic() - self._began)


@contextmanager
def metering_loop(metrics: Metrics) -> Iterator[None]:
    """Take note of every turn of this loop while the block lasts."""
    meter = _LoopMeter(metrics.tally("runtara_loop_turn_seconds"))
    trio.lowlevel.add_instrument(meter)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(meter)
