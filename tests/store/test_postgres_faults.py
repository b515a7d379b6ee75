"""When the server, the network or another node fails: what was acknowledged is kept, what was refused left no trace."""

import contextlib
import random
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

from runtara.errors import ConfigError, OutcomeUnknown, StoreFull, StoreUnavailable
from runtara.store import Save
from runtara.store._postgres import PostgresStore
from runtara.store._postgres_door import PostgresLimits
from tests.postgres import Cluster, fresh_database, open_cluster
from tests.shared import PROCESSES
from tests.store.postgres_checks import (
    CHECKS,
    LIMIT_S,
    QUICK,
    Bench,
    campaign,
    eventually,
    meanwhile,
    refused_as,
    throw_out,
)
from tests.store.postgres_workload import Outcome, Workload, audit
from tests.store.samples import KEY, checkpoint, loaded, put, save
from tests.store.tcp_proxy import Cut, open_proxy

Missing = Callable[[str, str], NoReturn]
Disturb = Callable[[random.Random], None]


@pytest.fixture(scope="module")
def fragile() -> Iterator[Cluster]:
    """A server that may be broken. Before it recovers it puts all its files on the disk, which is quick at one go."""
    with open_cluster(max_connections=20, deadlock_timeout="500ms", recovery_init_sync_method="syncfs") as cluster:
        yield cluster


@pytest.fixture
def bench(fragile: Cluster, tmp_path: Path) -> Iterator[Bench]:
    """An empty database of it. However a test ends, the server works again for the next one."""
    with fresh_database(fragile) as url, open_proxy(fragile.port) as proxy:
        try:
            yield Bench(fragile, url, proxy)
        finally:
            if fragile.process is None:
                fragile.start()
            fragile.signal(signal.SIGCONT)
            assert fragile.process is not None, "it is running again"
            PROCESSES.add(fragile.process.pid)


@pytest.mark.parametrize("name", CHECKS)
def test_what_must_be_true_is_true(bench: Bench, name: str) -> None:
    CHECKS[name](bench)


# The server ends ------------------------------------------------------------------------------------------------------


def ends(cluster: Cluster, how: str) -> Disturb:
    """End the server, in one of three ways or in all of them, and start it again."""

    def disturb(moments: random.Random) -> None:
        match moments.choice(["fast", "immediate", "kill"]) if how == "any" else how:
            case "kill":
                cluster.kill()
            case manner:
                cluster.stop(manner)
        cluster.start()

    return disturb


@pytest.mark.parametrize(("how", "cycles"), [("fast", 4), ("immediate", 10), ("kill", 10)])
def test_nothing_acknowledged_is_lost_when_the_server_ends(bench: Bench, how: str, cycles: int) -> None:
    work = campaign(bench, 1, cycles, ends(bench.cluster, how))

    assert work.counts[Outcome.OK] > cycles
    assert work.counts[Outcome.UNKNOWN] + work.counts[Outcome.REFUSED] >= cycles


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_acknowledged_is_lost_however_often_the_server_ends(bench: Bench, seed: int) -> None:
    work = campaign(bench, seed, 110, ends(bench.cluster, "any"))

    assert work.counts[Outcome.OK] > 220
    assert work.counts[Outcome.UNKNOWN] > 50


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_acknowledged_is_lost_however_often_writers_are_thrown_out(bench: Bench) -> None:
    work = campaign(bench, 9, 400, throw_out(bench))

    assert work.counts[Outcome.OK] > 800
    assert work.counts[Outcome.REFUSED] > 100


def test_two_nodes_do_not_disturb_each_other_while_both_are_thrown_out(bench: Bench) -> None:
    done = threading.Event()
    with Workload(PostgresStore(bench.url), 2, "globex") as beside:
        with meanwhile(beside.run, done, lambda: None) as worker:
            try:
                work = campaign(bench, 3, 15, throw_out(bench))
            finally:
                done.set()
        worker.result()

        assert audit(beside) == []
    assert min(work.counts[Outcome.OK], beside.counts[Outcome.OK]) > 15


# The server stands still ----------------------------------------------------------------------------------------------


