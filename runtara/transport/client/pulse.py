"""Whether the server at the other end is still there: judged by how long nothing was heard. No I/O.

QUIC itself would notice only after its idle time-out, and a server that was killed and started again knows nothing of
the old connection and does not answer.
"""

from math import inf
from typing import Final

__all__ = ["ASK_AFTER", "DEAD_AFTER", "KEEP_ALIVE", "LATE_AFTER", "Pulse"]

KEEP_ALIVE: Final = 10.0
"""Seconds of silence after which an idle connection is tried."""

ASK_AFTER: Final = 0.5
"""Seconds of silence after which a server that owes an answer is asked whether it is there."""

DEAD_AFTER: Final = 2.5
"""Seconds of silence after which a server that owes an answer, or a sign of life, is taken for gone."""


LATE_AFTER: Final = 0.5
"""Seconds by which a look comes late where this side has stood still: then it could not hear the server either."""


class Pulse:
    """When something was heard, and since when something is awaited."""

    def __init__(self, now: float) -> None:
        self._heard_at = now
        self._awaits_since: float | None = None
        self._asked = False
        self._was_late = False
        """Whether this side has stood still since something was heard."""

    def heard(self, now: float, *, owed: bool) -> None:
        """Take note of a sign of life; `owed` says whether the server still owes an answer."""
        self._heard_at = now
        self._awaits_since = now if owed else None
        self._asked = self._was_late = False

    def awaits(self, now: float) -> None:
        """Take note that something was sent to which the server must respond."""
        if self._awaits_since is None:
            self._awaits_since = now

    def asked(self, now: float) -> None:
        """Take note that the server was asked whether it is there."""
        self._asked = True
        self.awaits(now)

    def should_ask(self, now: float) -> bool:
        """Whether it is time to ask."""
        return not self._asked and now >= self._ask_at

    def looked(self, now: float) -> None:
        """Take note that somebody looks. Where that comes late, the server has its time anew, once until heard."""
        if now >= self._dead_at + LATE_AFTER and not self._was_late:
            self._was_late, self._asked, self._awaits_since = True, False, now

    def is_dead(self, now: float) -> bool:
        """Whether the server is to be taken for gone."""
        return now >= self._dead_at

    @property
    def alarm(self) -> float:
        """When to look again."""
        return self._dead_at if self._asked else min(self._ask_at, self._dead_at)

    @property
    def _ask_at(self) -> float:
        return self._heard_at + KEEP_ALIVE if self._awaits_since is None else self._awaits_since + ASK_AFTER

    @property
    def _dead_at(self) -> float:
        return inf if self._awaits_since is None else self._awaits_since + DEAD_AFTER
