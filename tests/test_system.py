"""The embedded system as a whole: how it starts and stops, and what its users see of a store that fails."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import runtara.system
from runtara.actors import ActorInfo, Supervisor, SystemFailed
from runtara.actors.heartbeat import HeartbeatMonitor
from runtara.clock import SystemClock
from runtara.errors import (
    ActorFailed,
    ActorStopped,
    OutcomeUnknown,
    Retry,
    RuntaraError,
    StoreCorrupt,
    StoreFull,
    StoreInUse,
    StoreTooNew,
    StoreUnavailable,
)
from runtara.ids import InstanceKey
from runtara.messages import ListEvents
from runtara.sdk import InstanceStatus, RuntaraSdk, embedded
from runtara.sdk._base import TENANT
from runtara.settings import Settings
from runtara.store import Save, open_store
from runtara.store._memory import MemoryStore
from runtara.store._postgres import PostgresStore
from runtara.store._sqlite import SqliteStore
from runtara.store._sqlite_door import SqliteLimits
from runtara.system import (
    EFFECTS,
    HEARTBEAT,
    INSTANCES,
    PROGRAMS,
    READER,
    SCHEDULER,
    SESSIONS,
    WRITER,
    in_process,
    tree,
)
from tests.actors.stage import WatchedStore
from tests.requirements import require

ROOT = Path(__file__).parents[1]
PATIENCE_S = 100

DOCUMENTED = {
    "root": "supervisor",
    "root/store": "supervisor",
    "root/store/writer": "blocking",
    "root/store/reader-1": "blocking",
    "root/store/reader-2": "blocking",
    "root/instances": "supervisor",
    "root/instances/region": "region",
    "root/instances/sessions": "service",
    "root/instances/feed": "service",
    "root/runner": "supervisor",
    "root/runner/programs": "service",
    "root/runner/pool": "service",
    "root/timers": "supervisor",
    "root/timers/scheduler": "service",
    "root/timers/heartbeat": "service",
    "root/timers/schedules": "service",
    "root/errands": "supervisor",
    "root/errands/many": "service",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database of the default settings lies."""
    return tmp_path / "data" / "runtara.db"


@pytest.fixture
def open_here(path: Path) -> Callable[..., embedded.Opening]:
    return partial(embedded.open, str(path.parent))


def actors(info: ActorInfo) -> Iterator[ActorInfo]:
    yield info
    for child in info.children:
        yield from actors(child)


def verify(path: Path) -> list[str]:
    """What is wrong with a store that nobody has open."""
    store = open_store(f"sqlite:///{path}")
    writer = store.open_writer()
    reader = store.open_reader()
    try:
        return reader.verify()
    finally:
        reader.close()
        writer.close()


# The tree -------------------------------------------------------------------------------------------------------------


def test_every_documented_actor_runs(open_here: Callable[..., embedded.Opening]) -> None:
    with open_here() as system:
        found = {info.path: info for info in actors(system.tree())}

    assert {path: info.kind for path, info in found.items()} == DOCUMENTED
    assert {info.state for info in found.values()} == {"running"}
    assert {info.restarts for info in found.values()} == {0}


def test_the_documentation_names_every_group_of_the_tree() -> None:
    specification = tree(Settings(), MemoryStore(), SystemClock(), in_process({}))
    assert runtara.system.__doc__ is not None
    groups = [line.split()[1] for line in runtara.system.__doc__.splitlines() if line.strip()[:1] in ("├", "└")]

    assert groups == [child.name for child in specification.children]
    assert all(isinstance(child, Supervisor) for child in specification.children)


def test_every_effect_has_somebody_in_charge() -> None:
    in_charge = {path for paths in EFFECTS.values() for path in paths}

    assert in_charge <= DOCUMENTED.keys()
    assert {WRITER, READER, INSTANCES, SESSIONS, PROGRAMS, SCHEDULER, HEARTBEAT} <= DOCUMENTED.keys()


def test_nothing_is_left_of_a_system_that_was_stopped(open_here: Callable[..., embedded.Opening], path: Path) -> None:
    before = set(threading.enumerate())
    for _ in range(3):
        with open_here() as system, system.sdk("one") as sdk:
            sdk.checkpoint("step", b"state")

    files = _open_files()
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)
    assert set(threading.enumerate()) <= before
    assert [name for name in files if str(path.parent) in name] == []
    assert verify(path) == []


