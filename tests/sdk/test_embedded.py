"""A system inside a process: how it is opened, who may be in it, and that nothing is left when it is closed."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import sniffio
import trio

import runtara.system
from runtara.actors import SystemFailed
from runtara.actors.sessions import Attach, Sessions
from runtara.errors import (
    ActorStopped,
    ConfigError,
    InvalidInput,
    InvalidState,
    RuntaraError,
    StoreCorrupt,
    StoreInUse,
    StoreTooNew,
)
from runtara.sdk import AsyncRuntaraSdk, InstanceCancelled, InstanceStatus, RuntaraSdk, SignalType, embedded
from runtara.sdk._doors import Doors
from runtara.store import open_store
from runtara.store._sqlite import SqliteStore
from runtara.store._sqlite_door import SqliteLimits
from tests.house.source import ROOT, run_python
from tests.sdk.faces import Awaited, Face, when_it_waits

SECONDS = 100
"""How long a test waits for what comes at once."""


def threads() -> list[str]:
    """The names of all threads but this one and the event loops' own workers."""
    return [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'runtara.db'}"


# Open ----------------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_there_when_it_is_opened_again(face: Face, tmp_path: Path) -> None:
    async def write(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await sdk.checkpoint("a", b"A")

    async def read(system: Any) -> bytes | None:
        async with system.sdk("i") as sdk:
            found: bytes | None = await sdk.get_checkpoint("a")
            return found

    folder = str(tmp_path / "made" / "if missing")
    face.hold(write, url=None, data_dir=folder)

    assert face.hold(read, url=None, data_dir=folder) == b"A"


def test_a_system_in_memory_forgets_everything(face: Face) -> None:
    async def conversation(system: Any) -> bool:
        found: bool = (await system.status("i")).found
        async with system.sdk("i"):
            return found

    assert [face.hold(conversation) for _ in range(2)] == [False, False]


def test_several_systems_live_in_one_process_without_meeting(tmp_path: Path) -> None:
    with (
        embedded.open(url="memory://") as one,
        embedded.open(url="memory://") as two,
        embedded.open(str(tmp_path)) as three,
    ):
        for number, system in enumerate((one, two, three)):
            with system.sdk("i") as sdk:
                assert not sdk.checkpoint("a", b"%d" % number).found
        for number, system in enumerate((one, two, three)):
            with system.sdk("i") as sdk:
                assert sdk.get_checkpoint("a") == b"%d" % number


def test_a_store_belongs_to_one_system_at_a_time(face: Face, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def impatient(url: str, *_: Any, **__: Any) -> SqliteStore:
        return SqliteStore(url.removeprefix("sqlite:///"), SqliteLimits(busy_timeout_ms=0))

    monkeypatch.setattr(runtara.system, "open_store", impatient)
    with embedded.open(url=sqlite_url(tmp_path)), pytest.raises(StoreInUse):
        face.hold(_nothing, url=sqlite_url(tmp_path))

    face.hold(_nothing, url=sqlite_url(tmp_path))


async def _nothing(_: Any) -> None:
    pass


def _broken(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def _from_the_future(path: Path) -> None:
    Face("sync").hold(_nothing, url=f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        table = next(name for name in tables if "migration" in name)
        row = dict(zip(*_first_row(connection, table), strict=True))
        row["name"] = "9999_from_the_future"
        row.pop("id", None)
        marks = ", ".join("?" for _ in row)
        connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))
    connection.close()


def _first_row(connection: sqlite3.Connection, table: str) -> tuple[list[str], tuple[Any, ...]]:
    cursor = connection.execute(f"SELECT * FROM {table}")
    return [column[0] for column in cursor.description], cursor.fetchone()


@pytest.mark.parametrize(
    ("prepare", "error"), [(_broken, StoreCorrupt), (_from_the_future, StoreTooNew)], ids=["corrupt", "too new"]
)
def test_a_store_that_cannot_be_opened_says_why(face: Face, tmp_path: Path, prepare: Any, error: type) -> None:
    prepare(tmp_path / "runtara.db")
    before = threads()

    with pytest.raises(error):
        face.hold(_nothing, url=sqlite_url(tmp_path))

    assert [name for name in threads() if name not in before and name != "runtara"] == []


@pytest.mark.parametrize(
    "options",
    [
        {"url": "nonsense://here"},
        {"unknown_setting": 1},
        {"park_after_ms": "soon"},
        {"readers": 0},
    ],
    ids=str,
)
def test_a_setting_that_makes_no_sense_is_refused(face: Face, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        face.hold(_nothing, **options)


def test_an_unknown_setting_in_the_environment_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTARA_DATADIR", "x")

    with pytest.raises(ConfigError, match="did you mean RUNTARA_DATA_DIR"):
        embedded.open()


def test_a_system_is_opened_once(face: Face) -> None:
    opening = embedded.open(url="memory://")
    if face.name == "sync":
        with opening, pytest.raises(InvalidState, match="once"):
            opening.__enter__()
        return

    async def main() -> None:
        async with opening:
            with pytest.raises(InvalidState, match="once"):
                await opening.__aenter__()

    trio.run(main) if face.name == "trio" else asyncio.run(main())


def test_an_interrupt_while_it_is_opened_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: Any) -> None:
        raise KeyboardInterrupt

    before = threads()
    monkeypatch.setattr(embedded, "Embedded", interrupted)
    monkeypatch.setattr(Future, "result", interrupted)

    with pytest.raises(KeyboardInterrupt), embedded.open(url="memory://"):
        pass

    assert threads() == before


def test_opening_under_asyncio_does_not_block_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()

    class SlowClock:
        def now_ms(self) -> int:
            return 0

    async def main() -> None:
        async def turn() -> None:
            held.set()

        turning = asyncio.create_task(turn())
        async with embedded.open(url="memory://", clock=SlowClock()):
            assert held.is_set()
            await turning

    def slow_store(url: str, *_: Any, **__: Any) -> Any:
        assert held.wait(SECONDS), "the loop does not turn"
        return open_store(url)

    monkeypatch.setattr(runtara.system, "open_store", slow_store)
    asyncio.run(main())


# One instance of its own ---------------------------------------------------------------------------------------------


def one_of_its_own(face: Face, conversation: Any, **options: Any) -> Any:
    """Hold a conversation with an SDK that has a system of its own."""

    async def main() -> Any:
        async with AsyncRuntaraSdk.embedded("i", **options) as sdk:
            return await conversation(sdk)

    if face.name != "sync":
        return trio.run(main) if face.name == "trio" else asyncio.run(main())
    with RuntaraSdk.embedded("i", **options) as sdk:
        try:
            conversation(Awaited(sdk)).send(None)
        except StopIteration as end:
            return end.value


def test_an_instance_may_have_a_system_of_its_own(face: Face, tmp_path: Path) -> None:
    before = threads()

    async def conversation(sdk: Any) -> bytes | None:
        found: bytes | None = (await sdk.checkpoint("a", b"A")).existing_state
        return found

    runs = [one_of_its_own(face, conversation, data_dir=str(tmp_path)) for _ in range(2)]

    assert runs == [None, b"A"]
    assert [name for name in threads() if name not in before] == []


def test_a_system_of_its_own_is_closed_where_the_instance_cannot_begin(face: Face, tmp_path: Path) -> None:
    async def complete(sdk: Any) -> None:
        await sdk.completed()

    one_of_its_own(face, complete, data_dir=str(tmp_path))
    for _ in range(2):  # the second time, the store would be in use
        with pytest.raises(InvalidState, match="completed"):
            one_of_its_own(face, complete, data_dir=str(tmp_path))


def test_bad_ids_are_refused_before_a_system_is_left_open(face: Face, tmp_path: Path) -> None:
    before = threads()

    with pytest.raises(InvalidInput):
        one_of_its_own(face, None, data_dir=str(tmp_path), tenant_id="../x")

    assert [name for name in threads() if name not in before] == []


def test_closing_an_sdk_closes_the_system_of_its_own() -> None:
    sdk = RuntaraSdk.embedded("i", url="memory://")
    sdk.register()

    sdk.close()
    sdk.close()

    with pytest.raises(ActorStopped):
        sdk.get_status()


# Tree ----------------------------------------------------------------------------------------------------------------


def test_the_tree_shows_every_actor(face: Face) -> None:
    async def conversation(system: Any) -> Any:
        return system.tree() if face.name != "sync" else await system.tree()

    tree = face.hold(conversation)

    assert tree.name == "root"
    assert {child.name for child in tree.children} == {"store", "instances", "runner", "timers", "errands"}


# Close ---------------------------------------------------------------------------------------------------------------


def test_nothing_is_left_when_it_is_closed(face: Face, tmp_path: Path) -> None:
    before = threads()

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await sdk.checkpoint("a", b"A")

    face.hold(conversation, url=sqlite_url(tmp_path))

    assert [name for name in threads() if name not in before] == []
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(("-wal", "-shm"))] == []


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, SystemExit, RuntaraError])
def test_an_exception_of_the_block_passes_through_as_it_is(face: Face, error: type[BaseException]) -> None:
    raised = error("mine")

    async def conversation(_: Any) -> None:
        raise raised

    with pytest.raises(error) as caught:
        face.hold(conversation)

    if face.name != "asyncio" or not issubclass(error, KeyboardInterrupt):  # asyncio makes a new one of it
        assert caught.value is raised


