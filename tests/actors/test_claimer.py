"""Who wakes what is due: one claimer on a made-up store under a clock that jumps, and several nodes on a real one."""

import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from runtara.actors import Actor, Decision, Region, System, child, hears, open_system, supervisor
from runtara.actors.claimer import DueClaimer, DueNoticed
from runtara.actors.instance import Arm
from runtara.actors.instances import Effected
from runtara.actors.places import ListPlaces, PlaceFreed, PlacesInUse, StopWaking
from runtara.actors.storage import Act, Query
from runtara.clock import SystemClock
from runtara.errors import Fenced, InstanceNotFound, StoreUnavailable
from runtara.ids import ImageRef, InstanceKey
from runtara.lifecycle import Status
from runtara.messages import Call, CompleteInstance, InstanceWoken, RegisterInstance, Sleep, StartInstance
from runtara.records import ImageVersion
from runtara.store import Barred, Claims, DueInstance, NodeSpec, SharedWriter, Tenure
from runtara.store._postgres import PostgresStore
from runtara.store._postgres_door import PostgresLimits
from runtara.system import SCHEDULER
from tests.actors.stage import NOW, TrioClock, key_of, sleeper
from tests.actors.village import Village, until

CLAIMER = "root/claimer"
LOOK_EVERY = 30.0


class Board:
    """What is due, who has claimed it and what became of it. Plain data, shared by the actors of one system."""

    def __init__(self) -> None:
        self.clock = TrioClock()
        self.tenure = Tenure(NodeSpec(name="me"))
        self.due: dict[InstanceKey, int] = {}
        self.claimed: set[InstanceKey] = set()
        self.given_back: list[str] = []
        self.woken: list[tuple[float, str]] = []
        """When each instance was woken, in seconds, and which."""
        self.tried: list[str] = []
        self.claims = 0
        self.limits: list[int] = []
        self.refusals: dict[str, BaseException] = {}
        """What instances answer instead of being woken."""
        self.away = False
        self.unreadable = False
        self.lose_answers = 0
        """How many claims the store makes whose answers are lost."""
        self.loading: list[Callable[[], None]] | None = None
        """Where loading takes its time: what ends each load."""
        self.places: tuple[InstanceKey, ...] = ()
        self.barred = Barred()
        """Of whom nothing was to be claimed by the last look."""
        self.programs: dict[InstanceKey, str] = {}
        self.versions: dict[ImageRef, ImageVersion] = {}
        self.read: list[tuple[object, ...]] = []
        """Whose caps were read."""

    def put(self, name: str, in_s: float = 0.0, tenant_id: str = "acme", program: str = "nap") -> None:
        """Have an instance due in so many seconds, without telling anybody."""
        key = InstanceKey(tenant_id, name)
        self.due[key] = NOW + int((trio.current_time() + in_s) * 1000)
        self.programs[key] = program

    def claim(self, limit: int) -> Claims:
        now = self.clock.now_ms()
        free = sorted(
            (at, key)
            for key, at in self.due.items()
            if at <= now
            and key not in self.claimed
            and key.tenant_id not in self.barred.tenants
            and self.programs[key] not in self.barred.programs
        )
        taken = [DueInstance(at, key, 0, self.programs[key]) for at, key in free[:limit]]
        self.claimed.update(due.key for due in taken)
        return Claims(taken, len(free))


