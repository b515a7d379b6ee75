"""What a store says about its nodes that nobody shares: there are none."""

from collections.abc import Mapping, Sequence
from typing import cast

from runtara.errors import ConfigError
from runtara.ids import InstanceKey
from runtara.messages import InstanceSummary, NodeInfo
from runtara.records import Checkpoint, Holder
from runtara.store._contract import Listener, Reader
from runtara.store._terms import LONGEST_BYTES, SHORT_MAX_BYTES, Wanted

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

    def read_all(self, wanted: Sequence[Wanted]) -> list[Checkpoint | bytes | None]:
        """Return each of several things, read by itself: the store is at hand, so that a question costs no way."""
        reader = cast("Reader", self)
        return [_read_one(reader, one) for one in wanted]

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


def _read_one(reader: Reader, wanted: Wanted) -> Checkpoint | bytes | None:
    if wanted.kind in ("checkpoint", "short"):
        longest = SHORT_MAX_BYTES if wanted.kind == "short" else LONGEST_BYTES
        return reader.read_checkpoint(wanted.key, wanted.id or "", longest)
    return reader.read_input(wanted.key) if wanted.kind == "input" else reader.read_output(wanted.key)
