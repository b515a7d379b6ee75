"""Who may have how many connections, and who makes room for newcomers where all places are taken."""

from collections import Counter
from collections.abc import Callable

__all__ = ["Places"]


class Places:
    """The places for connections: so many in all, and so many for each party (None: for whom none are counted).

    Whoever has a place and waits for nothing is sent away for a newcomer, the one that has been so for longest first.
    """

    def __init__(self, total: int, per_party: int) -> None:
        self.taken = 0
        self.evicted = 0
        """How many were sent away for others."""
        self._total = total
        self._per_party = per_party
        self._crowds: Counter[str] = Counter()
        self._idle: dict[object, Callable[[], None]] = {}

    def take(self, party: str | None) -> bool:
        """Take a place; False if there is none."""
        if party is not None and self._crowds[party] >= self._per_party:
            return False
        if self.taken >= self._total and not self._evict():
            return False
        self.taken += 1
        if party is not None:
            self._crowds[party] += 1
        return True

    def leave(self, party: str | None) -> None:
        """Give a place back."""
        self.taken -= 1
        if party is not None:
            self._crowds[party] -= 1
            if not self._crowds[party]:
                del self._crowds[party]

    def rests(self, who: object, send_away: Callable[[], None]) -> None:
        """Take note that somebody waits for nothing, and how to send him away."""
        self._idle[who] = send_away

    def works(self, who: object) -> None:
        """Take note that somebody waits for something, or has gone; harmless when repeated."""
        self._idle.pop(who, None)

    def _evict(self) -> bool:
        """Send one away, whose place will be free in a moment."""
        if not self._idle:
            return False
        self._idle.pop(next(iter(self._idle)))()
        self.evicted += 1
        return True
