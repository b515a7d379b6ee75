"""The keeper of this node's place among those that share the store.

It renews the lease while nothing else does (every commit renews it, too), takes over what lost nodes have owned, and
hears what the others say: it tells the scheduler what is due, and programs that are connected here what has changed
elsewhere. A node that cannot renew its lease answers nothing any more; one that was declared lost starts anew with
nothing in memory, which the store's own actors see to.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
import trio

from runtara.actors._pool_borrowing import TasksWait
from runtara.actors._service import Actor, hears
from runtara.actors._specs import Backoff
from runtara.actors.claimer import DueNoticed
from runtara.actors.instances import Adopt
from runtara.actors.sessions import Changed
from runtara.actors.storage import Act, Commit, Query
from runtara.clock import Clock
from runtara.errors import Fenced, Retry, RuntaraError
from runtara.messages import Call, CrashInstance
from runtara.store import Listener, Notice, RunningInstance, Store, Tenure

__all__ = ["NodeKeeper"]

_log: Final = logging.getLogger(__name__)

_RENEWALS: Final = 4
"""How often the lease is renewed within its length; as often it is looked for nodes that were lost."""

_TOGETHER: Final = 1_000
"""Most instances that are taken over at once."""

_RECONNECT: Final = Backoff(first=0.2, most=5.0)
_FENCED_MAX: Final = 4
"""How often an instance that we have taken over may say that it is not ours, before we believe it."""

_TRY_AGAIN: Final = Backoff(first=0.1, most=10.0)


class _Tick(msgspec.Struct, frozen=True):
    """It is time to renew the lease, and to look for lost nodes."""


class _Look(msgspec.Struct, frozen=True):
    """Some node has said that it has ended."""


class NodeKeeper(Actor):
    """Keeps the lease. All but the last arguments are paths of actors.

    `took_documents` is called with what all nodes agree on, once at the start and whenever that may have changed.
    """

    def __init__(
        self,
        *,
        store: Store,
        tenure: Tenure,
        clock: Clock,
        instances: str,
        writer: str,
        reader: str,
        scheduler: str,
        sessions: str,
        feed: str,
        pool: str,
        took_documents: Callable[[Mapping[str, bytes]], None] | None = None,
    ) -> None:
        self._store = store
        self._tenure = tenure
        self._clock = clock
        self._paths = (instances, writer, reader, scheduler, sessions, feed, pool)
        self._took_documents = took_documents
        self._every = tenure.spec.lease_ms / 1000 / _RENEWALS
        self._taken_over = 0
        self._untold = True
        """Whether an earlier life may have taken over what it told nobody."""
        self._is_hearing = False

    async def on_start(self) -> None:
        """Begin to hear, and look for lost nodes."""
        instances, writer, reader, scheduler, sessions, feed, pool = self._paths
        self._instances_path = instances
        self._writer, self._reader = self.system.ref(writer), self.system.ref(reader)
        self._scheduler, self._sessions = self.system.ref(scheduler), self.system.ref(sessions)
        self._feed, self._pool = self.system.ref(feed), self.system.ref(pool)
        self.start_soon(self._hear_always)
        self.ref.tell_nowait(_Tick())

    def describe(self) -> dict[str, Any]:
        """Return who this node is, for how long it is so, and what it has taken over."""
        return {
            "node": self._tenure.spec.name,
            "lease_s": round(max(0.0, self._tenure.left), 1),
            "alone": self._tenure.alone,
            "hears": self._is_hearing,
            "taken_over": self._taken_over,
        }

    @hears(_Tick)
    async def tick(self, _: _Tick) -> None:
        """Renew the lease if nothing else has, take over from lost nodes, and come back in time."""
        self.tell_later(self._every, _Tick())
        if self._tenure.left < self._tenure.spec.lease_ms / 1000 - self._every / 2:
            with suppress(RuntaraError):  # tried again with the next tick; without it, nothing is answered any more
                await self._writer.ask(Commit(()))
        await self.look(_Look())

    @hears(_Look)
    async def look(self, _: _Look) -> None:
        """Take over what lost nodes have owned, and see what all nodes agree on."""
        try:
            while await self._take_over() >= _TOGETHER:
                pass
            if self._took_documents is not None:
                documents = await self._reader.ask(Query("read_documents"))
                self._took_documents({name: content for name, (content, _) in documents.items()})
        except (RuntaraError, OSError) as error:
            _log.warning("nodes-unknown", extra={"error": str(error)})  # looked for again with the next tick

    async def _take_over(self) -> int:
        rows: list[RunningInstance] = await self._writer.ask(Act("take_over", (_TOGETHER, self._untold)))
        self._untold = False
        self._taken_over += len(rows)
        adopted = []
        for row in rows:
            if row.claimed_epoch is None:
                adopted.append(row.key)
            else:
                self.start_soon(self._report, row, row.claimed_epoch)
        if adopted:
            self.system.ref(self._instances_path).tell_nowait(Adopt(tuple(adopted)))
        return len(rows)

    async def _report(self, row: RunningInstance, epoch: int) -> None:
        """Tell an instance that its attempt is lost with its node, until it has heard it."""
        command = CrashInstance(epoch=epoch, error="the node that had launched the program was lost", counts=False)
        failures = 0
        while True:
            try:
                await self.system.cell(self._instances_path, row.key).ask(Call(row.key, command))
                return
            except RuntaraError as refusal:
                # What was loaded just before we took it over is still held to be the other node's, but not for long.
                if refusal.retry is Retry.NEVER and not (isinstance(refusal, Fenced) and failures < _FENCED_MAX):
                    return
            failures += 1
            await trio.sleep(_TRY_AGAIN.delay(failures, self.system.random))

    # What others say -------------------------------------------------------------------------------------------------

    async def _hear_always(self) -> None:
        """Hear what other nodes say; where the connection is lost, make another one."""
        failures = 0
        while True:
            try:
                listener = await trio.to_thread.run_sync(self._store.open_listener)
            except RuntaraError:
                failures += 1
            else:
                failures = 0
                with suppress(RuntaraError, OSError):
                    await self._hear(listener)
            await trio.sleep(_RECONNECT.delay(failures + 1, self.system.random))

    async def _hear(self, listener: Listener) -> None:
        try:
            self._is_hearing = True
            self._missed()
            while True:
                await trio.lowlevel.wait_readable(listener.fileno())
                for notice in listener.read():
                    self._heard(notice)
        finally:
            self._is_hearing = False
            listener.close()

    def _missed(self) -> None:
        """Have everybody look who may have missed something."""
        self._scheduler.tell_nowait(DueNoticed(self._clock.now_ms()))
        self._tell_changed(Changed(None))

    def _tell_changed(self, changed: Changed) -> None:
        for told in (self._sessions, self._feed):
            told.tell_nowait(changed)

    def _heard(self, notice: Notice) -> None:
        if notice.kind == "due":
            with suppress(ValueError):
                self._scheduler.tell_nowait(DueNoticed(int(notice.text)))
        elif notice.kind == "changed":
            self._tell_changed(_changed(notice.text))
        elif notice.kind == "tasks":
            with suppress(ValueError, RuntaraError):  # it is down, or has much to hear: it is said again
                node, tenant_id, program = notice.text.split(" ", 2)
                self._pool.tell_nowait(TasksWait(int(node), tenant_id, program))
        else:
            self.ref.tell_nowait(_Look())


def _changed(text: str) -> Changed:
    """Return what a notice says: digests, and behind a # each the numbers of rows; or * for all that there may be."""
    if text == "*":
        return Changed(None)
    words = text.split()
    numbers = frozenset(int(word[1:]) for word in words if word[0] == "#" and word[1:].isdecimal())
    # One that names no rows comes from a node of before: then anybody's may have changed.
    return Changed(frozenset(word for word in words if word[0] != "#"), numbers or None)