async def test_a_cancelled_block_is_left_like_any_other() -> None:
    with trio.move_on_after(0) as scope:
        async with embedded.open(url="memory://"):
            await trio.sleep_forever()

    assert scope.cancelled_caught


def test_every_call_in_flight_returns_or_raises_when_the_system_is_closed(tmp_path: Path) -> None:
    ends: list[type[BaseException] | str] = []
    inside = threading.Semaphore(0)

    def work(call: Any) -> None:
        try:
            call()
            ends.append("returned")
        except RuntaraError as error:
            ends.append(type(error))

    with embedded.open(str(tmp_path)) as system:
        calls = []
        for number in range(4):
            sdk = system.sdk(f"i-{number}")
            sdk.register()
            when_it_waits(sdk, inside.release)
            calls += [(sdk, call) for call in [_sleep, _wait_for_signal, _wait_for_end, _save][number : number + 1]]
        workers = [threading.Thread(target=work, args=(lambda s=sdk, c=call: c(system, s),)) for sdk, call in calls]
        for worker in workers:
            worker.start()
        for _ in range(2):  # those that wait for a push in their own session
            assert inside.acquire(timeout=SECONDS)

    for worker in workers:
        worker.join(SECONDS)
    assert not any(worker.is_alive() for worker in workers)
    assert len(ends) == 4
    assert set(ends) <= {"returned", ActorStopped, *RuntaraError.__subclasses__()}


