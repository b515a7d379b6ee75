"""Tells those who watch what happens: to a tenant's instances, to one of them, to the actors, and how much gets done.

The region says what it has stored only while somebody watches, and for a minute after that, so that whoever was cut off
can come back to where he was. What other nodes store is read as soon as they say so. A connection that does not take
what it is told is put behind (see `Outlet`) and forgotten; nobody waits for it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias, cast

import msgspec
import trio
from msgspec.structs import replace

from runtara.actors._feed_follow import Follower, Place
from runtara.actors._feed_meter import is_transition
from runtara.actors._feed_tenant import Tenant, new_boot
from runtara.actors._ref import Ref
from runtara.actors._service import Actor, hears
from runtara.actors.sessions import Changed
from runtara.actors.storage import Query
from runtara.actors.watched import Stored, Watched
from runtara.clock import Clock
from runtara.errors import Busy, RuntaraError
from runtara.ids import InstanceKey
from runtara.live import Item, Outlet, Refused, Stream, Wanted, Watching
from runtara.messages import Call, Command, EventPage, InstanceSummary, LogRead, ReadLog, Request, TenantMetrics

__all__ = [
    "FOLLOWED_MAX",
    "FOLLOWED_PER_TENANT",
    "KEPT_S",
    "TENANTS_MAX",
    "Feed",
    "FeedDoor",
    "Roster",
    "Unwatch",
    "Watch",
]

KEPT_S: Final = 60.0
"""Seconds for which a tenant's changes are still kept when nobody watches them any more."""

FOLLOWED_MAX: Final = 1_000
"""Most watches of single instances at a time."""

FOLLOWED_PER_TENANT: Final = 500
"""Most of them that are one tenant's."""

TENANTS_MAX: Final = 10_000
"""Most tenants of whom something is known."""

_EVERY_S: Final = 1.0
"""Seconds between two looks at what only a look can tell: the tree, and how much gets done."""

_RESET_AFTER_S: Final = 1.0
"""So long it takes until all are told to read anew who have missed something; what is missed until then is the same."""

_MINUTE_MS: Final = 60_000

_NOWHERE: Final = ""
"""A place that nobody knows."""

_encoder: Final = msgspec.json.Encoder()


class Watch(msgspec.Struct, frozen=True):
    """Put what happens into an outlet, under a number."""

    outlet: Outlet
    number: int
    wanted: Wanted


class Unwatch(msgspec.Struct, frozen=True):
    """Take `Watch` back; without a number, all of the outlet."""

    outlet: Outlet
    number: int | None = None


class _Forget(msgspec.Struct, frozen=True):
    """Nobody has watched a tenant for a while."""

    tenant_id: str


class _ResetAll(msgspec.Struct, frozen=True):
    """Something was missed."""


Roster: TypeAlias = dict[tuple[Outlet, int], tuple[Wanted, Place | None]]
"""Every watch; that of one instance with its place."""