class Desk(Actor):
    """The writer, as far as a claimer needs one."""

    def __init__(self, board: Board) -> None:
        self._board = board

    @hears(Act)
    def act(self, message: Act) -> Any:
        board = self._board
        if board.away:
            raise StoreUnavailable("the store is away")
        return getattr(self, message.method)(*message.arguments)

    def claim_due(self, limit: int, turn: int, barred: Barred) -> Claims:
        board = self._board
        board.claims += 1
        board.limits.append(limit)
        board.barred = barred
        claims = board.claim(limit)
        if board.lose_answers:
            board.lose_answers -= 1
            raise StoreUnavailable("the answer was lost")
        return claims

    def find_next_due(self) -> int | None:
        now = self._board.clock.now_ms()
        later = [at - now for key, at in self._board.due.items() if key not in self._board.claimed and at > now]
        return min(later, default=None)

    def release_claim(self, *keys: InstanceKey) -> None:
        self._board.given_back.extend(key.instance_id for key in keys)
        self._board.claimed.difference_update(keys)

    def release_claims(self) -> None:
        self._board.claimed.clear()


class Library(Actor):
    """A reader, as far as a claimer needs one."""

    def __init__(self, board: Board) -> None:
        self._board = board

    @hears(Query)
    def query(self, message: Query) -> ImageVersion | None:
        self._board.read.append(message.arguments)
        if self._board.unreadable:
            raise StoreUnavailable("the store is away")
        return self._board.versions.get(message.arguments[1])


class Inns(Region[InstanceKey, bool]):
    """Instances that can be woken, or refuse."""

    def __init__(self, board: Board) -> None:
        super().__init__(clock=board.clock)
        self._board = board

    def hydrate(self, keys: Sequence[InstanceKey], settle: Callable[[Mapping[InstanceKey, Any]], None]) -> None:
        if self._board.loading is None:
            settle(dict.fromkeys(keys, True))
        else:
            self._board.loading.append(lambda: settle(dict.fromkeys(keys, True)))

    def decide(self, state: bool, message: Call, now_ms: int, found: Any) -> Decision:
        board, key = self._board, message.key
        board.tried.append(key.instance_id)
        refusal = board.refusals.get(key.instance_id)
        if refusal is not None:
            raise refusal
        if now_ms < board.due[key]:
            return Decision((), InstanceWoken(Status.SUSPENDED, False))
        del board.due[key]
        board.claimed.discard(key)
        board.woken.append((trio.current_time(), key.instance_id))
        return Decision((), InstanceWoken(Status.RUNNING, True))

    def evolve(self, state: bool, event: Any) -> bool:
        return state


class Porter(Actor):
    """The runner, as far as a claimer needs one."""

    def __init__(self, board: Board) -> None:
        self._board = board

    @hears(ListPlaces)
    def list_places(self, _: ListPlaces) -> dict[InstanceKey, str | None]:
        return dict.fromkeys(self._board.places)


@asynccontextmanager
async def claiming(
    board: Board, *, places: int | None = None, per_tenant: int | None = None, in_flight: int = 64
) -> AsyncIterator[System]:
    """Run a claimer for the length of the block."""
    options = {
        "instances": "root/inns",
        "reader": "root/library",
        "writer": "root/desk",
        "tenure": board.tenure,
        "clock": board.clock,
        "in_flight": in_flight,
        "look_every": LOOK_EVERY,
        "places": places,
        "per_tenant": per_tenant,
        "runner": None if places is None else "root/porter",
    }
    tree = supervisor(
        "root",
        child("desk", Desk, board),
        child("inns", Inns, board),
        child("library", Library, board),
        child("porter", Porter, board),
        child("claimer", DueClaimer, kwargs=options),
    )
    async with open_system(tree, rng=random.Random(0)) as system:
        yield system


@pytest.fixture
def board() -> Board:
    return Board()


def about(seconds: float) -> Any:
    """That time, or the loop's next turn after it."""
    return pytest.approx(seconds, abs=0.01)


def names(board: Board) -> list[str]:
    return [name for _, name in board.woken]


# When it looks --------------------------------------------------------------------------------------------------------


async def test_what_is_due_at_the_start_is_woken_at_once_the_earliest_first(
    board: Board, autojump_clock: MockClock
) -> None:
    for age in (3, 1, 2):
        board.put(f"s{age}", -age)

    async with claiming(board):
        await trio.sleep(0.01)

    assert names(board) == ["s3", "s2", "s1"]