def _sleep(_: Any, sdk: Any) -> None:
    sdk.sleep(3_600, "nap")


def _wait_for_signal(_: Any, sdk: Any) -> None:
    sdk.wait_for_signal("go")


def _wait_for_end(system: Any, sdk: Any) -> None:
    system.wait(sdk.instance_id)


def _save(_: Any, sdk: Any) -> None:
    for number in range(1_000_000):
        sdk.checkpoint(f"c{number}", b"")


async def test_tasks_in_flight_are_answered_when_the_system_is_closed() -> None:
    ends: list[type[BaseException]] = []

    async def work(sdk: Any) -> None:
        with pytest.raises(RuntaraError) as refused:
            await sdk.sleep(3_600, "nap")
        ends.append(refused.type)

    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery, embedded.open(url="memory://") as system:
            for number in range(3):
                sdk = system.sdk(f"i-{number}")
                await sdk.register()
                nursery.start_soon(work, sdk)
            await trio.testing.wait_all_tasks_blocked()

    assert ends == [ActorStopped] * 3


def test_asyncio_tasks_in_flight_are_answered_when_the_system_is_closed() -> None:
    async def main() -> object:
        async with embedded.open(url="memory://") as system:
            sdk = system.sdk("i")
            await sdk.register()
            asleep = asyncio.Event()
            loop = asyncio.get_running_loop()
            when_it_waits(sdk, lambda: loop.call_soon_threadsafe(asleep.set))
            task = asyncio.create_task(sdk.sleep(3_600, "nap"))
            await asleep.wait()
        (end,) = await asyncio.gather(task, return_exceptions=True)
        return end

    assert isinstance(asyncio.run(main()), ActorStopped)