class Feed(Actor):
    """Knows who watches what. `instances`, `reader` and `runner` are paths of actors; `runner` keeps logs, if any does.

    `watched` is read by whoever stores. `roster` is where the watches are listed; it outlives this actor's restarts.
    """

    def __init__(
        self,
        *,
        instances: str,
        reader: str,
        runner: str | None,
        watched: Watched,
        roster: Roster,
        clock: Clock,
    ) -> None:
        self._paths: Final = (instances, reader, runner)
        self._watched: Final = watched
        self._roster: Final = roster
        self._clock: Final = clock
        self._boot: Final = new_boot()
        self._tenants: Final[dict[str, Tenant]] = {}
        self._tree: Final[dict[tuple[Outlet, int], bytes]] = {}
        """Who watches the tree, and what he was told last."""
        self._looks = 0
        self._looking: trio.CancelScope | None = None
        self._is_resetting = False
        self._reading: set[int] | None = None
        """Rows that other nodes have changed, while those before are being read."""

    async def on_start(self) -> None:
        """Go on with the watches that there were before a restart."""
        self._reader: Ref = self.system.ref(self._paths[1])
        self._watched.tenants = set()
        self._watched.missed = False
        for (outlet, number), (wanted, place) in tuple(self._roster.items()):
            if outlet.ended:
                del self._roster[outlet, number]
            else:
                self._begin(outlet, number, replace(wanted, after=_NOWHERE if place is None else str(place)))

    async def on_stop(self, failure: BaseException | None) -> None:
        """Want to hear of nothing any more."""
        self._watched.tenants = set()

    def describe(self) -> dict[str, int]:
        """Return how many watches there are, and of how many tenants something is known."""
        return {"watches": len(self._roster), "tenants": len(self._tenants)}

    # Who watches -----------------------------------------------------------------------------------------------------

    @hears(Watch)
    def watch(self, message: Watch) -> None:
        """Begin a watch."""
        if message.outlet.ended:
            return
        self._end(message.outlet, message.number)
        self._begin(message.outlet, message.number, message.wanted)

    @hears(Unwatch)
    def unwatch(self, message: Unwatch) -> None:
        """End one watch, or all of a connection."""
        numbers = [number for outlet, number in self._roster if outlet is message.outlet]
        for number in numbers if message.number is None else [message.number]:
            self._end(message.outlet, number)

    def _begin(self, outlet: Outlet, number: int, wanted: Wanted) -> None:
        self._roster[outlet, number] = wanted, None
        try:
            _BEGIN[wanted.stream](self, outlet, number, wanted)
        except RuntaraError as error:
            outlet.put(number, Refused(error.code.wire, str(error)))
            self._end(outlet, number)

    def _watch_instances(self, outlet: Outlet, number: int, wanted: Wanted) -> None:
        self._tenant(wanted.tenant_id).board.begin(outlet, number, wanted.after)

    def _watch_metrics(self, outlet: Outlet, number: int, wanted: Wanted) -> None:
        self._tenant(wanted.tenant_id).metrics[outlet, number] = None
        self._begin_looks(outlet, number)

    def _watch_tree(self, outlet: Outlet, number: int, _wanted: Wanted) -> None:
        self._tree[outlet, number] = b""
        self._begin_looks(outlet, number)

    def _watch_instance(self, outlet: Outlet, number: int, wanted: Wanted) -> None:
        place, tenant = Place(wanted.after), self._tenant(wanted.tenant_id)
        followed = [len(one.followers) for one in self._tenants.values()]
        if sum(followed) >= FOLLOWED_MAX or len(tenant.followers) >= FOLLOWED_PER_TENANT:
            raise Busy(
                f"{FOLLOWED_PER_TENANT} single instances of a tenant are watched, or {FOLLOWED_MAX} in all, the bounds:"
                " try again later"
            )
        key = InstanceKey(wanted.tenant_id, wanted.instance_id or "")
        self._roster[outlet, number] = wanted, place
        runner = self._paths[2]
        follower = Follower(
            outlet,
            number,
            place,
            ask=partial(self._ask_instance, key),
            read_events=partial(self._read_events, key),
            read_log=None if runner is None else partial(self._read_log, self.system.ref(runner), key),
        )
        scope = trio.CancelScope()
        tenant.followers[outlet, number] = key.instance_id, follower, scope
        self.start_soon(self._follow, outlet, number, follower, scope)

    def _tenant(self, tenant_id: str) -> Tenant:
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            if len(self._tenants) >= TENANTS_MAX:
                raise Busy(f"{TENANTS_MAX} tenants are watched, the bound: try again later")
            tenant = self._tenants[tenant_id] = Tenant(trio.current_time())
            self._watched.tenants.add(tenant_id)
        if tenant.forgetting is not None:
            tenant.forgetting.cancel()
            tenant.forgetting = None
        return tenant

    def _end(self, outlet: Outlet, number: int) -> None:
        wanted, _ = self._roster.pop((outlet, number), (None, None))
        if wanted is None:
            return
        self._tree.pop((outlet, number), None)
        tenant = self._tenants.get(wanted.tenant_id)
        if tenant is None:
            return
        tenant.board.end(outlet, number)
        tenant.metrics.pop((outlet, number), None)
        followed = tenant.followers.pop((outlet, number), None)
        if followed is not None:
            followed[2].cancel()
        if not tenant.is_watched and tenant.forgetting is None:
            tenant.forgetting = self.tell_later(KEPT_S, _Forget(wanted.tenant_id))

    @hears(_Forget)
    def forget(self, message: _Forget) -> None:
        """Forget what has happened to a tenant's instances, unless somebody watches again."""
        tenant = self._tenants.get(message.tenant_id)
        if tenant is not None and not tenant.is_watched:
            del self._tenants[message.tenant_id]
            self._watched.tenants.discard(message.tenant_id)

    # What happens ----------------------------------------------------------------------------------------------------

    @hears(Stored)
    def stored(self, message: Stored) -> None:
        """Tell of what was stored here."""
        if self._watched.missed or message.missed:
            self._missed()
        now, told = trio.current_time(), set[str]()
        for save in message.saves:
            row = save.instance
            tenant = self._tenants.get(row.tenant_id)
            if tenant is None:
                continue
            tenant.meter.add(save)
            if row.tenant_id not in told:
                told.add(row.tenant_id)
                tenant.meter.committed(now, message.seconds)
            if not (save.checkpoints or save.events) or any(map(is_transition, save.events)):
                tenant.board.publish(row, row.version)
            tenant.wake(row.instance_id)

    @hears(Changed)
    def changed(self, message: Changed) -> None:
        """Find out what other nodes have changed, where somebody watches."""
        if not self._tenants:
            return
        if message.numbers is None:
            self._missed()
        elif self._reading is not None:
            self._reading |= message.numbers
        elif message.numbers:
            self._reading = set()
            self.start_soon(self._read_changed, message.numbers)

    async def _read_changed(self, numbers: frozenset[int]) -> None:
        """Tell of what other nodes have changed, until there is no more."""
        while numbers:
            query = Query("find_changed", (sorted(numbers), sorted(self._tenants)))
            try:
                rows: list[tuple[str, int, InstanceSummary]] = await self._reader.ask(query)
            except RuntaraError:
                self._missed()
                rows = []
            for tenant_id, version, summary in rows:
                tenant = self._tenants.get(tenant_id)
                if tenant is not None:
                    tenant.board.publish(summary, version)
                    tenant.wake(summary.instance_id)
            numbers, self._reading = frozenset(self._reading or ()), set()
        self._reading = None

    def _missed(self) -> None:
        """Have everybody told to read anew, once for all that is missed in a short while."""
        self._watched.missed = False
        if not self._is_resetting:
            self._is_resetting = True
            self.tell_later(_RESET_AFTER_S, _ResetAll())

    @hears(_ResetAll)
    def reset_all(self, _: _ResetAll) -> None:
        """Tell everybody to read anew."""
        self._is_resetting = False
        for tenant in self._tenants.values():
            tenant.board.reset()
            tenant.wake(None)

    # What only a look can tell ---------------------------------------------------------------------------------------

    def _begin_looks(self, outlet: Outlet, number: int) -> None:
        outlet.put(number, Watching(self._look_seq))
        if self._looking is None:
            self._looking = trio.CancelScope()
            self.start_soon(self._look_always, self._looking)

    @property
    def _look_seq(self) -> str:
        return f"{self._boot}-{self._looks}"

    async def _look_always(self, scope: trio.CancelScope) -> None:
        """Look once a second, as long as somebody watches what only a look can tell."""
        with scope:
            while self._tree or any(tenant.metrics for tenant in self._tenants.values()):
                self._looks += 1
                self._look_at_tree()
                for tenant_id, tenant in tuple(self._tenants.items()):
                    if tenant.metrics:
                        await self._look_at_tenant(tenant_id, tenant)
                await trio.sleep(_EVERY_S)
        if self._looking is scope:
            self._looking = None

    def _look_at_tree(self) -> None:
        if not self._tree:
            return
        tree = _encoder.encode(self.system.inspect())
        for (outlet, number), last in self._tree.items():
            if tree != last:
                self._tree[outlet, number] = tree
                outlet.put(number, Item(self._look_seq, msgspec.Raw(tree)))

    async def _look_at_tenant(self, tenant_id: str, tenant: Tenant) -> None:
        now_ms = self._clock.now_ms()
        at = now_ms // _MINUTE_MS * _MINUTE_MS
        try:
            measured: TenantMetrics = await self._reader.ask(
                Query("measure_tenant", (tenant_id, at, at + _MINUTE_MS, "minutely"))
            )
        except RuntaraError:
            return  # the next look may tell
        data = _encoder.encode(tenant.meter.look(trio.current_time(), now_ms, measured.buckets[0]))
        for outlet, number in tenant.metrics:
            outlet.put(number, Item(self._look_seq, msgspec.Raw(data)))

    # What a follower needs -------------------------------------------------------------------------------------------

    async def _follow(self, outlet: Outlet, number: int, follower: Follower, scope: trio.CancelScope) -> None:
        with scope:
            await follower.follow()
        if not scope.cancelled_caught:
            self._end(outlet, number)

    async def _ask_instance(self, key: InstanceKey, command: Request[Any]) -> Any:
        return await self.system.cell(self._paths[0], key).ask(Call(key, cast("Command", command)))

    async def _read_events(self, key: InstanceKey, limit: int, cursor: str) -> EventPage:
        page: EventPage = await self._reader.ask(Query("list_events", (key, None, None, limit, cursor)))
        return page

    async def _read_log(self, runner: Ref, key: InstanceKey, command: ReadLog, timeout: float) -> LogRead:
        found: LogRead = await runner.ask(Call(key, command), timeout=timeout)
        return found


_BEGIN: Final[dict[Stream, Callable[[Feed, Outlet, int, Wanted], None]]] = {
    "instances": Feed._watch_instances,  # noqa: SLF001 - the table of this class
    "instance": Feed._watch_instance,  # noqa: SLF001 - the table of this class
    "tree": Feed._watch_tree,  # noqa: SLF001 - the table of this class
    "metrics": Feed._watch_metrics,  # noqa: SLF001 - the table of this class
}


class FeedDoor:
    """The feed, as doors know it: a `FeedSource`."""

    def __init__(self, feed: Ref) -> None:
        self._feed = feed

    def watch(self, outlet: Outlet, number: int, wanted: Wanted) -> None:
        """Begin a watch. Raises `MailboxFull` or `ActorStopped`."""
        self._feed.tell_nowait(Watch(outlet, number, wanted))

    def unwatch(self, outlet: Outlet, number: int | None = None) -> None:
        """End a watch."""
        try:
            self._feed.tell_nowait(Unwatch(outlet, number))
        except RuntaraError:
            return  # an outlet that has ended is forgotten anyway
