"""Systems that share a database: who owns what, what becomes of it when a node is lost, and what that one may say."""

import signal
from collections.abc import Mapping
from typing import Any

import pytest
import trio

from runtara.actors import nodes
from runtara.actors.programs import Program
from runtara.actors.sessions import Attach, Changed
from runtara.errors import StoreInUse, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import (
    CompleteInstance,
    GetStatus,
    Heartbeat,
    InstanceInfo,
    ListNodes,
    RegisterInstance,
    SaveCheckpoint,
    StartInstance,
)
from runtara.records import Signal
from runtara.store._postgres import PostgresStore
from runtara.system import HEARTBEAT, INSTANCES, SESSIONS
from runtara.transport import Session
from tests.actors.village import Node, Village, until
from tests.postgres import open_cluster

KEEPER = "root/timers/node"
REGISTER = RegisterInstance(attempt_id="a")


@pytest.fixture
def village(database: str) -> Village:
    return Village(database)


class Crew:
    """Programs that say where they run, and stay until they are stopped; from the second attempt on they complete."""

    def __init__(self) -> None:
        self.running: list[tuple[str, int]] = []
        self.ended: list[tuple[str, int]] = []
        self.nodes: dict[str, Node] = {}

    def of(self, name: str) -> Mapping[str, Program]:
        async def ship(key: InstanceKey, epoch: int) -> None:
            self.running.append((name, epoch))
            try:
                if epoch == 1:
                    await trio.sleep_forever()
                await until(lambda: self.nodes[name].runtime.dispatch.call(key, CompleteInstance(), epoch))
            finally:
                self.ended.append((name, epoch))

        return {"ship": ship}


class Ear(Session):
    """A session that keeps what it was told."""

    def __init__(self, instance_id: str) -> None:
        super().__init__(InstanceKey("acme", instance_id))
        self.heard: list[Signal | None] = []
        self.told = trio.Event()

    def pushed(self, signal: Signal | None, /) -> None:
        self.heard.append(signal)
        self.told.set()


async def lease_until(village: Village, name: str) -> int:
    rows = await village.execute("SELECT lease_until FROM nodes WHERE name = %s AND lost_at IS NULL", name)
    return int(rows[0][0]) if rows else 0


async def listener_of(village: Village) -> int | None:
    """The process that serves the one listener, once there is one."""
    rows = await village.execute(
        "SELECT pid FROM pg_stat_activity WHERE query ILIKE '%%listen runtara%%' AND datname = current_database()"
        " AND pid <> pg_backend_pid()"
    )
    return rows[0][0] if rows else None


# A node that is lost --------------------------------------------------------------------------------------------------


async def test_a_node_that_is_declared_lost_writes_nothing_and_begins_a_new_tenure_with_nothing_in_memory(
    village: Village,
) -> None:
    async with village.open("a") as a, village.open("b") as b:
        await a.ask("one", REGISTER)
        await a.ask("one", SaveCheckpoint(checkpoint_id="c", state=b"1"), 1)
        first = a.store.tenure.number
        await village.lose("a")
        await until(lambda: village.owner_of("one"), lambda owner: owner == "b")

        with pytest.raises(StoreUnavailable):
            await a.ask("three", REGISTER)
        await until(lambda: a.ask("three", REGISTER))
        info: InstanceInfo = await a.ask("one", GetStatus())
        await b.ask("one", CompleteInstance(), 1)
        after: InstanceInfo = await a.ask("one", GetStatus())
        lives = a.runtime.system.ref(INSTANCES).slot.incarnation

    assert a.store.tenure.number != first
    assert (info.status, after.status) == (Status.RUNNING, Status.COMPLETED)
    assert b.passed == [GetStatus()]
    assert lives == 2


async def test_nothing_that_a_lost_node_has_begun_to_write_is_accepted(village: Village) -> None:
    async with village.open("a") as a, village.open("b") as b:
        await a.ask("one", REGISTER)
        await village.lose("a")
        await until(lambda: village.owner_of("one"), lambda owner: owner == "b")

        with pytest.raises(StoreUnavailable):
            await a.ask("one", SaveCheckpoint(checkpoint_id="late", state=b"2"), 1)
        info: InstanceInfo = await b.ask("one", GetStatus())

    assert info.checkpoint_id is None


