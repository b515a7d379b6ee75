"""What programs in Pods have written: a copy of it, as long as somebody may want it.

The cluster keeps a Pod's log only as long as the Pod, one stream for stdout and stderr, and hands it out from its first
byte only. So each instance has a copy here, in memory and up to a cap, to which every attempt's log is added: while
somebody reads it, while somebody watches it, and at the attempt's end. A host that starts anew starts new copies, with
the attempts that it adopts.
"""

import logging
import random
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import trio

from runtara.actors.runners._kubernetes_api import API_BACKOFF, ApiFailed, Cluster, Stream, read_stream
from runtara.actors.runners._kubernetes_board import Board
from runtara.actors.runners._kubernetes_objects import Pod
from runtara.ids import InstanceKey

__all__ = ["Copy", "Logs"]

_log: Final = logging.getLogger("runtara.runner")

COPIES_MAX: Final = 64
"""Most instances whose logs are kept in memory; the one that was used least recently goes first."""
FOLLOWS_MAX: Final = 16
"""Most logs that are followed as they are written; readers of others look again every `_LOOK_AGAIN_S`."""
FOLLOW_IDLE_S: Final = 45.0
"""How long a log is followed after somebody has last asked for it."""
_LOOK_AGAIN_S: Final = 2.0
_KEEP_S: Final = 2.0
"""How long reading a log may hold up a stop."""
_LAST_WORDS_S: Final = 5.0
"""How long whoever follows a log has to come to its end, once its program has ended."""
_FINISH_S: Final = 10.0
"""How long reading a log may hold up the news of an end."""
_WATCHED_MAX: Final = 1_024
"""Most instances that somebody waits for; then everybody looks again."""
_LEFT_MAX: Final = 64
"""How many earlier Pods of an instance are remembered."""
_NOT_THERE: Final = (400, 404)
"""Statuses: there is no log, not yet or no more."""


class Copy:
    """The end of what all attempts of an instance have written."""

    def __init__(self, cap: int) -> None:
        self._cap: Final = cap
        self._data: Final = bytearray()
        self._start = 0
        """How much has gone before what is kept."""
        self._began = 0
        """Where the current attempt begins."""
        self.pod = ""
        """Uid of the Pod whose log is being added."""
        self._left: Final = deque[str](maxlen=_LEFT_MAX)
        """Those whose logs were added before."""
        self.taken = 0
        """How much of that log is in the copy."""
        self.lock: Final = trio.Lock()
        """Held while something is added."""
        self.follow: trio.CancelScope | None = None
        """Of the task that follows the log, if one does."""
        self.attached = trio.Event()
        """Set while that task hears every word."""

    @property
    def end(self) -> int:
        """How much was written in all."""
        return self._start + len(self._data)

    def begin(self, pod: str) -> bool:
        """Go on with the log of a Pod; return False for one that was left for a newer one."""
        if pod in self._left:
            return False
        if pod != self.pod:
            self._left.append(self.pod)
            self.pod, self.taken, self._began = pod, 0, self.end
        return True

    def add(self, data: bytes) -> None:
        """Add what comes next."""
        self.taken += len(data)
        self._data.extend(data)
        surplus = len(self._data) - self._cap
        if surplus > 0:
            del self._data[:surplus]
            self._start += surplus

    def read(self, offset: int, limit: int) -> tuple[bytes, int]:
        """Return what was written from a byte on, from the end if it is negative, and the number of its first byte."""
        at = max(self._start, offset if offset >= 0 else self.end + offset)
        begin = at - self._start
        return bytes(self._data[begin : begin + limit]), at

    def tail(self, limit: int) -> str:
        """Return the end of what the current attempt has written."""
        at = max(self._start, self._began, self.end - limit)
        text = bytes(self._data[at - self._start :]).decode(errors="replace")
        return text.replace("\0", "\N{REPLACEMENT CHARACTER}").strip()