async def test_what_is_due_later_is_woken_at_its_time_without_being_told(
    board: Board, autojump_clock: MockClock
) -> None:
    board.put("soon", 7.5)
    board.put("later", 300)

    async with claiming(board):
        await trio.sleep(400)

    assert names(board) == ["soon", "later"]
    assert [at for at, _ in board.woken] == pytest.approx([7.5, 300], abs=0.01)


async def test_nothing_is_asked_in_between(board: Board, autojump_clock: MockClock) -> None:
    board.put("later", 10 * LOOK_EVERY)

    async with claiming(board):
        await trio.sleep(9.5 * LOOK_EVERY)

    assert board.claims <= 11


async def test_a_notice_of_another_node_leads_to_a_look_at_its_time(board: Board, autojump_clock: MockClock) -> None:
    async with claiming(board) as system:
        await trio.sleep(1)
        board.put("told", 2)
        system.ref(CLAIMER).tell_nowait(DueNoticed(board.due[key_of("told")]))
        await trio.sleep(5)

    assert board.woken == [(about(3), "told")]


async def test_a_notice_that_was_lost_is_caught_up_within_the_longest_wait(
    board: Board, autojump_clock: MockClock
) -> None:
    async with claiming(board):
        await trio.sleep(1)
        board.put("untold")
        await trio.sleep(LOOK_EVERY)

    assert names(board) == ["untold"]


async def test_what_this_node_itself_has_made_due_is_woken_at_its_time(board: Board, autojump_clock: MockClock) -> None:
    async with claiming(board) as system:
        await trio.sleep(1)
        board.put("own", 1)
        system.ref(CLAIMER).tell_nowait(Effected(key_of("own"), Arm(board.due[key_of("own")])))
        await trio.sleep(2)

    assert board.woken == [(about(2), "own")]


async def test_a_wake_up_that_came_too_early_by_this_nodes_clock_is_repeated_in_time(
    board: Board, autojump_clock: MockClock
) -> None:
    board.put("one", 1)
    board.clock.jump_ms(500)  # the store's clock, which is ahead
    claim = board.claim

    def claim_and_set_back(limit: int) -> Claims:
        claims = claim(limit)
        if claims.claimed:
            board.clock.jump_ms(-500)
            board.claim = claim  # type: ignore[method-assign]  # once
        return claims

    board.claim = claim_and_set_back  # type: ignore[method-assign]  # the store's own clock is read there

    async with claiming(board):
        await trio.sleep(5)

    assert board.woken == [(about(1), "one")]


async def test_how_late_wake_ups_come_is_known(board: Board, autojump_clock: MockClock) -> None:
    board.put("late", -12.5)

    async with claiming(board) as system:
        await trio.sleep(1)
        actor: Any = system.ref(CLAIMER).slot.actor

        assert actor.describe() == {"waking": 0, "failing": 0, "woken": 1, "latest_ms": 12_500, "places_in_use": 0}


# Places ---------------------------------------------------------------------------------------------------------------


async def test_no_more_are_claimed_than_there_are_free_places(board: Board, autojump_clock: MockClock) -> None:
    board.places = (key_of("lodger"),)
    for number in range(5):
        board.put(f"s{number}", -9 + number)

    async with claiming(board, places=3) as system:
        await trio.sleep(2 * LOOK_EVERY)
        first = names(board)
        system.ref(CLAIMER).tell_nowait(PlaceFreed(key_of("lodger")))
        await trio.sleep(1)
        second = names(board)
        system.ref(CLAIMER).tell_nowait(PlacesInUse({key_of("s2"): None}))
        await trio.sleep(1)

    assert (first, second) == (["s0", "s1"], ["s0", "s1", "s2"])
    assert names(board) == ["s0", "s1", "s2", "s3", "s4"]
    assert board.claimed == set()
    assert board.tenure.in_use == 3