async def test_what_a_lost_node_had_launched_crashes_without_it_counting_and_runs_elsewhere(village: Village) -> None:
    crew = Crew()
    async with (
        village.open("a", programs=crew.of("a"), max_auto_restarts=0) as crew.nodes["a"],
        village.open("b", programs=crew.of("b"), max_auto_restarts=0) as crew.nodes["b"],
    ):
        a, b = crew.nodes["a"], crew.nodes["b"]
        await a.ask("one", StartInstance(program="ship"))
        await until(lambda: village.owner_of("one"))
        where = await until(lambda: _first(crew.running))
        await village.lose(where[0])

        info: InstanceInfo = await until(
            lambda: (b if where[0] == "a" else a).ask("one", GetStatus()), lambda info: info.status is Status.COMPLETED
        )
        await until(lambda: crew.nodes[where[0]].ask("two", REGISTER))

    assert crew.running[0][1] == 1
    assert len(crew.running) == 2
    assert where in crew.ended, "the lost node stops what it had launched"
    assert info.status is Status.COMPLETED


async def test_a_keeper_that_crashes_before_it_has_told_anybody_tells_in_its_next_life(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, crew, lives = nodes.NodeKeeper._report, Crew(), []

    async def crash_first(keeper: nodes.NodeKeeper, *args: Any) -> None:
        lives.append(keeper)
        if len(lives) == 1:
            raise LookupError("the first report crashes")
        await report(keeper, *args)

    monkeypatch.setattr(nodes.NodeKeeper, "_report", crash_first)
    async with (
        village.open("a", programs=crew.of("a")) as crew.nodes["a"],
        village.open("b", programs=crew.of("b")) as crew.nodes["b"],
    ):
        await crew.nodes["a"].ask("one", StartInstance(program="ship"))
        await until(lambda: village.owner_of("one"))
        where = await until(lambda: _first(crew.running))
        await village.lose(where[0])
        other = crew.nodes["b" if where[0] == "a" else "a"]
        await until(lambda: other.ask("one", GetStatus()), lambda info: info.status is Status.COMPLETED)

    assert len(lives) == 2
    assert lives[0] is not lives[1]


async def _first(found: list[Any]) -> Any:
    return found[0] if found else None


async def test_what_a_lost_node_had_not_launched_goes_on_and_is_watched_by_the_new_owner(village: Village) -> None:
    async with village.open("a") as a, village.open("b", heartbeat_timeout_ms=60_000) as b:
        await a.ask("one", REGISTER)
        before = b.facts(HEARTBEAT)["watched"]
        await village.lose("a")
        await until(lambda: village.owner_of("one"), lambda owner: owner == "b")

        await b.ask("one", SaveCheckpoint(checkpoint_id="c", state=b"1"), 1)
        await until(lambda: _fact(b, HEARTBEAT, "watched"), lambda watched: watched == 1)

    assert before == 0


async def _fact(node: Node, path: str, name: str) -> Any:
    return node.facts(path)[name]


async def test_silence_after_a_takeover_is_noticed_by_the_new_owner(village: Village) -> None:
    async with village.open("b", heartbeat_timeout_ms=1_000) as b:
        async with village.open("a") as a:
            await a.ask("one", REGISTER)

        info: InstanceInfo = await until(
            lambda: b.ask("one", GetStatus()), lambda info: info.status is not Status.RUNNING
        )

    assert info.status in (Status.SUSPENDED, Status.FAILED)


async def test_a_node_that_ends_gives_what_it_owned_to_the_others_at_once(village: Village) -> None:
    async with village.open("b") as b:
        async with village.open("a") as a:
            await a.ask("one", REGISTER)

        await until(lambda: village.owner_of("one"), lambda owner: owner == "b")
        await b.ask("one", CompleteInstance(), 1)


async def test_a_node_that_dies_is_missed_when_its_lease_has_run_out_and_not_before(village: Village) -> None:
    async with village.open("b", lease_ms=1_000) as b:
        async with village.open("a", lease_ms=2_000) as a:
            await a.ask("one", REGISTER)
            a.store.tenure.lasting = True  # so that it ends without a word
        until_ms = await lease_until(village, "a")

        await until(lambda: village.owner_of("one"), lambda owner: owner == "b")
        [(lost_at,)] = await village.execute("SELECT lost_at FROM nodes WHERE name = 'a'")
        await b.ask("one", CompleteInstance(), 1)

    assert lost_at > until_ms


async def test_a_node_that_comes_back_within_its_lease_keeps_what_it_owned(village: Village) -> None:
    async with village.open("b") as b:
        async with village.open("a") as a:
            await a.ask("one", REGISTER)
            a.store.tenure.lasting = True
        async with village.open("a") as again:
            await village.execute("NOTIFY runtara_nodes, 'somebody'")
            await again.ask("one", SaveCheckpoint(checkpoint_id="c", state=b"1"), 1)
            owner = await village.owner_of("one")
            facts = b.facts(KEEPER)

    assert owner == "a"
    assert again.store.tenure.number == a.store.tenure.number or again.store.tenure.incarnation > 1
    assert facts["taken_over"] == 0


async def test_more_than_are_taken_over_at_once_are_all_taken_over(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "_TOGETHER", 2)
    async with village.open("a") as a, village.open("b") as b:
        for number in range(7):
            await a.ask(f"r{number}", REGISTER)
            await b.ask(f"s{number}", StartInstance(program="nobody-has-it"))
        await village.execute(
            "UPDATE instances SET owner = (SELECT number FROM nodes WHERE name = 'a') WHERE status = 'pending'"
        )
        await village.lose("a")

        await until(
            lambda: village.execute("SELECT DISTINCT status, owner FROM instances ORDER BY status"),
            lambda rows: rows == [("pending", None), ("running", b.store.tenure.number)],
        )


async def test_another_process_that_comes_as_this_node_ends_it(village: Village) -> None:
    async def live_twice() -> None:
        async with village.open("a") as first, village.open("a") as second:
            with pytest.raises(StoreInUse):
                await first.ask("one", REGISTER)
            await second.ask("one", REGISTER)
            await trio.sleep_forever()

    with pytest.raises(StoreInUse, match="node 'a'"):
        await live_twice()


# A node that cannot reach the database --------------------------------------------------------------------------------


async def test_a_node_that_says_nothing_keeps_its_lease(village: Village) -> None:
    async with village.open("a", lease_ms=1_000) as a:
        began = await lease_until(village, "a")
        await until(lambda: lease_until(village, "a"), lambda ends: ends > began + 1_500)

        assert a.store.tenure.holds


async def test_a_node_whose_lease_has_run_out_answers_nothing_from_memory_until_the_database_is_back() -> None:
    with open_cluster() as cluster:
        async with Village(cluster.url).open("a", lease_ms=1_000) as a:
            await a.ask("one", REGISTER)
            await a.ask("one", GetStatus())
            number = a.store.tenure.number
            cluster.signal(signal.SIGSTOP)
            try:
                await until(a.is_cut_off)
                with pytest.raises(StoreUnavailable, match="out of touch"):
                    await a.ask("one", GetStatus())
            finally:
                cluster.signal(signal.SIGCONT)

            info: InstanceInfo = await until(lambda: a.ask("one", GetStatus()))
            again = a.store.tenure.number

    assert info.status is Status.RUNNING
    assert again == number, "nobody was there to take over"


async def test_whoever_takes_over_after_the_database_stood_still_all_nodes_go_on() -> None:
    with open_cluster() as cluster:
        village = Village(cluster.url)
        async with village.open("a", lease_ms=1_000) as a, village.open("b", lease_ms=1_000) as b:
            await a.ask("one", REGISTER)
            await b.ask("two", REGISTER)
            cluster.signal(signal.SIGSTOP)
            for node in (a, b):
                await until(node.is_cut_off)
            cluster.signal(signal.SIGCONT)

            for node in (a, b):
                for name in ("one", "two"):
                    command = SaveCheckpoint(checkpoint_id=f"{node.name}{name}", state=b"1")
                    await until(lambda: node.ask(name, command, 1))  # noqa: B023 - called at once
            [(owned,)] = await village.execute(
                "SELECT count(*) FROM instances JOIN nodes ON nodes.number = owner WHERE lost_at IS NULL"
            )

    assert owned == 2


async def test_a_program_at_one_node_is_kept_alive_at_the_node_that_owns_its_instance(village: Village) -> None:
    async with village.open("a", heartbeat_interval_ms=100) as a, village.open("b", heartbeat_timeout_ms=2_000) as b:
        await b.ask("one", REGISTER)
        ear = Ear("one")
        ear.epoch = 1
        a.runtime.system.ref(SESSIONS).tell_nowait(Attach(ear))
        await until(lambda: _count(b.passed), lambda count: count > 40)  # twice as long as silence is borne

        info: InstanceInfo = await b.ask("one", GetStatus())

    assert info.status is Status.RUNNING
    assert set(b.passed) == {Heartbeat()}


# What others say ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "digests", "numbers"),
    [
        ("*", None, None),
        ("aa #1 bb #22", {"aa", "bb"}, {1, 22}),
        ("aa bb", {"aa", "bb"}, None),
        ("aa #x #1", {"aa"}, {1}),
        ("", set(), None),
    ],
    ids=["many", "rows", "of before", "garbled", "nothing"],
)
def test_a_notice_says_which_instances_and_which_rows(
    text: str, digests: set[str] | None, numbers: set[int] | None
) -> None:
    assert nodes._changed(text) == Changed(
        None if digests is None else frozenset(digests), None if numbers is None else frozenset(numbers)
    )


