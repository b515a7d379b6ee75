"""The keys of tenants as all nodes of a store have them: a change is made here and in the store at once."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from runtara.clock import Clock
from runtara.messages import TenantKey
from runtara.store import Store
from runtara.transport.credentials import KeyRing
from runtara.transport.shared_files import SharedFiles

__all__ = ["SharedKeys"]

R = TypeVar("R")


class SharedKeys:
    """The keys in one data folder, and in the store that it shares with others. Everything here blocks."""

    def __init__(self, folder: Path, store: Store, clock: Clock | None = None) -> None:
        self.ring: Final = KeyRing(folder / "keys.json", clock)
        """Those of this folder: the same, unless they were changed this very moment."""
        self._files = SharedFiles(folder)
        self._store = store

    def list(self) -> tuple[TenantKey, ...]:
        """Return what is known of every key, the oldest first. Raises `ConfigError`, or what the store refuses with."""
        self._files.agree(self._store)
        return self.ring.list()

    def change(self, act: Callable[[KeyRing], R]) -> R:
        """Have the keys changed, here and on all nodes that share the store. Raises what `act` or the store raises."""
        if self._store.tenure is None:
            return act(self.ring)
        return self._files.change(self._store, "keys", lambda: act(self.ring))
