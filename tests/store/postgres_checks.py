"""What a PostgreSQL store must do when the server, the network or another node gets in its way: one check for each.

A check is a function that takes a `Bench` and fails by an assertion. `test_postgres_faults.py` runs them all, and
`test_postgres_planted.py` shows that each of them notices a bug.
"""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import psycopg
import pytest

from runtara.clock import monotonic
from runtara.errors import Busy, OutcomeUnknown, StoreInUse, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.store import Copies, Finished, Save
from runtara.store._postgres import PostgresStore
from runtara.store._postgres_door import SQL, PostgresLimits
from runtara.store._postgres_reader import PostgresReader
from runtara.store._tenure import NodeSpec
from runtara.store._terms import LeaseLost
from tests.postgres import Cluster
from tests.store.postgres_workload import DEFINITE, Outcome, Workload, audit
from tests.store.samples import KEY, checkpoint, event, image_version, loaded, put, save, signal
from tests.store.tcp_proxy import Cut, TcpProxy

__all__ = ["CHECKS", "PATIENT", "QUICK", "Bench", "campaign", "eventually", "waits_for_a_lock"]

QUICK: Final = PostgresLimits(connect_timeout_ms=3_000, timeout_ms=800, lock_timeout_ms=400)
"""So that whoever is kept waiting does not wait for long. A busy machine keeps everybody waiting: else be `PATIENT`."""

PATIENT: Final = PostgresLimits(connect_timeout_ms=40_000, timeout_ms=40_000, lock_timeout_ms=20_000)

LIMIT_S: Final = 100.0
GIVEN_UP_S: Final = 15.0
"""Long enough for `QUICK` to give a connection up and make another one, also on a machine that stalls for a while."""

OTHER: Final = InstanceKey("acme", "order-2")


class Bench(NamedTuple):
    """A server, an empty database of it, and a way there that fails when it is told to."""

    cluster: Cluster
    url: str
    proxy: TcpProxy
    tmp_path: Any = None

    @property
    def detour(self) -> str:
        """The database by way of the proxy."""
        return self.proxy.url_of(self.url)

    @contextlib.contextmanager
    def admin(self) -> Iterator["psycopg.Connection[Any]"]:
        """Somebody else in the database."""
        with psycopg.connect(self.url, autocommit=True, options="-c search_path=runtara") as connection:
            yield connection

    def workload(self, seed: int = 0, *, limits: PostgresLimits = PATIENT, detour: bool = True) -> Workload:
        return Workload(PostgresStore(self.detour if detour else self.url, limits=limits), seed)

    @contextlib.contextmanager
    def node(self, limits: PostgresLimits = PATIENT, *, detour: bool = True, name: str = "a") -> Iterator["Node"]:
        """A node. Its reader takes the straight way, so that it sees what is stored whatever happens to the writer."""
        store = PostgresStore(self.detour if detour else self.url, NodeSpec(name=name), limits)
        with (
            contextlib.closing(store.open_writer()) as writer,
            contextlib.closing(PostgresReader(self.url, limits, store.tenure)) as reader,
        ):
            yield Node(store, writer, reader)


class Node(NamedTuple):
    store: PostgresStore
    writer: Any
    reader: Any


def eventually(holds: Callable[[], object]) -> None:
    """Wait until something holds of which nobody tells when it does."""
    look_again = threading.Event()
    for _ in range(int(LIMIT_S * 100)):
        if holds():
            return
        look_again.wait(0.01)
    raise AssertionError("it never came to pass")