async def test_no_more_are_claimed_than_may_be_under_way(board: Board, autojump_clock: MockClock) -> None:
    for number in range(100):
        board.put(f"s{number:02}")

    async with claiming(board, in_flight=8):
        await trio.sleep(1)

    assert len(board.woken) == 100
    assert max(board.limits) == 8


IMAGE = ImageRef("a" * 32, 1)


def version(max_concurrent: int | None) -> ImageVersion:
    options = msgspec.json.encode({"max_concurrent": max_concurrent})
    return ImageVersion(version=1, digest="d" * 64, size=1, kind="python", created_at=0, options=options)


async def test_a_tenant_at_its_cap_is_left_to_other_nodes_and_holds_up_nobody(
    board: Board, autojump_clock: MockClock
) -> None:
    for number in range(9):
        board.put(f"many{number}", -9)
    board.put("one", -1, tenant_id="rival")

    async with claiming(board, places=5, per_tenant=2) as system:
        await trio.sleep(0.1)
        first, claims = names(board), board.claims
        await trio.sleep(4 * LOOK_EVERY)
        quiet = board.claims - claims
        system.ref(CLAIMER).tell_nowait(PlaceFreed(key_of("many0")))
        await trio.sleep(0.1)

    assert sorted(first) == ["many0", "many1", "one"]
    assert names(board) == [*first, "many2"]
    assert board.claimed == set(), "what is not woken here is for others"
    assert quiet <= 5, "nothing is claimed again and again"
    assert board.barred.tenants == ("acme",)


async def test_an_image_at_its_cap_is_left_to_other_nodes_and_holds_up_nobody(
    board: Board, autojump_clock: MockClock
) -> None:
    board.versions[IMAGE] = version(2)
    for number in range(5):
        board.put(f"image{number}", -9, program=IMAGE.program)
    board.put("other", -1)

    async with claiming(board, places=9) as system:
        await trio.sleep(0.1)
        first, claims = names(board), board.claims
        await trio.sleep(4 * LOOK_EVERY)
        quiet = board.claims - claims
        system.ref(CLAIMER).tell_nowait(PlaceFreed(key_of("image1")))
        await trio.sleep(0.1)

    assert sorted(first) == ["image0", "image1", "other"]
    assert names(board) == [*first, "image2"]
    assert board.claimed == set()
    assert quiet <= 5
    assert board.read == [("acme", IMAGE)], "a version never changes"


async def test_what_was_claimed_before_its_cap_could_be_read_waits_until_it_can(
    board: Board, autojump_clock: MockClock
) -> None:
    board.versions[IMAGE] = version(None)
    board.put("one", program=IMAGE.program)

    async with claiming(board, places=1):
        board.unreadable = True
        await trio.sleep(10)
        before, held = names(board), set(board.claimed)
        board.unreadable = False
        await trio.sleep(2)

    assert (before, held) == ([], {key_of("one")})
    assert names(board) == ["one"]


async def test_what_waits_for_its_cap_is_given_back_when_the_node_goes_down(
    board: Board, autojump_clock: MockClock
) -> None:
    board.unreadable = True
    board.put("one", program=IMAGE.program)

    async with claiming(board, places=1) as system:
        await trio.sleep(1)
        await system.ref(CLAIMER).ask(StopWaking())
        board.unreadable = False
        await trio.sleep(10)

    assert (board.woken, board.claimed) == ([], set())


# What cannot be woken -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("places", [None, 1, 10])
async def test_a_hundred_that_cannot_be_woken_hold_up_nobody(
    places: int | None, board: Board, autojump_clock: MockClock
) -> None:
    for number in range(100):
        board.put(f"poison{number}", -60)
        board.refusals[f"poison{number}"] = StoreUnavailable("it always fails")
    board.put("sound", -1)

    async with claiming(board, places=places, in_flight=10):
        await trio.sleep(0.4)  # before any of them is tried again

        assert names(board) == ["sound"]


