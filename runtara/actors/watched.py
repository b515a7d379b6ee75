"""What whoever stores changes and whoever tells of them have to say to each other."""

import msgspec

from runtara.ids import InstanceKey
from runtara.messages import InstanceInfo
from runtara.store import Save

__all__ = ["Ended", "Stored", "Watched"]


class Watched:
    """Of which tenants somebody wants to know what is stored: written by the feed, read by whoever stores."""

    __slots__ = ("missed", "tenants")

    def __init__(self) -> None:
        self.tenants: set[str] = set()
        self.missed = False
        """Whether the feed could not be told of something."""


class Stored(msgspec.Struct, frozen=True):
    """These changes of watched tenants are stored; it took so many seconds."""

    saves: tuple[Save, ...]
    seconds: float
    missed: bool = False
    """Whether there may be others, of which it is not known."""


class Ended(msgspec.Struct, frozen=True):
    """An instance has ended here; its input, where that is at hand."""

    key: InstanceKey
    info: InstanceInfo
    input: bytes | None
