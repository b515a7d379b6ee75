"""How a system as a whole answers: what its actors are doing, and whether it serves."""

from collections.abc import Callable

import msgspec

from runtara import __version__
from runtara.actors._system import System
from runtara.clock import monotonic
from runtara.messages import GetHealth, GetTree, HealthFound, TreeFound

__all__ = ["answers_of"]


def answers_of(system: System, is_draining: Callable[[], bool]) -> dict[type, Callable[[], object]]:
    """Return the function that answers each question; its uptime counts from now."""
    began = monotonic()

    def find_tree() -> TreeFound:
        return TreeFound(msgspec.json.encode(system.inspect()))

    def find_health() -> HealthFound:
        uptime_ms = round((monotonic() - began) * 1000)
        return HealthFound(version=__version__, uptime_ms=uptime_ms, draining=is_draining())

    return {GetTree: find_tree, GetHealth: find_health}