@contextlib.contextmanager
def meanwhile(call: Callable[..., Any], *arguments: object) -> Iterator["Future[Any]"]:
    """Make a call in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(call, *arguments)


def waits_for_a_lock(bench: Bench) -> bool:
    """Whether a node waits for somebody."""
    with bench.admin() as admin:
        found = admin.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'runtara' AND wait_event_type = 'Lock'"
        ).fetchall()
    return bool(found[0][0])


def refused_as(call: Callable[..., Any], *arguments: object) -> type[BaseException] | None:
    """The class of the error that a call raises."""
    try:
        call(*arguments)
    except Exception as error:  # noqa: BLE001 # whatever it is
        return type(error)
    return None


def change(version: int = 2) -> list[Save]:
    """A change of the sample instance, and a new one beside it."""
    return [save(KEY, version, checkpoints=(checkpoint("late"),)), save(OTHER)]


def stored_late(node: Node) -> list[bool]:
    """Whether what `change` says is stored, row by row."""
    rows = node.reader.load([KEY, OTHER])
    return [rows[KEY].instance.version == 2, "late" in rows[KEY].checkpoint_ids, OTHER in rows]


# Under load -----------------------------------------------------------------------------------------------------------


def campaign(bench: Bench, seed: int, cycles: int, disturb: Callable[[random.Random], None]) -> Workload:
    """Disturb a workload again and again, and audit what it has left. `disturb` ends when all works again."""
    moments = random.Random(seed)
    works_again, done = threading.Event(), threading.Event()
    with bench.workload(seed, detour=False) as work:
        with meanwhile(work.run, done, lambda: works_again.wait(LIMIT_S)) as worker:
            try:
                for _ in range(cycles):
                    await_progress(work, worker, moments.randint(1, 3))
                    works_again.clear()
                    threading.Event().wait(moments.uniform(0, 0.004))  # anywhere in a commit, and between two
                    disturb(moments)
                    works_again.set()
                await_progress(work, worker, 2)
            finally:
                done.set()
                works_again.set()
        worker.result()
        problems = audit(work)
    assert not problems, problems[:10]
    return work


def await_progress(work: Workload, worker: "Future[None]", count: int) -> None:
    while work.acknowledged.acquire(blocking=False):
        pass
    for _ in range(count):
        if not work.acknowledged.acquire(timeout=LIMIT_S):
            assert worker.done(), "nothing was acknowledged any more"
            worker.result()


def throw_out(bench: Bench) -> Callable[[random.Random], None]:
    """End the connections of all nodes, now and then a second time, while they find out what became of their batch."""

    def disturb(moments: random.Random) -> None:
        with bench.admin() as admin:
            for _ in range(moments.randint(1, 2)):
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'runtara'"
                )

    return disturb


def writers_that_are_thrown_out_know_the_truth(bench: Bench) -> None:
    work = campaign(bench, 5, 25, throw_out(bench))

    assert work.counts[Outcome.OK] > 25
    assert work.counts[Outcome.REFUSED] + work.counts[Outcome.UNKNOWN] > 2


def a_quiet_store_does_as_it_says(bench: Bench) -> None:
    with bench.workload(1) as work:
        assert all(work.step() for _ in range(40))
        assert any(False in entry.stored for entry in work.journal)
        assert audit(work) == []


def refusals_of_several_rounds_are_all_told(bench: Bench) -> None:
    third = InstanceKey("acme", "order-3")
    with bench.node() as node:
        batch = [save(KEY), save(KEY, 9), save(OTHER, 5), save(KEY, 2), save(KEY, 2), save(OTHER), save(third)]
        expected = [True, False, False, True, False, True, True]
        assert node.writer.commit(batch) == expected
        assert node.writer.commit([save(KEY, 9), save(KEY, 3)]) == [False, True]
        assert [loaded(node.reader, key).instance.version for key in (KEY, OTHER, third)] == [3, 1, 1]


# The network ----------------------------------------------------------------------------------------------------------


def cut_at(bench: Bench, cuts: list[Cut], count: int | None = None, limits: PostgresLimits = PATIENT) -> Workload:
    with bench.workload(1, limits=limits) as work:
        for _ in range(4):
            assert work.step()
        for cut in cuts:
            bench.proxy.plan(cut)
            while not bench.proxy.cut_happened.is_set():
                work.step(count)
            settle(work)
        problems = audit(work)
    assert not problems, problems[:10]
    return work


def settle(work: Workload) -> None:
    """Settle what is not known; on a busy machine even that may take longer than it may."""
    until = time.monotonic() + LIMIT_S
    while True:
        try:
            work.catch_up()
            return
        except DEFINITE:
            if time.monotonic() > until:
                raise


def an_answer_that_is_lost_is_found_out(bench: Bench) -> None:
    alone = cut_at(bench, [Cut("answer")] * 25, 1)

    assert alone.counts.keys() == {Outcome.OK}


def an_answer_of_many_that_is_lost_is_found_out(bench: Bench) -> None:
    work = cut_at(bench, [Cut("answer", after) for after in range(0, 400, 16)], 5)

    assert work.counts.keys() == {Outcome.OK, Outcome.REFUSED}


def an_answer_is_believed_only_when_it_is_complete(bench: Bench) -> None:
    work = cut_at(bench, [Cut("answer", after) for after in range(1, 160, 4)], 1)

    assert work.counts.keys() == {Outcome.OK}


def a_request_that_is_cut_off_is_stored_wholly_or_not_at_all(bench: Bench) -> None:
    places = random.Random(3)
    work = cut_at(bench, [Cut("request", places.randrange(4_000)) for _ in range(40)])

    assert work.counts[Outcome.REFUSED] > 20
    assert work.counts[Outcome.UNKNOWN] == 0


def a_connection_that_breaks_while_it_is_made_is_made_again(bench: Bench) -> None:
    with bench.workload(2) as work:
        assert work.step()
        for after in range(0, 1_300, 50):
            throw_out(bench)(random.Random(1))
            bench.proxy.plan(Cut("answer", after))
            while not bench.proxy.cut_happened.is_set():
                work.step(1)
            settle(work)  # who is thrown out may notice it only now
        problems = audit(work)
    assert not problems, problems[:10]
    assert work.counts[Outcome.UNKNOWN] > 5


def a_network_that_falls_silent_is_given_up(bench: Bench) -> None:
    began = monotonic()
    work = cut_at(bench, [Cut("answer", silent=True), Cut("request", 100, silent=True)], limits=QUICK)

    assert monotonic() - began < 2 * GIVEN_UP_S
    assert work.counts[Outcome.REFUSED] == 1
    assert work.counts[Outcome.UNKNOWN] == 0


# Fencing --------------------------------------------------------------------------------------------------------------


def a_request_that_arrives_late_stores_nothing(bench: Bench) -> None:
    with bench.node(QUICK) as node:
        put(node.writer, save(KEY))
        bench.proxy.hold()
        refused = refused_as(node.writer.commit, change())
        before = stored_late(node)
        bench.proxy.release()
        assert bench.proxy.answered.wait(LIMIT_S)

        assert (refused, before) == (StoreUnavailable, [False] * 3)
        assert stored_late(node) == [False] * 3
        put(node.writer, *change())


def a_lost_node_stores_nothing_of_what_was_on_its_way(bench: Bench) -> None:
    with bench.node() as node, bench.admin() as admin:
        put(node.writer, save(KEY))
        bench.proxy.hold()
        with meanwhile(refused_as, node.writer.commit, change()) as refused:
            assert bench.proxy.held.wait(LIMIT_S)
            admin.execute("UPDATE nodes SET lost_at = 1")
            bench.proxy.release()
        assert refused.result() is LeaseLost
        with bench.node(name="b") as other:
            assert stored_late(other) == [False] * 3


def a_newer_process_makes_void_what_the_older_has_on_its_way(bench: Bench) -> None:
    with bench.node() as node:
        put(node.writer, save(KEY))
        bench.proxy.hold()
        with meanwhile(refused_as, node.writer.commit, change()) as refused:
            assert bench.proxy.held.wait(LIMIT_S)
            with bench.node(detour=False) as newer:
                bench.proxy.release()
                assert refused.result() is StoreInUse
                assert stored_late(newer) == [False] * 3
                put(newer.writer, *change())


def a_node_that_is_lost_while_it_asks_is_told_what_became_of_its_batch(bench: Bench) -> None:
    with bench.node(QUICK) as node, bench.admin() as admin:
        put(node.writer, save(KEY))
        bench.proxy.plan(Cut("answer", silent=True))
        with meanwhile(node.writer.commit, [*change(), save(InstanceKey("acme", "order-3"), 9)]) as told:
            assert bench.proxy.cut_happened.wait(LIMIT_S)
            admin.execute("UPDATE nodes SET lost_at = 1")
        assert told.result() == [True, True, False]
        with pytest.raises(LeaseLost):
            node.writer.commit([])
        with bench.node(name="b") as other:
            assert stored_late(other) == [True] * 3


def a_node_that_is_replaced_while_it_asks_does_not_guess(bench: Bench) -> None:
    with bench.node(QUICK) as node:
        put(node.writer, save(KEY))
        bench.proxy.plan(Cut("answer", silent=True))
        with meanwhile(refused_as, node.writer.commit, change()) as refused:
            assert bench.proxy.cut_happened.wait(LIMIT_S)
            with bench.node(detour=False) as newer:
                put(newer.writer, save(InstanceKey("acme", "order-3")))
                assert refused.result() is OutcomeUnknown
                with pytest.raises(StoreInUse):
                    node.writer.commit([])


def what_another_node_runs_is_left_alone(bench: Bench) -> None:
    with bench.node() as node, bench.node(name="b") as other:
        put(node.writer, save(KEY))
        assert other.writer.commit(change()) == [False, True]
        assert loaded(node.reader).checkpoint_ids == ()
        put(node.writer, save(KEY, 2, status=Status.SUSPENDED))
        assert other.writer.commit([save(KEY, 3, checkpoints=(checkpoint("late"),))]) == [True]


def what_another_node_runs_is_not_replaced(bench: Bench) -> None:
    with bench.node() as node, bench.node(name="b") as other:
        put(node.writer, save(KEY, **OLD))
        assert other.writer.commit([save(KEY, 2, replaces=True), save(OTHER)]) == [False, True]
        assert life_of(node) == "old"
        put(node.writer, save(KEY, 2, status=Status.SUSPENDED))
        assert other.writer.commit([save(KEY, 3, replaces=True, **NEW)]) == [True]
        assert life_of(node) == "new"


OLD: Final[dict[str, Any]] = {
    "input": b"old",
    "checkpoints": (checkpoint("old"),),
    "signals": (signal("old"),),
    "events": (event("old"),),
}
NEW: Final[dict[str, Any]] = {"input": b"new", "checkpoints": (checkpoint("new"),), "events": (event("new"),)}


def life_of(node: Node) -> str:
    """Which of the two an instance is, if all that belongs to it is the same one's."""
    snapshot = loaded(node.reader)
    events = node.reader.list_events(KEY, None, None, 9, None).events
    found: set[str] = {
        (node.reader.read_input(KEY) or b"").decode(),
        *snapshot.checkpoint_ids,
        *(one.type for one in events),
    }
    assert len(found) == 1, found
    life = found.pop()
    assert snapshot.signal_ids == (("old",) if life == "old" else ())
    return life


