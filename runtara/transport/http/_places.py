"""Who may have how many connections."""

from collections import Counter

__all__ = ["Places"]


class Places:
    """The places for connections: so many in all, and so many for each party (None: for whom none are counted)."""

    def __init__(self, total: int, per_party: int) -> None:
        self._total = total
        self._per_party = per_party
        self._crowds: Counter[str] = Counter()
        self.taken = 0

    def take(self, party: str | None) -> bool:
        """Take a place; False if there is none."""
        if self.taken >= self._total or (party is not None and self._crowds[party] >= self._per_party):
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