class Logs:
    """Copies of logs. `attempt_of` names the Job of an instance's current attempt."""

    def __init__(
        self, cluster: Cluster, board: Board, attempt_of: Callable[[InstanceKey], str | None], log_max_bytes: int
    ) -> None:
        self._cluster: Final = cluster
        self._board: Final = board
        self._attempt_of: Final = attempt_of
        self._cap: Final = log_max_bytes
        self._copies: Final[dict[InstanceKey, Copy]] = {}
        self._news: Final[dict[InstanceKey, trio.Event]] = {}
        self._nursery: trio.Nursery | None = None
        self._follows = 0

    async def read(self, key: InstanceKey, offset: int, limit: int) -> tuple[bytes, int]:
        """Return what was written from a byte on; see `Engine.read_log`."""
        pod = self._pod_of(key)
        if pod is not None:
            copy = self._copy_of(key)
            if copy.follow is None:  # otherwise the copy is as good as the log
                await self._catch_up(key, copy, pod)
        known = self._copies.get(key)
        return known.read(offset, limit) if known is not None else (b"", max(0, offset))

    def watch(self, key: InstanceKey) -> trio.Event:
        """Return an event that is set when more is written, or another attempt begins; or sooner."""
        if len(self._news) >= _WATCHED_MAX:
            for other in list(self._news):
                self.stir(other)
        news = self._news.setdefault(key, trio.Event())
        if self._attempt_of(key) is not None and self._nursery is not None:
            self._keep_following(key, self._nursery)
        return news

    def stir(self, key: InstanceKey) -> None:
        """Have everybody look again who waits for an instance."""
        news = self._news.pop(key, None)
        if news is not None:
            news.set()

    async def keep(self, key: InstanceKey) -> None:
        """Copy what the current attempt has written, and follow what it will: its Pod is about to go."""
        self.watch(key)
        copy = self._copy_of(key)
        with trio.move_on_after(_KEEP_S):
            if copy.follow is None:  # as many as may be are followed
                await self.read(key, 0, 0)
            elif not self._is_over(key):
                await copy.attached.wait()

    async def finish(self, key: InstanceKey, pod: Pod | None, limit: int) -> str:
        """Add all that a Pod has written, while it is there; return the end of it."""
        if pod is None:
            return ""
        copy = self._copy_of(key)
        if copy.follow is not None:
            with trio.move_on_after(_LAST_WORDS_S):  # it may be all that is left of the log: the Pod may be gone
                async with copy.lock:
                    pass
            copy.follow.cancel()
        with trio.move_on_after(_FINISH_S):
            await self._catch_up(key, copy, pod)
        return copy.tail(limit) if copy.pod == pod.metadata.uid else ""

    async def serve(self) -> None:
        """Follow the logs that somebody watches, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def _keep_following(self, key: InstanceKey, nursery: trio.Nursery) -> None:
        copy = self._copy_of(key)
        if copy.follow is not None:
            copy.follow.deadline = trio.current_time() + FOLLOW_IDLE_S
        elif self._follows < FOLLOWS_MAX:
            copy.follow = trio.CancelScope(deadline=trio.current_time() + FOLLOW_IDLE_S)
            self._follows += 1
            nursery.start_soon(self._follow, key, copy, copy.follow)
        else:
            nursery.start_soon(self._stir_later, key)

    async def _stir_later(self, key: InstanceKey) -> None:
        await trio.sleep(_LOOK_AGAIN_S)
        self.stir(key)

    async def _follow(self, key: InstanceKey, copy: Copy, scope: trio.CancelScope) -> None:
        """Copy what is written, of one attempt after the other, as long as there is one and somebody asks for it."""
        failures = 0
        try:
            with scope:
                while (attempt := self._attempt_of(key)) is not None:
                    change, pod = self._board.change_of(attempt), self._pod_of(key)
                    is_copied = pod is not None and await self._copied(key, copy, pod, follow=True)
                    if pod is None or (is_copied and self._is_over(key)):
                        await change.wait()
                        continue
                    failures = 0 if is_copied else failures + 1
                    await trio.sleep(API_BACKOFF.delay(max(1, failures), random.random))
        finally:
            self._follows -= 1
            copy.follow = None
            self.stir(key)  # somebody may have counted on it a moment ago

    async def _catch_up(self, key: InstanceKey, copy: Copy, pod: Pod) -> None:
        await self._copied(key, copy, pod, follow=False)

    async def _copied(self, key: InstanceKey, copy: Copy, pod: Pod, *, follow: bool) -> bool:
        """Add what is new in a Pod's log; return whether it was there to read."""
        async with copy.lock:
            if not copy.begin(pod.metadata.uid):
                return True
            try:
                await self._add_new(key, copy, pod, follow=follow)
            except ApiFailed as failed:
                if failed.status not in _NOT_THERE:
                    _log.warning("log-not-read", extra={"pod": pod.metadata.name, "error": str(failed)})
                return False
            finally:
                if copy.attached.is_set():
                    copy.attached = trio.Event()
            return True

    async def _add_new(self, key: InstanceKey, copy: Copy, pod: Pod, *, follow: bool) -> None:
        skip = copy.taken

        def pieces(stream: Stream) -> Iterator[bytes]:
            if follow:
                trio.from_thread.run_sync(copy.attached.set)
            yield from stream

        def take(piece: bytes) -> None:
            nonlocal skip
            fresh = piece[skip:]
            skip = max(0, skip - len(piece))
            if fresh:
                copy.add(fresh)
                self.stir(key)

        await read_stream(partial(self._cluster.read_log, pod.metadata.name, follow=follow), pieces, take)

    def _copy_of(self, key: InstanceKey) -> Copy:
        copy = self._copies.pop(key, None) or Copy(self._cap)
        self._copies[key] = copy
        while len(self._copies) > COPIES_MAX:
            oldest, left = next(iter(self._copies.items()))
            if left.follow is not None:
                left.follow.cancel()
            del self._copies[oldest]
        return copy

    def _pod_of(self, key: InstanceKey) -> Pod | None:
        """Return the Pod of the current attempt, once it may have written something, and while it is there."""
        attempt = self._attempt_of(key)
        for seen in reversed(self._board.pods.find(attempt)) if attempt is not None else ():
            if seen.object.has_begun and not seen.gone:
                return seen.object
        return None

    def _is_over(self, key: InstanceKey) -> bool:
        pod = self._pod_of(key)
        return pod is None or pod.is_over
