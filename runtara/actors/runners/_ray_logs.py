"""The ends of what attempts have written that are over: kept in memory, for the instances that ended last."""

from collections import OrderedDict
from typing import Final, TypeAlias

from runtara.ids import InstanceKey

__all__ = ["INSTANCES", "TAIL_BYTES", "LogTails", "Tails"]

TAIL_BYTES: Final = 256 * 1024
"""How much of each stream is kept."""
INSTANCES: Final = 128
"""Of how many instances."""

Tails: TypeAlias = dict[str, tuple[int, bytes]]
"""The end of each stream: the number of its first byte, and the bytes."""


class LogTails:
    """The ends of the streams of instances that have no attempt now."""

    def __init__(self) -> None:
        self._kept: Final[OrderedDict[InstanceKey, Tails]] = OrderedDict()

    def keep(self, key: InstanceKey, tails: Tails) -> None:
        """Keep these, and let go of those that were kept for the longest time if there are too many."""
        self._kept[key] = tails
        self._kept.move_to_end(key)
        while len(self._kept) > INSTANCES:
            self._kept.popitem(last=False)

    def of(self, key: InstanceKey) -> Tails:
        """Return what is kept; a next attempt goes on behind it."""
        return self._kept.get(key, {})

    def read(self, key: InstanceKey, stream: str, offset: int, limit: int) -> tuple[bytes, int]:
        """Return at most `limit` bytes from `offset` on (negative: counted from the end), and where they begin."""
        start, data = self.of(key).get(stream, (0, b""))
        end = start + len(data)
        if offset < 0:
            offset = max(0, end + offset)
        at = max(offset, start)
        return (data[at - start :][:limit], at) if at < end else (b"", offset)