async def test_a_session_is_told_what_another_node_has_changed(village: Village) -> None:
    async with village.open("a") as a, village.open("b") as b:
        await until(lambda: _fact(a, KEEPER, "hears"))
        ear, other = Ear("one"), Ear("two")
        for session in (ear, other):
            a.runtime.system.ref(SESSIONS).tell_nowait(Attach(session))
        await b.ask("one", REGISTER)

        await ear.told.wait()
        heard = list(ear.heard)  # of what happens when the other node has gone, it is told as well

    assert heard == [None]
    assert other.heard == []


async def test_a_listener_whose_connection_is_killed_makes_another_and_all_look_what_they_have_missed(
    village: Village,
) -> None:
    async with village.open("a") as a:
        first = await until(lambda: listener_of(village))
        ear = Ear("one")
        a.runtime.system.ref(SESSIONS).tell_nowait(Attach(ear))
        await village.execute("SELECT pg_terminate_backend(%s)", first)

        await ear.told.wait()
        second = await until(lambda: listener_of(village))
        async with village.open("b") as b:
            ear.told = trio.Event()
            await b.ask("one", REGISTER)
            await ear.told.wait()

    assert second != first


async def test_what_all_nodes_agree_on_is_told_at_the_start_and_when_it_changes(village: Village) -> None:
    told: list[Mapping[str, bytes]] = []
    other = PostgresStore(village.url)
    other.agree({"secret": b"1"})
    village.took_documents = told.append
    async with village.open("a"):
        await until(lambda: _first(told))
        other.publish("secret", b"2", 1)
        await until(lambda: _last(told), lambda documents: documents == {"secret": b"2"})

    assert told[0] == {"secret": b"1"}