def test_blocking_programs_that_wait_end_with_the_system() -> None:
    asleep, ended = threading.Event(), threading.Event()

    def program(sdk: Any) -> None:
        when_it_waits(sdk, asleep.set)
        try:
            sdk.sleep(3_600, "nap")
        finally:
            ended.set()

    with embedded.open(url="memory://", programs={"p": program}, park_after_ms=7_200_000) as system:
        system.start("p", "i")
        assert asleep.wait(SECONDS)

    assert ended.wait(SECONDS)


def test_a_failure_of_the_running_system_is_raised_at_the_end(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    over, hang_up = threading.Event(), Doors.hang_up

    def noted(doors: Doors) -> None:
        hang_up(doors)
        over.set()

    async def conversation(system: Any) -> None:
        monkeypatch.setattr(Sessions, "on_start", _fail)
        kept = (system.inner if face.name == "sync" else system).runtime.system
        kept.ref(runtara.system.SESSIONS).tell_nowait(Attach(None))  # type: ignore[arg-type]  # that crashes it
        if face.name == "trio":
            await trio.sleep_forever()  # the block is cancelled
        assert over.wait(SECONDS)
        with pytest.raises(ActorStopped):
            await system.status("i")

    monkeypatch.setattr(Doors, "hang_up", noted)
    with pytest.raises(SystemFailed, match="not again"):
        face.hold(conversation)


async def _fail(_: Any) -> None:
    raise LookupError("not again")


INTERRUPTED = """
import sys, threading
from runtara.sdk import embedded

def say(*words):
    print(*words, flush=True)

def say_when_it_waits(sdk):
    on_push = sdk._session.on_push
    def hook(since, wake):
        on_push(since, wake)
        say("ready")
    sdk._session.on_push = hook

def blocking():
    with embedded.open(sys.argv[2]) as system:
        with system.sdk("i") as sdk:
            sdk.checkpoint("a", b"A")
            say_when_it_waits(sdk)
            sdk.sleep(3600, "nap")

async def awaiting():
    async with embedded.open(sys.argv[2]) as system:
        async with system.sdk("i") as sdk:
            await sdk.checkpoint("a", b"A")
            say_when_it_waits(sdk)
            await sdk.sleep(3600, "nap")

def on_trio():
    import trio
    trio.run(awaiting)

def on_asyncio():
    import asyncio
    asyncio.run(awaiting())

try:
    {"sync": blocking, "trio": on_trio, "asyncio": on_asyncio}[sys.argv[1]]()
except KeyboardInterrupt:
    say("interrupted", [thread.name for thread in threading.enumerate() if not thread.daemon])
"""


def test_an_interrupt_in_the_middle_of_a_call_keeps_nobody_else_out(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    class Interrupted:
        def run_sync_soon(self, *args: Any) -> None:
            monkeypatch.undo()
            raise KeyboardInterrupt

    with embedded.open(url="memory://", stop_grace_ms=100) as system:

        def ask() -> None:
            with contextlib.suppress(ActorStopped):
                system.status("i")
                answered.set()

        monkeypatch.setattr(system.runtime.system.ingress, "_token", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            system.status("i")
        threading.Thread(target=ask, daemon=True).start()
        assert answered.wait(SECONDS)


def test_an_interrupt_from_the_keyboard_stops_the_system_cleanly(face: Face, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(INTERRUPTED)
    command = [sys.executable, str(tmp_path / "program.py"), face.name, str(tmp_path / "data")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RUNTARA_")}

    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment | {"PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        _await_asleep(process.pid)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=SECONDS)

    assert (output.replace("ready\n", ""), errors) == ("interrupted ['MainThread']\n", "")
    assert not list((tmp_path / "data").glob("*-wal"))
    with embedded.open(str(tmp_path / "data")) as system:
        status = system.status("i")
        assert status.status is InstanceStatus.RUNNING
        assert status.checkpoint_count >= 1


def _await_asleep(pid: int) -> None:
    """Wait until the main thread of a process sleeps in the kernel, as far as the system tells.

    CPython acts upon a signal only at its next look: one that comes between its last look and the sleep, where a lock
    is taken or asyncio polls, is not acted upon before something else ends the sleep.
    """
    thread = Path(f"/proc/{pid}/task/{pid}/status")
    while sys.platform == "linux":
        before = thread.read_text()
        time.sleep(0.05)  # who waits for the interpreter, and not in the kernel, wakes every 5 ms
        if thread.read_text() == before and "State:\tS" in before:  # with as many switches as before
            return


# Import --------------------------------------------------------------------------------------------------------------


def test_importing_the_sdk_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, time; began = time.perf_counter(); import runtara.sdk; took = time.perf_counter() - began;"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in"
        " {'asyncio', 'sqlite3', 'trio', 'pykka', 'msgspec', 'sqlite_utils', 'click'}"
        " or name.startswith(('runtara.actors', 'runtara.store'))));"
        "print(took, file=sys.stderr)"
    )

    done = run_python("-c", code, cwd=tmp_path)

    assert done.stdout == "[]\n", done.stderr


def test_using_the_sdk_imports_neither_asyncio_nor_a_database(tmp_path: Path) -> None:
    code = (
        "import sys; from runtara.sdk import *;"
        "print([name for name in ('asyncio', 'sqlite3', 'sqlite_utils', 'rich') if name in sys.modules])"
    )

    done = run_python("-c", code, cwd=tmp_path)

    assert done.stdout == "[]\n", done.stderr


def test_every_name_of_the_sdk_is_what_it_says_in_whatever_order_it_is_imported(tmp_path: Path) -> None:
    code = (
        "from runtara.sdk._steps import PermanentError; from runtara.sdk import durable, PermanentError as again;"
        "from runtara.sdk import SdkError, RuntaraError, embedded, sdk;"
        "print(callable(durable), again is PermanentError, SdkError is RuntaraError, callable(sdk), embedded.__name__)"
    )

    done = run_python("-c", code, cwd=tmp_path)

    assert done.stdout == "True True True True runtara.sdk.embedded\n", done.stderr


def test_the_sdk_publishes_what_it_lists() -> None:
    import runtara.sdk

    assert set(runtara.sdk._HOME) | {"embedded"} == set(runtara.sdk.__all__)
    for name in runtara.sdk.__all__:
        assert getattr(runtara.sdk, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        runtara.sdk.missing  # noqa: B018 - that it raises is the point


def test_there_is_no_system_outside_an_event_loop() -> None:
    with pytest.raises(sniffio.AsyncLibraryNotFoundError):
        embedded.open(url="memory://").__aenter__().send(None)


def test_a_cancel_from_another_thread_reaches_a_sleeper() -> None:
    with embedded.open(url="memory://") as system, system.sdk("i") as sdk:
        when_it_waits(sdk, lambda: system.signal("i", SignalType.CANCEL))
        with pytest.raises(InstanceCancelled):
            sdk.sleep(3_600, "nap")


def test_a_system_that_was_not_entered_says_that_it_must_be() -> None:
    opening: Any = embedded.open(url="memory://")

    with pytest.raises(AttributeError, match="there is no 'sdk' before the system is open: enter it, `with embedded"):
        opening.sdk("one")


def test_a_program_that_is_no_function_is_refused_where_it_is_given() -> None:
    with pytest.raises(InvalidInput, match="program 'order' is 'order', which is no function"):
        embedded.open(url="memory://", programs={"order": "order"})  # type: ignore[dict-item]  # the subject


def test_whoever_asks_after_the_end_is_told_when_to_ask() -> None:
    with embedded.open(url="memory://") as system, system.sdk("one") as sdk:
        pass

    with pytest.raises(ActorStopped, match="ask while it is open"):
        sdk.checkpoint("late", b"")


@pytest.mark.parametrize("wrong", ["", "sqlite:///runtara.db", "postgresql://localhost/x"])
def test_an_address_is_no_folder(wrong: str) -> None:
    with pytest.raises(ConfigError, match=f"{wrong!r} is no folder to keep things in: give one, or the address of a"):
        embedded.open(wrong)


def test_a_folder_may_be_a_path(tmp_path: Path) -> None:
    with embedded.open(tmp_path / "data") as system, system.sdk("one") as sdk:
        assert sdk.epoch == 1

    assert (tmp_path / "data" / "runtara.db").is_file()
