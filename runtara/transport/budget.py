"""Memory that all connections of a server share: who holds how much, and who waits for room for a large frame."""

from collections.abc import Callable
from typing import Final

__all__ = ["FAIR_BYTES", "Budget"]

FAIR_BYTES: Final = 256 * 1024
"""What a connection may hold even where everything else is taken."""


class Budget:
    """So many bytes for all. Those who wait are served in their order."""

    def __init__(self, limit: int) -> None:
        self.limit: Final = limit
        self.used = 0
        self._waiting: dict[Callable[[], None], int] = {}

    def change(self, difference: int) -> None:
        """Take note that more is held, or (negative) less; the latter lets in who waits and fits."""
        self.used += difference
        if difference < 0 and self._waiting:
            self._admit()

    def is_over(self, own: int) -> bool:
        """Whether too much is held by all together, and by one connection that holds `own` more than its fair share."""
        return self.used > self.limit and own > FAIR_BYTES

    def reserve(self, size: int, admitted: Callable[[], None]) -> bool:
        """Take room for a frame if there is some; else have `admitted` called once it has been taken, later."""
        if not self._waiting and self._fits(size):
            self.used += size
            return True
        self._waiting[admitted] = size
        return False

    def withdraw(self, admitted: Callable[[], None]) -> None:
        """Wait no more; harmless for who does not wait."""
        if self._waiting.pop(admitted, None) is not None:
            self._admit()

    def _fits(self, size: int) -> bool:
        return self.used + size <= self.limit or self.used == 0

    def _admit(self) -> None:
        while self._waiting:
            admitted, size = next(iter(self._waiting.items()))
            if not self._fits(size):
                return
            del self._waiting[admitted]
            self.used += size
            admitted()