def a_replacement_that_is_cut_off_is_stored_wholly_or_not_at_all(bench: Bench) -> None:
    told, cuts = set[str](), [Cut("request", after) for after in range(0, 2_400, 120)]
    with bench.node() as node:
        version = 0
        for cut in [*cuts, *(Cut("answer", after) for after in range(0, 300, 40))]:
            put(node.writer, save(KEY, version + 1, replaces=version > 0, **OLD))
            bench.proxy.plan(cut)
            outcome = refused_as(put, node.writer, save(KEY, version + 2, replaces=True, **NEW))
            if not bench.proxy.cut_happened.is_set():  # all of it had passed by then
                refused_as(node.writer.commit, [])
            eventually(lambda: refused_as(node.writer.commit, []) is None)
            life = life_of(node)
            told.add(f"{life}, {'stored' if outcome is None else outcome.__name__}")
            version = loaded(node.reader).instance.version
        assert node.reader.verify() == []
    assert {"old, StoreUnavailable", "new, stored"} <= told
    assert told <= {"old, StoreUnavailable", "new, stored", "old, OutcomeUnknown", "new, OutcomeUnknown"}, told


# Images and what else is no commit ------------------------------------------------------------------------------------

IMAGE: Final = "a" * 32


def push(node: Node, content: str) -> int:
    """Push something under one name; return the number that it was told to have."""
    return int(node.writer.push_image("acme", "orders", IMAGE, image_version(content))[1].version)


