"""How much a tenant gets done, second by second, as far as this process stores it: rates, and how long commits take."""

from collections import deque
from typing import Final

import msgspec

from runtara.lifecycle import FINAL
from runtara.messages import MetricsBucket
from runtara.records import Event
from runtara.store import Save

__all__ = ["COMMITS_MAX", "Meter", "Throughput", "is_transition"]

COMMITS_MAX: Final = 10_000
"""Most commits whose times are remembered."""

_REMEMBERED_S: Final = 5.0
"""For how long a commit's time counts."""


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """What a chart needs to go on by one second; the first fields are those of the current minute's `MetricsBucket`."""

    at: int
    started: int
    completed: int
    failed: int
    cancelled: int
    average_ms: int | None
    max_ms: int | None
    now: int
    """Milliseconds since 1970 UTC."""
    transitions: float
    """Stored changes per second."""
    checkpoints: float
    """Likewise, as the next two."""
    starts: float
    finishes: float
    commit_p50_ms: float | None
    """How long commits took in the last seconds: half of them longer; None where there were none."""
    commit_p99_ms: float | None
    """Likewise: one of a hundred longer."""


class Meter:
    """Counts what is stored of one tenant from one look to the next."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._counts = [0, 0, 0, 0]
        self._commits: deque[tuple[float, float]] = deque(maxlen=COMMITS_MAX)

    def add(self, save: Save) -> None:
        """Count a change."""
        row, counts = save.instance, self._counts
        counts[0] += 1
        counts[1] += len(save.checkpoints)
        counts[2] += save.inserts
        counts[3] += row.status in FINAL and any(is_transition(event) for event in save.events)

    def committed(self, now: float, seconds: float) -> None:
        """Note how long a commit has taken that changed something of the tenant's."""
        self._commits.append((now, seconds))

    def look(self, now: float, now_ms: int, minute: MetricsBucket) -> Throughput:
        """Return what was counted since the last look, and begin anew."""
        span = max(now - self._since, 1e-3)
        rates = [round(count / span, 2) for count in self._counts]
        self._since, self._counts = now, [0, 0, 0, 0]
        while self._commits and self._commits[0][0] < now - _REMEMBERED_S:
            self._commits.popleft()
        times = sorted(seconds for _, seconds in self._commits)
        return Throughput(
            **msgspec.structs.asdict(minute),
            now=now_ms,
            transitions=rates[0],
            checkpoints=rates[1],
            starts=rates[2],
            finishes=rates[3],
            commit_p50_ms=_quantile(times, 0.50),
            commit_p99_ms=_quantile(times, 0.99),
        )


def is_transition(event: Event) -> bool:
    """Whether an event says that an instance stands elsewhere now, or may."""
    return event.type not in _BESIDES


_BESIDES: Final = frozenset({"custom", "signal-sent", "signal-acknowledged", "usage"})
"""Events beside which an instance stays where it is, unless another one says otherwise."""


def _quantile(times: list[float], share: float) -> float | None:
    """Return the time that this share of the others does not exceed, in milliseconds."""
    return round(times[min(len(times) - 1, int(len(times) * share))] * 1000, 3) if times else None