async def _last(found: list[Any]) -> Any:
    return found[-1] if found else None


async def test_a_node_whose_own_disk_is_full_goes_on_without_what_all_agree_on(village: Village) -> None:
    tries: list[object] = []

    def full(documents: object) -> None:
        tries.append(documents)
        raise OSError(28, "No space left on device")

    village.took_documents = full
    async with village.open("a", lease_ms=1_000) as a:
        for _ in range(8):  # more often than a group of actors is restarted
            seen = len(tries)
            await village.execute("NOTIFY runtara_nodes, 'documents'")
            await until(lambda: _count(tries), lambda count: count > seen)  # noqa: B023 - called at once
        await a.ask("one", REGISTER)
        life = a.runtime.system.ref(KEEPER).slot.incarnation

    assert life == 1


async def _count(found: list[Any]) -> int:
    return len(found)


async def test_a_node_tells_who_is_there(village: Village) -> None:
    async with village.open("a") as a, village.open("b"):
        await a.ask("one", REGISTER)
        found = (await a.ask("one", ListNodes())).nodes
        facts = a.facts(KEEPER)

    assert [(node.name, node.address, node.owned, node.lost_at) for node in found] == [
        ("a", "a.test:1", 1, None),
        ("b", "b.test:1", 0, None),
    ]
    assert (facts["node"], facts["alone"]) == ("a", False)
    assert facts["lease_s"] > 5  # of 60, on a machine that may stand still for a while


# An instance that is replaced -----------------------------------------------------------------------------------------


async def test_no_node_remembers_an_instance_that_another_one_has_replaced(village: Village) -> None:
    again = RegisterInstance(attempt_id="b", replace=True)
    async with village.open("a") as a, village.open("b") as b:
        await a.ask("one", REGISTER)
        await a.ask("one", CompleteInstance(output=b"old"), 1)
        before: list[InstanceInfo] = [await node.ask("one", GetStatus()) for node in (a, b)]

        await b.ask("one", again)
        after: list[InstanceInfo] = [await node.ask("one", GetStatus()) for node in (a, b)]
        await b.ask("one", CompleteInstance(output=b"new"), 2)
        at_last: list[InstanceInfo] = [await node.ask("one", GetStatus()) for node in (a, b)]

    assert [info.output for info in before] == [b"old", b"old"]
    assert [(info.status, info.epoch) for info in after] == [(Status.RUNNING, 2)] * 2
    assert [info.output for info in at_last] == [b"new", b"new"]


async def test_an_instance_that_another_node_runs_is_replaced_by_that_node(village: Village) -> None:
    crew = Crew()
    async with (
        village.open("a", programs=crew.of("a")) as crew.nodes["a"],
        village.open("b", programs=crew.of("b")) as crew.nodes["b"],
    ):
        a, b = crew.nodes["a"], crew.nodes["b"]
        await a.ask("one", StartInstance(program="ship"))
        where = await until(lambda: _first(crew.running))
        start = StartInstance(program="ship", input=b"new", replace=True)

        started = await (b if where[0] == "a" else a).ask("one", start)
        info: InstanceInfo = await until(
            lambda: a.ask("one", GetStatus()), lambda info: info.status is Status.COMPLETED
        )

    assert started.created
    assert (info.epoch, info.losses) == (3, 0)
    assert where in crew.ended, "the old one is stopped"
    assert [epoch for _, epoch in crew.running] == [1, 3]