def _open_files() -> list[str]:
    """What this process has open; nothing where the system cannot tell."""
    names = []
    for link in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):  # the one for looking is gone again
            names.append(str(link.readlink()))
    return names


def test_a_system_whose_block_raises_is_stopped_and_the_error_comes_out(
    open_here: Callable[..., embedded.Opening], path: Path
) -> None:
    def work() -> None:
        with open_here() as system, system.sdk("one") as sdk:
            sdk.checkpoint("step", b"state")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    with open_here() as system, system.sdk("one") as sdk:
        assert sdk.get_checkpoint("step") == b"state"


def test_a_thread_that_waits_is_told_that_the_system_stops(open_here: Callable[..., embedded.Opening]) -> None:
    told: list[type[BaseException]] = []
    waiting = threading.Event()

    def wait(sdk: RuntaraSdk) -> None:
        waiting.set()
        try:
            sdk.wait_for_signal("never")
        except RuntaraError as error:
            told.append(type(error))

    with open_here() as system:
        sdk = system.sdk("one")
        sdk.register()
        thread = threading.Thread(target=wait, args=(sdk,), daemon=True)
        thread.start()
        assert waiting.wait(PATIENCE_S)
    thread.join(PATIENCE_S)

    assert told == [ActorStopped]


async def test_a_system_on_the_loop_of_its_host_starts_and_stops(open_here: Callable[..., embedded.Opening]) -> None:
    async with open_here() as system, system.sdk("one") as sdk:
        await sdk.checkpoint("step", b"state")
        found = {info.path for info in actors(system.tree())}

    assert found == set(DOCUMENTED)