async def test_what_cannot_be_woken_is_tried_again_and_then_given_back_for_others_to_try(
    board: Board, autojump_clock: MockClock
) -> None:
    board.put("poison")
    board.refusals["poison"] = StoreUnavailable("it always fails")

    async with claiming(board):
        await trio.sleep(30)
        tries, kept = len(board.tried), key_of("poison") in board.claimed
        await trio.sleep(60)
        given_back = list(board.given_back)
        del board.refusals["poison"]  # it may have been claimed anew, and be kept for as long as before
        await trio.sleep(80 + 2 * LOOK_EVERY)

    assert (tries, kept) == (4, True)
    assert given_back == ["poison"]
    assert names(board) == ["poison"]


async def test_an_instance_that_can_be_woken_with_the_second_try_is_woken(
    board: Board, autojump_clock: MockClock
) -> None:
    board.put("one")
    board.refusals["one"] = StoreUnavailable("not now")

    async with claiming(board, places=1):
        await trio.sleep(0.1)
        del board.refusals["one"]
        await trio.sleep(2)

    assert names(board) == ["one"]


async def test_a_second_try_takes_no_place_that_somebody_else_has(board: Board, autojump_clock: MockClock) -> None:
    board.put("first", -2)
    board.refusals["first"] = StoreUnavailable("not now")
    board.put("second", -1)

    async with claiming(board, places=1) as system:
        await trio.sleep(0.1)
        del board.refusals["first"]
        await trio.sleep(5)
        before = names(board)
        system.ref(CLAIMER).tell_nowait(PlaceFreed(key_of("second")))
        await trio.sleep(1)

    assert before == ["second"]
    assert names(board) == ["second", "first"]


@pytest.mark.parametrize("refusal", [InstanceNotFound("gone"), Fenced("it is another node's")])
async def test_what_says_that_it_is_not_this_nodes_to_wake_is_asked_again_and_then_given_back(
    refusal: Exception, board: Board, autojump_clock: MockClock
) -> None:
    board.put("one")
    board.refusals["one"] = refusal

    async with claiming(board):
        await trio.sleep(60)
        tries = len(board.tried)
        await trio.sleep(20)

    assert tries == 4
    assert board.given_back == ["one"]


async def test_a_bug_in_an_instance_is_tried_again_like_anything_else(board: Board, autojump_clock: MockClock) -> None:
    board.put("one")
    board.refusals["one"] = ZeroDivisionError("a bug")

    async with claiming(board):
        await trio.sleep(0.1)
        del board.refusals["one"]
        await trio.sleep(2)

    assert names(board) == ["one"]


# The store is away ----------------------------------------------------------------------------------------------------


async def test_a_store_that_is_away_is_asked_again_within_the_longest_wait(
    board: Board, autojump_clock: MockClock
) -> None:
    board.away = True
    board.put("one")

    async with claiming(board):
        await trio.sleep(3 * LOOK_EVERY)
        board.away = False
        await trio.sleep(LOOK_EVERY)

    assert names(board) == ["one"]


async def test_claims_whose_answer_was_lost_are_given_back_and_claimed_anew(
    board: Board, autojump_clock: MockClock
) -> None:
    board.lose_answers = 2
    board.put("one")

    async with claiming(board):
        await trio.sleep(3 * LOOK_EVERY)

    assert names(board) == ["one"]


async def test_claims_of_an_earlier_life_are_given_back_and_claimed_anew(
    board: Board, autojump_clock: MockClock
) -> None:
    board.put("one")
    board.claimed.add(key_of("one"))

    async with claiming(board):
        await trio.sleep(1)

    assert names(board) == ["one"]


# The node goes down ---------------------------------------------------------------------------------------------------