def pushed(node: Node) -> dict[str, int]:
    """The versions of the image by what was pushed."""
    return {one.digest: one.version for one in node.reader.list_image_versions("acme", IMAGE, 999, None).versions}


def a_change_whose_answer_is_lost_is_found_out(bench: Bench) -> None:
    told: dict[str, int] = {}
    found_out = 0
    with bench.node() as node:
        told[image_version("first").digest] = push(node, "first")
        node.writer._hang_up()  # as after each of the cuts
        node.writer.commit([])
        bench.proxy.plan(Cut("answer", 1_000_000))
        told[image_version("second").digest] = push(node, "second")
        last = bench.proxy.passed("answer")  # with it, the client hears that the push is stored
        for after in (*range(0, last, 150), *range(last - 60, last + 60, 4)):
            with contextlib.suppress(StoreUnavailable):
                node.writer.commit([])
            bench.proxy.plan(Cut("answer", after))
            while not bench.proxy.cut_happened.is_set():
                content = f"content {after} {len(told)}"
                with contextlib.suppress(StoreUnavailable):
                    told[image_version(content).digest] = push(node, content)
                    found_out += bench.proxy.cut_happened.is_set()
        assert pushed(node) == told
    assert found_out


def a_lost_node_changes_no_image(bench: Bench) -> None:
    with bench.node() as node, bench.admin() as admin:
        put(node.writer, save(KEY))
        bench.proxy.hold()
        with meanwhile(refused_as, push, node, "late") as refused:
            assert bench.proxy.held.wait(LIMIT_S)
            admin.execute("UPDATE nodes SET lost_at = 1")
            bench.proxy.release()
        assert refused.result() is LeaseLost
        with bench.node(name="b") as other:
            assert pushed(other) == {}