def freezes(bench: Bench, work: Workload, cycles: int) -> None:
    """Freeze the server in the middle of the work, until the worker gives up, and let it go on."""
    moments = random.Random(cycles)
    failed, works_again, done = threading.Event(), threading.Event(), threading.Event()

    def wait() -> None:
        failed.set()
        works_again.wait(LIMIT_S)

    with meanwhile(work.run, done, wait) as worker:
        try:
            for _ in range(cycles):
                assert work.acknowledged.acquire(timeout=LIMIT_S)
                failed.clear()
                works_again.clear()
                threading.Event().wait(moments.uniform(0, 0.01))
                bench.cluster.signal(signal.SIGSTOP)
                assert failed.wait(LIMIT_S), "the worker waits for ever"
                bench.cluster.signal(signal.SIGCONT)
                works_again.set()
        finally:
            bench.cluster.signal(signal.SIGCONT)
            done.set()
            works_again.set()
    worker.result()


def test_a_server_that_stands_still_is_given_up_and_what_it_does_afterwards_is_known(bench: Bench) -> None:
    with bench.workload(4, limits=QUICK, detour=False) as work:
        freezes(bench, work, 2)

        assert audit(work) == []
    assert work.counts[Outcome.UNKNOWN] + work.counts[Outcome.REFUSED] >= 2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_server_may_stand_still_often(bench: Bench) -> None:
    with bench.workload(5, limits=QUICK, detour=False) as work:
        freezes(bench, work, 20)

        assert audit(work) == []
    assert work.counts[Outcome.UNKNOWN] + work.counts[Outcome.REFUSED] >= 20
    assert work.counts[Outcome.UNKNOWN] > 5


def test_a_reader_gives_a_server_that_stands_still_up_and_comes_back(bench: Bench) -> None:
    with bench.node(QUICK, detour=False) as node:
        put(node.writer, save(KEY))
        bench.cluster.signal(signal.SIGSTOP)
        with pytest.raises(StoreUnavailable, match="look at the server and the network"):
            loaded(node.reader)
        bench.cluster.signal(signal.SIGCONT)

        assert loaded(node.reader).instance.version == 1


def test_readers_and_writers_say_that_the_server_is_away_and_come_back(bench: Bench) -> None:
    with bench.node(detour=False) as node:
        put(node.writer, save(KEY))
        bench.cluster.stop("immediate")
        refused = [refused_as(node.writer.commit, [save(KEY, 2)]) for _ in range(2)]
        refused += [refused_as(loaded, node.reader), refused_as(node.writer.record_heartbeats, [(KEY, 1)])]
        bench.cluster.start()

        assert refused == [OutcomeUnknown, StoreUnavailable, StoreUnavailable, StoreUnavailable]
        assert loaded(node.reader).instance.version == 1
        put(node.writer, save(KEY, 2))


# The server refuses ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def altered(cluster: Cluster, name: str, value: str) -> Iterator[None]:
    """A server with another setting, for all that are connected and all that come."""
    cluster.execute(f"ALTER SYSTEM SET {name} = {value}")
    try:
        _reload(cluster, name, value)
        yield
    finally:
        with psycopg.connect(cluster.url, autocommit=True, options="-c default_transaction_read_only=off") as admin:
            admin.execute(f"ALTER SYSTEM RESET {name}".encode())
        _reload(cluster, name, "off" if value == "on" else "on")


def _reload(cluster: Cluster, name: str, value: str) -> None:
    cluster.execute("SELECT pg_reload_conf()")
    eventually(lambda: cluster.execute(f"SHOW {name}") == [(value,)])


def test_a_server_that_takes_no_changes_refuses_and_nothing_is_stored(bench: Bench) -> None:
    with bench.node(detour=False) as node:
        put(node.writer, save(KEY))
        with altered(bench.cluster, "default_transaction_read_only", "on"):
            eventually(lambda: setting_of(node.writer, "default_transaction_read_only") == "on")
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match=r"takes no changes.*connect to the primary"):
                    node.writer.commit([save(KEY, 2)])
            with pytest.raises(StoreUnavailable, match="takes no changes"):
                PostgresStore(bench.url).open_writer()
            assert loaded(node.reader).instance.version == 1

        put(node.writer, save(KEY, 2))


def setting_of(writer: object, name: str) -> str:
    connection: psycopg.Connection[tuple[str]] = writer._connection  # type: ignore[attr-defined] # looks inside
    return connection.execute(f"SHOW {name}".encode()).fetchall()[0][0]