async def test_who_has_been_told_to_stop_wakes_nobody_and_keeps_nothing_back(
    board: Board, autojump_clock: MockClock
) -> None:
    board.put("poison")
    board.refusals["poison"] = StoreUnavailable("it always fails")

    async with claiming(board) as system:
        await trio.sleep(0.1)
        await system.ref(CLAIMER).ask(StopWaking())
        board.put("one")
        system.ref(CLAIMER).tell_nowait(DueNoticed(board.clock.now_ms()))
        await trio.sleep(10 * LOOK_EVERY)

    assert board.woken == []
    assert board.claimed == set()
    assert board.tenure.draining


async def test_what_is_claimed_while_the_node_is_told_to_stop_is_given_back(
    board: Board, autojump_clock: MockClock
) -> None:
    claim = board.claim

    def claim_late(limit: int) -> Claims:
        system.ref(CLAIMER).tell_nowait(StopWaking())
        return claim(limit)

    async with claiming(board) as system:
        await trio.sleep(1)
        board.put("one")
        board.claim = claim_late  # type: ignore[method-assign]  # the moment in between
        system.ref(CLAIMER).tell_nowait(DueNoticed(board.clock.now_ms()))
        await trio.sleep(1)

    assert board.woken == [] or board.claimed == set()
    assert board.claimed == set()


async def test_it_has_stopped_waking_only_when_all_whom_it_woke_have_answered(
    board: Board, autojump_clock: MockClock
) -> None:
    order: list[object] = []
    board.loading = []

    async def stop() -> None:
        await system.ref(CLAIMER).ask(StopWaking())
        order.append([name for _, name in board.woken])

    async with claiming(board) as system, trio.open_nursery() as nursery:
        board.put("one")
        system.ref(CLAIMER).tell_nowait(DueNoticed(board.clock.now_ms()))
        await trio.sleep(0.1)
        nursery.start_soon(stop)
        await trio.sleep(0.1)
        order.append("loaded")
        for end in board.loading:
            end()

    assert order == ["loaded", ["one"]]


# Several nodes on one database ----------------------------------------------------------------------------------------


class Nodes:
    """Writers of several nodes on one database, and what lies in it."""

    def __init__(self, url: str, count: int, places: int | None = None) -> None:
        self.writers: list[SharedWriter] = []
        self.tenures: list[Tenure] = []
        for number in range(count):
            spec = NodeSpec(name=f"n{number}", places=places, lease_ms=60_000)
            store = PostgresStore(url, spec, PostgresLimits(timeout_ms=60_000))
            self.writers.append(store.open_writer())
            self.tenures.append(store.tenure)

    def put(self, *names: str, tenant_id: str = "acme", program: str = "nap", age_ms: int = 1) -> None:
        now = SystemClock().now_ms()
        saves = []
        for nth, name in enumerate(names):
            save = sleeper(name, now - age_ms + nth * 0, program=program)
            row = save.instance
            saves.append(_of_tenant(save, tenant_id) if tenant_id != row.tenant_id else save)
        assert all(self.writers[0].commit(saves))

    def publish(self, *in_use: int) -> None:
        """Say how many places each node has taken."""
        for writer, tenure, count in zip(self.writers, self.tenures, in_use, strict=True):
            tenure.in_use = count
            writer.commit(())

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


def _of_tenant(save: Any, tenant_id: str) -> Any:
    from msgspec.structs import replace

    return replace(save, instance=replace(save.instance, tenant_id=tenant_id))


@contextlib.contextmanager
def nodes(url: str, count: int, places: int | None = None) -> Iterator[Nodes]:
    with contextlib.closing(Nodes(url, count, places)) as found:
        yield found


def test_nodes_share_what_is_due_fairly(database: str) -> None:
    with nodes(database, 3) as all_nodes:
        all_nodes.put(*(f"i{number:03}" for number in range(300)))

        shares = [writer.claim_due(1_000, 0) for writer in all_nodes.writers]

    counts = [len(share.claimed) for share in shares]
    assert counts[0] == 100, "a third, though it came first"
    assert sum(counts) < 300, "and the last does not take all that is left"
    assert min(counts) > 30


