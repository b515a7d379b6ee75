"""One program's conversation with the runtime, without any I/O: who speaks, under which epoch, and what was pushed.

Every door has one of these per connected program. It is safe to use from several threads.
"""

import threading
from collections.abc import Callable

from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import (
    Acknowledged,
    CheckpointSaved,
    InstanceInfo,
    InstanceRegistered,
    SignalsPending,
    SleepStarted,
)
from runtara.records import Signal

__all__ = ["Session"]


class Session:
    """The state of one conversation."""

    def __init__(self, key: InstanceKey) -> None:
        self.key = key
        self.epoch: int | None = None
        """The attempt, once it is registered."""
        self.status: Status | None = None
        """What the instance was after the last thing that the program reported."""
        self.told_to_rest = False
        """Whether the program was told of a pause or shutdown, and has not come to rest since."""
        self.awaits_end = False
        """Whether nothing but the end of the instance is waited for; what else happens to it, nobody need tell."""
        self.end: tuple[InstanceInfo, bytes | None] | None = None
        """How the instance stood when it ended, and its input where that was at hand: told in the process that it ended
        in, to those who had asked before."""
        self.pushes = 0
        """How much was pushed; whoever waits for something notes it before looking, and misses nothing."""
        self._lock = threading.Lock()
        self._waiters: list[Callable[[], None]] = []

    def received(self, reply: object) -> None:
        """Take note of what a reply says about the session."""
        if isinstance(reply, InstanceRegistered):
            self.epoch = reply.epoch
        elif isinstance(reply, Acknowledged):
            self.status = reply.status
        elif isinstance(reply, CheckpointSaved | SleepStarted):
            self._heard(reply.signal)
        elif isinstance(reply, SignalsPending):
            for signal in reply.signals:
                self._heard(signal)

    def _heard(self, signal: Signal | None) -> None:
        if signal is not None and signal.kind in ("pause", "shutdown"):
            self.told_to_rest = True

    def pushed(self, _signal: Signal | None) -> None:
        """Take note that the runtime has pushed a signal or a change of status, and wake those who wait for it."""
        with self._lock:
            self.pushes += 1
            waiters, self._waiters = self._waiters, []
        for wake in waiters:
            wake()

    def ended(self, info: InstanceInfo, input: bytes | None) -> None:
        """Take note of how the instance has ended, of which the next push tells."""
        self.end = info, input

    def on_push(self, since: int, wake: Callable[[], None]) -> None:
        """Have `wake` called once at the first push after the `since`-th; at once if it has come already."""
        with self._lock:
            if self.pushes <= since:
                self._waiters.append(wake)
                return
        wake()

    def forget(self, wake: Callable[[], None]) -> None:
        """Take `on_push` back; harmless if it was called already."""
        with self._lock:
            if wake in self._waiters:
                self._waiters.remove(wake)