@pytest.mark.parametrize("name", ["fsync", "full_page_writes", "synchronous_commit"])
def test_a_server_that_may_lose_what_it_acknowledges_is_refused(bench: Bench, name: str) -> None:
    with bench.node(detour=False) as node:
        put(node.writer, save(KEY))
        with altered(bench.cluster, name, "off"):
            with pytest.raises(ConfigError, match=f"{name}=off and may lose.*RUNTARA_DATABASE_MAY_LOSE_WORK"):
                PostgresStore(bench.url).open_writer()
            PostgresStore(bench.url).open_reader().close()
            PostgresStore(bench.url, limits=PostgresLimits(may_lose_work=True)).open_writer().close()
            throw_out(bench)(random.Random(1))
            refused = [refused_as(node.writer.commit, [save(KEY, 2)]) for _ in range(2)]

        assert refused == [OutcomeUnknown, StoreUnavailable]
        put(node.writer, save(KEY, 2))


def test_a_server_without_a_free_place_is_unavailable_until_there_is_one(bench: Bench) -> None:
    with bench.node(detour=False) as node, contextlib.ExitStack() as crowd:
        put(node.writer, save(KEY))
        with pytest.raises(psycopg.OperationalError, match="too many"):
            fill(crowd, bench.url)
        with pytest.raises(StoreUnavailable, match="too many"):
            PostgresStore(bench.url).open_writer()
        put(node.writer, save(KEY, 2))  # who is in stays in
        node.writer._connection.pgconn.finish()
        crowd.enter_context(eventually_connected(bench.url))
        refused = [refused_as(node.writer.commit, [save(KEY, 3)]) for _ in range(2)]
        crowd.close()

        eventually(lambda: refused_as(node.writer.commit, []) is None)
        assert refused == [StoreUnavailable, StoreUnavailable]
        put(node.writer, save(KEY, 3))


def fill(crowd: contextlib.ExitStack, url: str) -> None:
    for _ in range(100):
        crowd.enter_context(psycopg.connect(url))


def eventually_connected(url: str) -> "psycopg.Connection[object]":
    """A connection in the place that somebody has just given up."""
    found: list[psycopg.Connection[object]] = []

    def connects() -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            found.append(psycopg.connect(url))
        return bool(found)

    eventually(connects)
    return found[0]


# A full disk ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(missing: Missing) -> Iterator[Path]:
    """A file system of a few megabytes, where the server, which is somebody else, can find it."""
    if shutil.which("mount") is None:
        missing("tmpfs", "there is no mount command")
    folder = Path(tempfile.mkdtemp(prefix="runtara-disk-"))
    try:
        folder.chmod(0o755)
        command = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "tmpfs", str(folder)]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode:
            missing("tmpfs", f"mounting is not permitted: {mounted.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        folder.rmdir()


@contextlib.contextmanager
def database_on(cluster: Cluster, folder: Path) -> Iterator[str]:
    """A database whose tables lie in a folder."""
    place = folder / "tables"
    place.mkdir()
    place.chmod(0o700)
    if cluster.user:
        shutil.chown(place, cluster.user)
    cluster.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
    try:
        cluster.execute("CREATE DATABASE small TABLESPACE small")
        yield cluster.url_of("small")
    finally:
        cluster.execute("DROP DATABASE IF EXISTS small WITH (FORCE)")
        cluster.execute("DROP TABLESPACE small")


def test_a_full_disk_refuses_saves_answers_readers_and_heals(bench: Bench, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with database_on(bench.cluster, small_disk) as url:
        ballast.write_bytes(bytes(8 * 2**20))
        with Workload(PostgresStore(url), 6) as work:
            for _ in range(500):
                if not work.step(4, 100_000):
                    break
            full = work.journal[-1]
            with contextlib.closing(work.store.open_reader()) as reader:
                counted = reader.count_by_status()
            at_bound = audit(work)

            ballast.unlink()
            healed = [work.step(4, 100_000) for _ in range(3)]

            assert (full.outcome, full.error[: len("StoreFull")]) == (Outcome.REFUSED, StoreFull.__name__)
            assert sum(counted.values()) > 0
            assert at_bound == []
            assert healed == [True] * 3
            assert audit(work) == []


# Large ----------------------------------------------------------------------------------------------------------------


def test_a_large_request_that_is_cut_off_leaves_nothing(bench: Bench) -> None:
    large: list[Save] = [save(KEY, 2, checkpoints=(checkpoint("large", bytes(2**22)),))]
    with bench.node(PostgresLimits()) as node:
        put(node.writer, save(KEY))
        for after in (2**20, 2**22):
            bench.proxy.plan(Cut("request", after))
            with pytest.raises(StoreUnavailable):
                node.writer.commit(large)
            assert loaded(node.reader).checkpoint_ids == ()
        bench.proxy.plan(Cut("answer"))

        assert node.writer.commit(large) == [True]