def test_what_one_node_leaves_another_takes_with_the_next_turns(database: str) -> None:
    with nodes(database, 3) as all_nodes:
        all_nodes.put(*(f"i{number:03}" for number in range(90)))

        claimed = [len(all_nodes.writers[0].claim_due(1_000, turn).claimed) for turn in range(12)]

    assert sum(claimed) >= 80
    assert claimed[0] == 30


def test_the_least_busy_node_takes_what_is_due_first(database: str) -> None:
    with nodes(database, 2, places=10) as all_nodes:
        all_nodes.publish(8, 0)
        all_nodes.put("one")

        busy = all_nodes.writers[0].claim_due(2, 0).claimed
        idle = all_nodes.writers[1].claim_due(10, 0).claimed

    assert busy == []
    assert [due.key.instance_id for due in idle] == ["one"]


def test_a_node_that_is_full_or_draining_leaves_everything_to_the_others(database: str) -> None:
    with nodes(database, 3, places=10) as all_nodes:
        all_nodes.tenures[1].draining = True
        all_nodes.publish(10, 0, 0)
        all_nodes.put(*(f"i{number}" for number in range(9)))

        claimed = all_nodes.writers[2].claim_due(10, 0).claimed

    assert len(claimed) == 9


def test_a_tenant_with_a_thousand_due_does_not_starve_another_one(database: str) -> None:
    with nodes(database, 1) as all_nodes:
        all_nodes.put(*(f"i{number:04}" for number in range(1_200)), age_ms=60_000)
        all_nodes.put("small", tenant_id="zeta", age_ms=10)

        claims = all_nodes.writers[0].claim_due(4, 0)

    assert ("zeta", "small") in [due.key for due in claims.claimed]


def test_a_node_claims_nothing_of_who_is_barred_there_and_the_others_are_claimed_as_ever(database: str) -> None:
    with nodes(database, 1) as all_nodes:
        all_nodes.put("full", tenant_id="acme")
        all_nodes.put("bound", tenant_id="zeta", program="image:x")
        all_nodes.put("free", tenant_id="zeta")

        barred = all_nodes.writers[0].claim_due(10, 0, Barred(("acme",), ("image:x",)))
        rest = all_nodes.writers[0].claim_due(10, 0)

    assert ([due.key.instance_id for due in barred.claimed], barred.due) == (["free"], 1)
    assert {due.key.instance_id for due in rest.claimed} == {"full", "bound"}


def test_a_node_claims_only_what_it_can_run(database: str) -> None:
    with nodes(database, 1) as all_nodes:
        picky = PostgresStore(database, NodeSpec(name="picky", programs=("pick",)))
        with contextlib.closing(picky.open_writer()) as writer:
            all_nodes.put("other", program="nap")
            all_nodes.put("mine", program="pick")

            claims = [due for turn in range(4) for due in writer.claim_due(10, turn).claimed]

    assert [due.key.instance_id for due in claims] == ["mine"]


def test_what_was_claimed_is_claimed_by_nobody_else_until_it_is_given_back(database: str) -> None:
    with nodes(database, 2) as all_nodes:
        all_nodes.put("one", "two")
        first, second = all_nodes.writers
        mine = [due.key for turn in range(4) for due in first.claim_due(10, turn).claimed]

        before = [due for turn in range(4) for due in second.claim_due(10, turn).claimed]
        second.release_claim(mine[0])  # not its own
        second.release_claims()
        between = [due for turn in range(4) for due in second.claim_due(10, turn).claimed]
        first.release_claim(mine[0])
        one = [due.key for turn in range(4) for due in second.claim_due(10, turn).claimed]
        first.release_claims()
        other = [due.key for turn in range(4) for due in second.claim_due(10, turn).claimed]

    assert len(mine) == 2
    assert (before, between) == ([], [])
    assert (one, other) == ([mine[0]], [mine[1]])


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(0, 5)), min_size=1, max_size=40))
def test_no_two_nodes_ever_claim_the_same(crowd: Nodes, claims: list[tuple[int, int, int]]) -> None:
    everything = _fill(crowd, 60)
    found = [due.key for who, limit, turn in claims for due in crowd.writers[who].claim_due(limit, turn).claimed]

    _clear(crowd)

    assert len(found) == len(set(found))
    assert set(found) <= everything