def a_newer_process_makes_void_what_the_older_changes(bench: Bench) -> None:
    with bench.node() as node:
        put(node.writer, save(KEY))
        bench.proxy.hold()
        with meanwhile(refused_as, push, node, "late") as refused:
            assert bench.proxy.held.wait(LIMIT_S)
            with bench.node(detour=False) as newer:
                bench.proxy.release()
                assert refused.result() is StoreInUse
                assert pushed(newer) == {}


def pushes_of_several_nodes_get_numbers_of_their_own(bench: Bench) -> None:
    with bench.node(detour=False) as one, bench.node(detour=False, name="b") as other:
        for number in range(10):
            with meanwhile(push, one, f"one {number}") as ours:
                theirs = push(other, f"other {number}")
            assert {ours.result(), theirs} == {2 * number + 1, 2 * number + 2}
        assert sorted(pushed(one).values()) == list(range(1, 21))
        assert len(one.reader.list_images("acme", 9, None).images) == 1


def a_version_that_becomes_current_meanwhile_is_not_collected(bench: Bench) -> None:
    with bench.node(detour=False) as node, bench.admin() as admin:
        for content in ("one", "two", "three"):
            push(node, content)
        admin.execute("BEGIN")
        admin.execute("UPDATE images SET version = 1")
        with meanwhile(node.writer.collect_images, 0, 1, 9, False) as collected:
            eventually(lambda: waits_for_a_lock(bench) or collected.done())
            admin.execute("COMMIT")
        assert [ref.version for _, ref in collected.result()] == [2]
        assert sorted(pushed(node).values()) == [1, 3]


