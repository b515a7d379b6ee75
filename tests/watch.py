"""Somebody who is told what happens to an instance, so that a test can wait for it."""

import trio

from runtara.ids import InstanceKey
from runtara.messages import InstanceInfo

__all__ = ["Watch"]


class Watch:
    """Hears of an instance."""

    epoch: int | None = None
    awaits_end = False

    def __init__(self, key: InstanceKey) -> None:
        self.key = key
        self.heard = trio.Event()

    def ended(self, _info: InstanceInfo, _input: bytes | None, /) -> None:
        """Wait for no end: that is pushed, too."""

    def pushed(self, _signal: object, /) -> None:
        """Take note that something has happened."""
        self.heard.set()
