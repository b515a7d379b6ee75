"""What a store says about its nodes that nobody shares: there are none."""

from collections.abc import Mapping, Sequence

from runtara.errors import ConfigError
from runtara.ids import InstanceKey
from runtara.messages import InstanceSummary, NodeInfo
from runtara.records import Holder
from runtara.store._contract import Listener

__all__ = ["Unshared", "UnsharedReader"]


class Unshared:
    """Part of a store that one process owns."""

    url: str
    tenure = None

    def agree(self, offers: Mapping[str, bytes]) -> dict[str, tuple[bytes, int]]:
        """Return nothing: there is nobody to agree with."""
        return {}

    def publish(self, name: str, content: bytes, version: int) -> bool:
        """Return True: there is nobody to be told."""
        return True

    def open_listener(self) -> Listener:
        """Refuse: there is nobody to hear of."""
        raise ConfigError(f"{self.url} cannot be shared by several nodes: use PostgreSQL for that")


class UnsharedReader:
    """Part of the reader of such a store."""

    def find_changed(self, _numbers: Sequence[int], _tenants: Sequence[str]) -> list[tuple[str, int, InstanceSummary]]:
        """Return nothing: there is nobody else who could have changed anything."""
        return []

    def list_nodes(self) -> list[NodeInfo]:
        """Return nothing: one process owns the store."""
        return []

    def list_peers(self) -> list[Holder]:
        """Return nothing: there is nobody else."""
        return []

    def find_log_node(self, _key: InstanceKey) -> Holder | None:
        """Return None: whatever ran, ran here."""
        return None

    def read_documents(self) -> dict[str, tuple[bytes, int]]:
        """Return nothing: the process that owns the store keeps its own."""
        return {}