def what_somebody_changes_is_not_pruned_beside_him(bench: Bench) -> None:
    finished = Finished(before_ms=10)
    end: dict[str, Any] = {"status": Status.COMPLETED, "finished_at": 1}
    with bench.node(detour=False) as node, bench.admin() as admin:
        put(node.writer, save(KEY, **end), save(OTHER, **end))
        admin.execute("BEGIN")
        admin.execute("UPDATE instances SET version = 2 WHERE instance_id = 'order-1'")
        admin.execute(
            "INSERT INTO events (instance_number, type, epoch, created_at) "
            "SELECT number, 'late', 1, 1 FROM instances WHERE instance_id = 'order-1'"
        )
        with meanwhile(node.writer.prune_finished, finished, 9, False) as gone:
            eventually(lambda: waits_for_a_lock(bench) or gone.done())
            admin.execute("COMMIT")
        assert gone.result() == [OTHER]
        assert node.writer.prune_finished(finished, 9, False) == [KEY]
        assert node.reader.verify() == []


def a_copy_that_cannot_be_made_is_refused(bench: Bench) -> None:
    third = InstanceKey("acme", "order-3")
    with bench.node() as node:
        put(node.writer, save(KEY, checkpoints=(checkpoint("one"), checkpoint("two"))))
        assert node.writer.commit([save(OTHER, copies=Copies(KEY, "three")), save(KEY, 2)]) == [False, True]
        assert node.writer.commit([save(OTHER, copies=Copies(third)), save(third)]) == [False, True]
        assert node.reader.load([OTHER]) == {}
        put(node.writer, save(OTHER, copies=Copies(KEY, "one")))
        assert loaded(node.reader, OTHER).checkpoint_ids == ("one",)


# Claims and takeovers -------------------------------------------------------------------------------------------------


def claimed(node: Node) -> list[InstanceKey]:
    """What a node claims until there is nothing left."""
    keys = []
    for turn in range(3):
        keys += [due.key for due in node.writer.claim_due(10, turn).claimed]
    return keys


def a_claim_whose_answer_is_lost_can_be_made_again(bench: Bench) -> None:
    with bench.node() as node:
        put(node.writer, save(KEY, status=Status.SUSPENDED, program="orders", wake_at=1))
        for after in range(0, 160, 20):
            bench.proxy.plan(Cut("answer", after))
            with contextlib.suppress(StoreUnavailable):
                claimed(node)
                node.writer.commit([])
            assert bench.proxy.cut_happened.wait(LIMIT_S)
            assert claimed(node) == [KEY]
            node.writer.release_claim(KEY)


def a_claim_that_arrives_late_claims_nothing(bench: Bench) -> None:
    with bench.node(QUICK) as node:
        put(node.writer, save(KEY, status=Status.SUSPENDED, program="orders", wake_at=1))
        bench.proxy.hold()
        assert refused_as(node.writer.claim_due, 10, 0) is StoreUnavailable
        node.writer.commit([])
        bench.proxy.release()
        assert bench.proxy.answered.wait(LIMIT_S)

        assert claimed(node) == [KEY]