@pytest.fixture
def crowd(database: str) -> Iterator[Nodes]:
    with nodes(database, 4) as found:
        yield found


_rounds = iter(range(10**6))


def _fill(crowd: Nodes, count: int) -> set[InstanceKey]:
    round_ = next(_rounds)
    names = [f"r{round_}-{number}" for number in range(count)]
    crowd.put(*names)
    return {key_of(name) for name in names}


def _clear(crowd: Nodes) -> None:
    for writer in crowd.writers:
        connection: Any = writer
        connection._connection.execute("DELETE FROM instances")


def test_nodes_that_claim_all_at_the_same_time_claim_everything_once(crowd: Nodes) -> None:
    everything = _fill(crowd, 400)

    def claim(writer: SharedWriter) -> list[InstanceKey]:
        found: list[InstanceKey] = []
        for turn in range(1_000):
            claims = writer.claim_due(7, turn)
            found += [due.key for due in claims.claimed]
            if not claims.due:
                break
        return found

    with ThreadPoolExecutor(4) as pool:
        found = [key for keys in pool.map(claim, crowd.writers) for key in keys]

    assert len(found) == len(set(found))
    assert set(found) == everything


# Whole systems --------------------------------------------------------------------------------------------------------


async def test_a_sleeper_is_woken_once_in_time_whoever_of_three_nodes_it_slept_at(database: str) -> None:
    village, launches, done = Village(database), [], []

    def programs(name: str) -> Any:
        async def nap(key: InstanceKey, epoch: int) -> None:
            launches.append((key.instance_id, epoch))
            node = next(node for node in village.nodes.values() if node.name == name)
            await node.ask(key.instance_id, RegisterInstance(attempt_id=f"a{epoch}"), epoch)
            if epoch == 1:
                command = Sleep(checkpoint_id="c", duration_ms=300, park=True)
                await node.ask(key.instance_id, command, epoch)
            else:  # what still ran when its node ends would rightly be launched again by those that are left
                await node.ask(key.instance_id, CompleteInstance(), epoch)
                done.append(key.instance_id)

        return {"nap": nap}

    async with (
        village.open("a", programs=programs("a")) as a,
        village.open("b", programs=programs("b")) as b,
        village.open("c", programs=programs("c")) as c,
    ):
        for number in range(12):
            await a.ask(f"i{number}", StartInstance(program="nap"))
        await until(lambda: _length(done), lambda length: length >= 12)
        woken = [node.facts(SCHEDULER)["woken"] for node in (a, b, c)]

    assert sorted(launches) == sorted((f"i{number}", epoch) for number in range(12) for epoch in (1, 2))
    assert sum(woken) == 24


async def _length(found: list[Any]) -> int:
    return len(found)


async def test_what_a_node_had_claimed_when_it_died_is_woken_when_it_comes_back(database: str) -> None:
    village, launched = Village(database), trio.Event()

    async def nap(_key: InstanceKey, _epoch: int) -> None:
        launched.set()

    store = PostgresStore(database, NodeSpec(name="a", lease_ms=60_000))
    writer = store.open_writer()
    assert all(writer.commit([sleeper("one", SystemClock().now_ms() - 1)]))
    assert len(writer.claim_due(1, 0).claimed) == 1
    store.tenure.lasting = True  # it dies without a word
    writer.close()

    async with village.open("a", programs={"nap": nap}):
        await launched.wait()
