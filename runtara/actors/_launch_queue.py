"""The queue of instances that are due and wait for their turn.

Each tenant has a row of its own, oldest first, and the rows take turns: whoever has thousands waiting delays nobody who
has one. It knows no clock and wakes nobody.
"""

from collections import OrderedDict
from typing import Final

from runtara.ids import InstanceKey
from runtara.store import DueInstance

__all__ = ["LaunchQueue"]


class LaunchQueue:
    """Due instances, each once."""

    def __init__(self) -> None:
        self._rows: Final[OrderedDict[str, OrderedDict[InstanceKey, int]]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: InstanceKey) -> bool:
        return key in self._rows.get(key.tenant_id, ())

    def put(self, due: DueInstance) -> None:
        """Add an instance at the end of its tenant's row; one that is there already keeps its turn."""
        row = self._rows.setdefault(due.key.tenant_id, OrderedDict())
        self._count += due.key not in row
        row[due.key] = due.wake_at

    def take(self) -> DueInstance:
        """Remove and return whose turn it is. Raises `KeyError` if nobody waits."""
        tenant_id, row = self._rows.popitem(last=False)
        key, wake_at = row.popitem(last=False)
        self._count -= 1
        if row:
            self._rows[tenant_id] = row
        return DueInstance(wake_at, key)

    def discard(self, key: InstanceKey) -> None:
        """Remove an instance, if it waits."""
        row = self._rows.get(key.tenant_id, OrderedDict())
        if row.pop(key, None) is not None:
            self._count -= 1
            if not row:
                del self._rows[key.tenant_id]