SLOW_CLAIMS = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE UPDATE OF owner ON instances FOR EACH ROW EXECUTE FUNCTION slow();
"""


def a_claim_is_waited_for_by_who_gives_claims_back(bench: Bench) -> None:
    with bench.node(detour=False) as node, bench.admin() as admin, bench.admin() as lost:
        put(node.writer, save(KEY, status=Status.SUSPENDED, program="orders", wake_at=1))
        me = {"node": node.store.tenure.number, "incarnation": node.store.tenure.incarnation}
        names: dict[str, Any] = {**me, "limit": 10, "turn": 0, "window": 10, "programs": None}
        names |= {"barred_tenants": [], "barred_programs": [], "pools": [], "only_pools": False}
        names |= {"slots": 0, "aging_ms": 1}
        admin.execute(SLOW_CLAIMS)
        try:
            admin.execute("SELECT pg_advisory_lock(1)")
            with meanwhile(lost.execute, SQL["claim_due"], names):  # in the middle of it, the connection is lost
                eventually(lambda: advisory_locks_waited_for(bench))
                node.writer._hang_up()
                with meanwhile(node.writer.commit, []) as settled:
                    eventually(lambda: waits_for_a_lock(bench) or settled.done())
                    admin.execute("SELECT pg_advisory_unlock(1)")
            assert claimed(node) == [KEY]
        finally:
            admin.execute("SELECT pg_advisory_unlock_all()")
            admin.execute("DROP TRIGGER slow ON instances; DROP FUNCTION slow")


def advisory_locks_waited_for(bench: Bench) -> bool:
    with bench.admin() as admin:
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return bool(admin.execute(waiting).fetchall()[0][0])


def a_node_that_comes_back_claims_anew(bench: Bench) -> None:
    for lasting in (True, False):
        key = InstanceKey("acme", f"lasting-{lasting}")
        for again in (False, True):
            store = PostgresStore(bench.url, NodeSpec(name="a", lasting=lasting))
            with contextlib.closing(store.open_writer()) as writer:
                if not again:
                    put(writer, save(key, status=Status.PENDING, program="orders", wake_at=1))
                assert claimed(Node(store, writer, None)) == [key]
                if again:
                    put(writer, save(key, 2, status=Status.COMPLETED, finished_at=1))


def a_takeover_whose_answer_is_lost_is_told_again(bench: Bench) -> None:
    with bench.node(name="gone", detour=False) as gone, bench.node() as node, bench.admin() as admin:
        put(gone.writer, save(KEY))
        admin.execute("UPDATE nodes SET lost_at = now_ms() WHERE name = 'gone'")
        for after in range(0, 400, 20):
            admin.execute("UPDATE instances SET owner = (SELECT number FROM nodes WHERE name = 'gone')")
            bench.proxy.plan(Cut("answer", after))
            told: list[InstanceKey] = []
            with contextlib.suppress(StoreUnavailable):
                told += [row.key for row in node.writer.take_over(10)]
            while not bench.proxy.cut_happened.is_set():
                with contextlib.suppress(StoreUnavailable, OutcomeUnknown):
                    node.writer.commit([])
            told += [row.key for row in node.writer.take_over(10)]
            assert told == [KEY]
            assert node.writer.take_over(10) == []


# Somebody else's locks ------------------------------------------------------------------------------------------------


def rows_that_somebody_holds_are_waited_for_and_then_refused(bench: Bench) -> None:
    with bench.node(QUICK) as node:
        put(node.writer, save(KEY))
        for batch in ([save(OTHER), save(KEY, 2)], [save(OTHER), save(KEY, 2), save(KEY, 3)]):
            with bench.admin() as admin, admin.transaction():
                admin.execute("SELECT FROM instances FOR UPDATE")
                assert refused_as(node.writer.commit, batch) is Busy
                assert loaded(node.reader).instance.version == 1
                assert node.reader.load([OTHER]) == {}
        put(node.writer, *batch)


def a_batch_that_fails_in_its_last_round_leaves_nothing_of_the_first(bench: Bench) -> None:
    batch = [save(OTHER), save(KEY, 2), save(KEY, 3, signals=(signal("held"),))]
    with bench.node(QUICK) as node:
        put(node.writer, save(KEY))
        with bench.admin() as admin, admin.transaction():
            admin.execute(
                "INSERT INTO signals (instance_number, signal_id, kind, sent_at, payload, seq) "
                "SELECT number, 'held', 'custom', 1, '', 1 FROM instances"
            )
            assert refused_as(node.writer.commit, batch) is Busy
            assert loaded(node.reader).instance.version == 1
            assert node.reader.load([OTHER]) == {}
            admin.execute("DELETE FROM signals")
        put(node.writer, *batch)


def a_statement_that_takes_too_long_is_given_up_and_stores_nothing(bench: Bench) -> None:
    with bench.node(PostgresLimits(timeout_ms=800, lock_timeout_ms=5_000)) as node:
        put(node.writer, save(KEY))
        for batch in ([save(OTHER), save(KEY, 2)], [save(OTHER), save(KEY, 2), save(KEY, 3)]):
            with bench.admin() as admin, admin.transaction():
                admin.execute("LOCK TABLE checkpoints")
                assert refused_as(node.writer.commit, batch) is StoreUnavailable
                assert refused_as(node.reader.verify) is None
            assert loaded(node.reader).instance.version == 1
            assert node.reader.load([OTHER]) == {}
        put(node.writer, *batch)


def a_deadlock_is_tried_again(bench: Bench) -> None:
    with bench.node() as node:
        put(node.writer, save(KEY), save(OTHER))
        for version in (2, 4):
            batch = [save(KEY, version), save(OTHER, version)]
            batch += [save(KEY, 3), save(OTHER, 3)] if version == 2 else []
            before = deadlocks(bench)
            with bench.admin() as admin:
                admin.execute("BEGIN")
                admin.execute("SET deadlock_timeout = '20s'")  # the other one is to notice it
                admin.execute("UPDATE instances SET heartbeat_at = 1 WHERE instance_id = 'order-2'")
                with meanwhile(node.writer.commit, batch) as told:
                    eventually(lambda: waits_for_a_lock(bench))
                    admin.execute("UPDATE instances SET heartbeat_at = 1 WHERE instance_id = 'order-1'")
                    admin.execute("COMMIT")
                assert told.result() == [True] * len(batch)
            assert deadlocks(bench) > before
        assert loaded(node.reader, OTHER).instance.version == 4


def deadlocks(bench: Bench) -> int:
    return bench.cluster.log.read_text(errors="replace").count("ERROR:  deadlock detected")


CHECKS: dict[str, Callable[[Bench], None]] = {
    check.__name__: check
    for check in (
        a_quiet_store_does_as_it_says,
        refusals_of_several_rounds_are_all_told,
        writers_that_are_thrown_out_know_the_truth,
        an_answer_that_is_lost_is_found_out,
        an_answer_of_many_that_is_lost_is_found_out,
        an_answer_is_believed_only_when_it_is_complete,
        a_request_that_is_cut_off_is_stored_wholly_or_not_at_all,
        a_connection_that_breaks_while_it_is_made_is_made_again,
        a_network_that_falls_silent_is_given_up,
        a_request_that_arrives_late_stores_nothing,
        a_lost_node_stores_nothing_of_what_was_on_its_way,
        a_newer_process_makes_void_what_the_older_has_on_its_way,
        a_node_that_is_lost_while_it_asks_is_told_what_became_of_its_batch,
        a_node_that_is_replaced_while_it_asks_does_not_guess,
        what_another_node_runs_is_left_alone,
        what_another_node_runs_is_not_replaced,
        a_replacement_that_is_cut_off_is_stored_wholly_or_not_at_all,
        a_claim_whose_answer_is_lost_can_be_made_again,
        a_claim_that_arrives_late_claims_nothing,
        a_claim_is_waited_for_by_who_gives_claims_back,
        a_node_that_comes_back_claims_anew,
        a_takeover_whose_answer_is_lost_is_told_again,
        rows_that_somebody_holds_are_waited_for_and_then_refused,
        a_batch_that_fails_in_its_last_round_leaves_nothing_of_the_first,
        a_statement_that_takes_too_long_is_given_up_and_stores_nothing,
        a_deadlock_is_tried_again,
        a_change_whose_answer_is_lost_is_found_out,
        a_lost_node_changes_no_image,
        a_newer_process_makes_void_what_the_older_changes,
        pushes_of_several_nodes_get_numbers_of_their_own,
        a_version_that_becomes_current_meanwhile_is_not_collected,
        what_somebody_changes_is_not_pruned_beside_him,
        a_copy_that_cannot_be_made_is_refused,
    )
}
"""By name."""