def test_a_program_that_is_launched_while_the_system_starts_is_not_lost_to_a_crash(
    open_here: Callable[..., embedded.Opening], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Semaphore(0)

    def wait(sdk: RuntaraSdk) -> None:
        begun.release()
        sdk.wait_for_signal("go")

    with open_here(programs={"wait": wait}) as system:
        system.start("wait", "one")
        assert begun.acquire(timeout=PATIENCE_S)
    start = HeartbeatMonitor.on_start

    async def start_slowly(self: HeartbeatMonitor) -> None:
        await trio.sleep(0.3)
        await start(self)

    monkeypatch.setattr(HeartbeatMonitor, "on_start", start_slowly)
    with open_here(programs={"wait": wait}) as system:
        assert begun.acquire(timeout=PATIENCE_S)
        command = ListEvents(event_type="crashed")
        crashes = system.runtime.dispatch.call_from_thread(InstanceKey(TENANT, "one"), command).events

    assert [event.payload for event in crashes] == [b"the process that ran the attempt has ended"]


# Stores that cannot be opened -----------------------------------------------------------------------------------------

HOLDS = """
import sys
from runtara.sdk import embedded
with embedded.open(sys.argv[1]):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_store_that_another_process_has_open_is_refused_and_says_which(
    open_here: Callable[..., embedded.Opening], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    command = [sys.executable, "-c", HOLDS, str(path.parent)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"

        with pytest.raises(StoreInUse, match=f"process {holder.pid}: stop it, or choose another file"), open_here():
            pass
        holder.stdin.close()
        assert holder.wait(PATIENCE_S) == 0

    with open_here() as system:
        assert not system.status("one").found


def test_a_store_that_this_process_has_open_is_refused(
    open_here: Callable[..., embedded.Opening], monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    with open_here() as system:
        with pytest.raises(StoreInUse, match="this process"), open_here():
            pass
        assert not system.status("one").found


def test_a_store_of_a_later_version_is_refused_and_left_as_it_is(
    open_here: Callable[..., embedded.Opening], path: Path
) -> None:
    with open_here() as system, system.sdk("one") as sdk:
        sdk.checkpoint("step", b"state")
    with sqlite3.connect(path) as connection:
        row = connection.execute("SELECT * FROM _sqlite_migrations").fetchone()
        names = [column[1] for column in connection.execute("PRAGMA table_info(_sqlite_migrations)")]
        values = [
            {"name": "9999_of_the_future", "id": None}.get(name, value) for name, value in zip(names, row, strict=True)
        ]
        connection.execute(f"INSERT INTO _sqlite_migrations VALUES ({', '.join('?' * len(values))})", values)
    connection.close()
    before = path.read_bytes()

    with pytest.raises(StoreTooNew, match="use the version of Runtara that wrote it, or a later one"), open_here():
        pass
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["garbage", "cut off"])
def test_a_damaged_store_is_refused_and_says_what_to_do(
    damage: str, open_here: Callable[..., embedded.Opening], path: Path
) -> None:
    with open_here() as system, system.sdk("one") as sdk:
        for number in range(50):
            sdk.checkpoint(f"step-{number}", bytes(4_000))
    content = path.read_bytes()
    path.write_bytes(b"\xff" * len(content) if damage == "garbage" else content[: len(content) // 2])

    def work() -> None:
        with open_here() as system, system.sdk("one") as sdk:
            for number in range(50):
                sdk.checkpoint(f"step-{number}", b"other")

    with pytest.raises(StoreCorrupt, match="restore a backup"):
        work()


def test_a_store_in_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, not a folder")

    with (
        pytest.raises(StoreUnavailable, match="look at its disk and its folder"),
        embedded.open(str(tmp_path / "data")),
    ):
        pass


# Stores that fail while they are used ---------------------------------------------------------------------------------


def impatient(monkeypatch: pytest.MonkeyPatch, **more: Any) -> None:
    """Open stores that wait for locks only for a moment."""
    limits = SqliteLimits(busy_timeout_ms=50)
    monkeypatch.setattr(
        runtara.system, "open_store", lambda url, *_, **__: SqliteStore(url.removeprefix("sqlite:///"), limits, **more)
    )


class Ledger:
    """What one program was told, and whether all of it is still so."""

    def __init__(self, sdk: RuntaraSdk) -> None:
        self.sdk = sdk
        self.kept: dict[str, bytes] = {}
        self.errors: list[RuntaraError] = []

    def save(self, count: int, size: int = 1_000) -> None:
        """Save until it is acknowledged or refused, so many times."""
        for _ in range(count):
            name = f"step-{len(self.kept) + len(self.errors)}"
            try:
                self.sdk.checkpoint(name, name.encode() * (size // 8))
            except RuntaraError as error:
                self.errors.append(error)
            else:
                self.kept[name] = name.encode() * (size // 8)

    def check(self) -> None:
        for name, state in self.kept.items():
            assert self.sdk.get_checkpoint(name) == state

    @property
    def kinds(self) -> set[type[RuntaraError]]:
        return {type(error) for error in self.errors}


def test_a_full_disk_is_told_while_reads_go_on_and_heals_without_a_restart(
    open_here: Callable[..., embedded.Opening], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = {"limit": 2**30}

    class Bounded(sqlite3.Connection):
        """A connection whose file may have so many pages: beyond them SQLite finds the disk full."""

        def cursor(self, *arguments: Any, **names: Any) -> Any:
            self.execute(f"PRAGMA max_page_count = {pages['limit']}")
            return super().cursor(*arguments, **names)

    impatient(monkeypatch, factory=Bounded)
    with open_here() as system, system.sdk("one") as sdk:
        ledger = Ledger(sdk)
        ledger.save(20)
        pages["limit"] = 60
        ledger.save(200)
        ledger.check()
        status = sdk.get_status()
        told = list(ledger.errors)
        pages["limit"] = 2**30
        ledger.save(20)
        ledger.check()
        ended = sdk.completed(b"done")
        restarts = {info.restarts for info in actors(system.tree())}

    assert told
    assert {type(error) for error in told} == {StoreFull}
    assert all("free space on its disk and try again" in str(error) for error in told)
    assert {error.retry for error in told} == {Retry.SAFE}
    assert len(ledger.errors) == len(told)
    assert (status.status, ended) == (InstanceStatus.RUNNING, InstanceStatus.COMPLETED)
    assert restarts == {0}
    assert verify(path) == []


FILLS = """
import os, sys
from pathlib import Path
from tests.test_system import Ledger
from runtara.sdk import embedded

folder = Path(sys.argv[1])
with embedded.open(str(folder / "data")) as system, system.sdk("one") as sdk:
    ledger = Ledger(sdk)
    ledger.save(20)
    with open(folder / "filler", "wb", buffering=0) as filler:
        try:
            while filler.write(bytes(4096)):
                pass
        except OSError:
            pass
    ledger.save(300)
    ledger.check()
    told = len(ledger.errors)
    print(sorted(kind.__name__ for kind in ledger.kinds), sdk.get_status().status, told > 0)
    os.remove(folder / "filler")
    ledger.save(20)
    ledger.check()
    print(len(ledger.errors) - told, sdk.completed(b"done"))
from tests.test_system import verify
print(verify(folder / "data" / "runtara.db"))
"""


def test_a_disk_that_is_full_indeed_is_told_and_heals_without_a_restart(tmp_path: Path) -> None:
    unshare = require("unshare", "to mount a small disk of one's own")
    mount = f"mount -t tmpfs -o size=6m none {tmp_path}"
    allowed = subprocess.run([unshare, "-m", "sh", "-c", mount], capture_output=True, check=False).returncode == 0
    require("the right to mount", "to mount a small disk of one's own", found=allowed)

    script = f"{mount} && exec {sys.executable} -c '{FILLS}' {tmp_path}"
    done = run([unshare, "-m", "sh", "-c", script.replace("'", '"').replace(f'"{FILLS}"', '"$0"')], FILLS)

    assert done.stdout.splitlines() == ["['StoreFull'] running True", "0 completed", "[]"], done.stderr


def run(command: Sequence[str], *more: str) -> "subprocess.CompletedProcess[str]":
    """Run a program that ends by itself."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ.get("PATH", os.defpath)}
    return subprocess.run(
        [*command, *more], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def test_a_store_that_another_program_has_locked_is_unavailable_until_it_lets_go(
    open_here: Callable[..., embedded.Opening], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    with open_here() as system, system.sdk("one") as sdk:
        ledger = Ledger(sdk)
        ledger.save(5)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        ledger.save(2)
        ledger.check()
        told = list(ledger.errors)
        other.execute("ROLLBACK")
        other.close()
        ledger.save(5)
        ledger.check()

    assert {type(error) for error in told} == {StoreUnavailable}
    assert {error.retry for error in told} == {Retry.SAFE}
    assert "close that program" in str(told[0])
    assert len(ledger.errors) == len(told) == 2
    assert verify(path) == []


SYNCS = """
import sys
from runtara.sdk import embedded
from runtara.errors import RuntaraError, Retry

with embedded.open(sys.argv[1]) as system, system.sdk("one") as sdk:
    print("begin", flush=True)
    for number in range(30):
        for again in range(50):
            try:
                found = sdk.checkpoint(f"step-{number}", f"try-{again}".encode())
            except RuntaraError as error:
                print("error", type(error).__name__, error.retry.value)
            else:
                print("kept", number, (found.existing_state or f"try-{again}".encode()).decode())
                break
        else:
            print("lost", number)
    system.status("one")
"""


@pytest.mark.parametrize(
    ("calls", "first", "last"),
    [("fsync,fdatasync", n, n + 3) for n in (12, 20, 28)] + [("pwrite64", n, n + 7) for n in (120, 150, 180)],
)
def test_a_disk_that_fails_to_write_loses_nothing_acknowledged(
    calls: str, first: int, last: int, tmp_path: Path
) -> None:
    strace = require("strace", "to make system calls fail")
    permitted = run([strace, "-f", "-o", "/dev/null", "true"]).returncode == 0
    require("ptrace", "to make system calls fail", found=permitted)
    injected = f"inject={calls}:error=EIO:when={first}..{last}"

    done = run(
        [strace, "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", f"trace={calls}", "-e", injected],
        sys.executable, "-c", SYNCS, str(tmp_path / "data"),
    )  # fmt: skip
    words = [line.split() for line in done.stdout.splitlines()]
    kept = {int(number): state for kind, number, state in (word for word in words if word[0] == "kept")}

    assert (tmp_path / "trace").read_text().count("INJECTED") >= 1
    assert done.returncode == 0, done.stderr
    assert {word[1] for word in words if word[0] == "error"} <= {"OutcomeUnknown", "StoreUnavailable"}
    assert [word for word in words if word[0] == "lost"] == []
    assert list(kept) == list(range(30))
    with embedded.open(str(tmp_path / "data")) as system, system.sdk("one") as sdk:
        assert {number: (sdk.get_checkpoint(f"step-{number}") or b"").decode() for number in kept} == kept
    assert verify(tmp_path / "data" / "runtara.db") == []


def test_a_bug_in_the_writer_restarts_it_and_loses_nothing_acknowledged(
    open_here: Callable[..., embedded.Opening], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = WatchedStore(open_store(f"sqlite:///{path}"))
    monkeypatch.setattr(runtara.system, "open_store", lambda *_, **__: store)

    def crash(saves: Sequence[Save]) -> None:
        store.before_commit = lambda saves: None
        raise ZeroDivisionError("a bug in the store")

    with open_here() as system, system.sdk("one") as sdk:
        ledger = Ledger(sdk)
        ledger.save(10)
        store.before_commit = crash
        ledger.save(1)
        ledger.save(10)
        ledger.check()
        found = {info.path: info for info in actors(system.tree())}

    assert ledger.kinds <= {ActorFailed, OutcomeUnknown}
    assert [error.retry for error in ledger.errors] == [Retry.SAME_ID]
    assert found["root/store/writer"].restarts == 1
    assert "a bug in the store" in (found["root/store/writer"].failure or "")
    assert found["root/instances/region"].restarts == 0
    assert verify(path) == []


@pytest.mark.slow
def test_a_writer_that_keeps_crashing_ends_the_system_with_the_reason(
    open_here: Callable[..., embedded.Opening], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = WatchedStore(open_store(f"sqlite:///{path}"))
    monkeypatch.setattr(runtara.system, "open_store", lambda *_, **__: store)

    def crash(saves: Sequence[Save]) -> None:
        raise ZeroDivisionError("a bug in the store")

    def work() -> None:
        with open_here() as system, system.sdk("one") as sdk:
            store.before_commit = crash
            for number in range(10_000):
                try:
                    sdk.checkpoint(f"step-{number}", b"state")
                except ActorStopped as error:
                    if "runtara has stopped" in str(error):
                        return
                except RuntaraError:
                    continue

    with pytest.raises(SystemFailed, match="gave up") as caught:
        work()

    assert "a bug in the store" in str(caught.value)
    assert verify(path) == []


def test_a_program_that_meets_a_full_disk_is_launched_again_instead_of_failing_for_ever(
    open_here: Callable[..., embedded.Opening], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = WatchedStore(open_store(f"sqlite:///{path}"))
    monkeypatch.setattr(runtara.system, "open_store", lambda *_, **__: store)

    def refuse(saves: Sequence[Save]) -> None:
        if saves and saves[0].checkpoints:
            store.before_commit = lambda saves: None
            raise StoreFull("no room")

    def program(sdk: RuntaraSdk) -> bytes:
        sdk.checkpoint("step", b"state")
        return b"done"

    store.before_commit = refuse
    with open_here(programs={"save": program}) as system:
        system.start("save", "one")
        status = system.wait("one", timeout=PATIENCE_S)

    assert (status.status, status.output) == (InstanceStatus.COMPLETED, b"done")


SHARED = {"root/instances/forwarder": "service", "root/timers/node": "service"}
"""What a system has that shares its store with others, beside what all have."""


def test_a_system_that_shares_its_store_has_a_forwarder_and_a_keeper_and_claims_what_is_due(database: str) -> None:
    with embedded.open(url=database) as system:
        found = {info.path: info for info in actors(system.tree())}

    assert {path: info.kind for path, info in found.items()} == DOCUMENTED | SHARED
    assert set(found[SCHEDULER].facts) == {"waking", "failing", "woken", "latest_ms", "places_in_use"}
    assert found["root/timers/node"].facts["alone"] is True


def test_where_the_store_is_shared_whatever_ends_its_actors_ends_all_that_is_in_memory() -> None:
    shared = tree(Settings(), PostgresStore("postgresql://nowhere/x"), SystemClock(), in_process({}))
    alone = tree(Settings(), MemoryStore(), SystemClock(), in_process({}))

    store, own = (next(group for group in root.children if group.name == "store") for root in (shared, alone))

    assert isinstance(store, Supervisor)
    assert isinstance(own, Supervisor)
    assert (store.intensity.restarts, own.intensity.restarts) == (0, 3)
    assert shared.intensity.restarts > alone.intensity.restarts
