"""The reference's scenarios about hosts and images, by number, on a real server; where we differ, the test says how.

Those about a program as such are held twice: as a process of the host, and in a container. S20 to S22 are about
files of the reference's that we do not have; their promises are kept by other files, which are looked at here.
"""

import hashlib
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

import pytest

from runtara.actors.runners._oci_cgroups import find_cgroups
from runtara.errors import (
    AlreadyExists,
    DeadlineExceeded,
    Draining,
    InstanceNotFound,
    InvalidInput,
    InvalidState,
    NotFound,
)
from runtara.lifecycle import FINAL, Status, TerminationReason
from runtara.messages import (
    DeleteImage,
    GetImage,
    GetStatus,
    ListEvents,
    ListImages,
    ListImageVersions,
    ListInstances,
    StartInstance,
)
from runtara.records import ImageOptions
from tests.crash.host.scene import LIMIT_S
from tests.crash.host.site import leave_nothing_running, open_site
from tests.reference.hosting import BOX, JAR, PLAIN, SHELL, WORKER, Hosting, make_jar
from tests.requirements import require

SCENARIOS: Final = [4, *range(15, 27), 33]
"""S34 needs two servers and a database: tests/crash/nodes/test_images.py."""

BOTH = pytest.mark.parametrize("image", [PLAIN, JAR])
BOTH_OVER_A_RESTART = pytest.mark.parametrize("image", [pytest.param(PLAIN, marks=pytest.mark.slow), JAR])
"""A process of the host over the end of a server is the subject of tests/crash/host, too."""
HOLD = {"hold": 1}
ROWS = ["row 0", "row 1", "row 2"]


@pytest.fixture(autouse=True)
def _nothing_left_running() -> None:
    """Instead of the check that no test leaves a process: here the server is that of all tests of the module."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosting]:
    """A server with the images, for all tests of this module: to push a Python takes seconds."""
    require("runc", "containers are run by it")
    require("control groups", "containers are held to limits by them", found=find_cgroups().version)
    folder = tmp_path_factory.mktemp("hosting")
    site = open_site(folder / "site")
    hosting = Hosting(site)
    try:
        hosting.server.start()
        (folder / "worker.py").write_text(WORKER)
        hosting.push(PLAIN, folder / "worker.py")
        options = ImageOptions(command=("python", "/packages/worker.py"), memory_bytes=256_000_000, pids=32)
        hosting.push(JAR, make_jar(folder), options=options)
        hosting.push_scripts(folder)
        yield hosting
        if hosting.server.is_running:
            hosting.server.drain()  # a program that is just being launched cannot be found by its folder yet
    finally:
        hosting.close()
        leave_nothing_running(site)


@pytest.fixture
def hosting(shared: Hosting) -> Hosting:
    """The server, which works."""
    if not shared.server.is_running:
        shared.server.start()
    return shared


def rows_of(hosting: Hosting, who: str) -> list[str]:
    return hosting.log(who)


def events_of(hosting: Hosting, who: str) -> list[str]:
    return [event.type for event in hosting.ask(who, ListEvents(limit=1000)).events]


# Many -----------------------------------------------------------------------------------------------------------------


class Watcher:
    """Sees how instances stand, again and again, and remembers every status that differs from the one before."""

    def __init__(self, hosting: Hosting, names: list[str]) -> None:
        self.seen: dict[str, list[Status]] = {name: [] for name in names}
        self._hosting = hosting
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            for row in self._hosting.ask("watcher", ListInstances(limit=1000)).instances:
                seen = self.seen.get(row.instance_id)
                if seen is not None and seen[-1:] != [row.status]:
                    seen.append(row.status)


def run_many(hosting: Hosting, names: list[str], images: tuple[str, ...], plan: Any) -> None:
    """Start many instances at once, and see none of them end twice, or in another way than it should."""
    with Watcher(hosting, names) as watcher:
        starts = [
            threading.Thread(target=hosting.begin, args=(name, images[number % len(images)], plan))
            for number, name in enumerate(names)
        ]
        for start in starts:
            start.start()
        for start in starts:
            start.join()
        ends = [hosting.finished(name) for name in names]

    assert [info.status for info in ends] == [Status.COMPLETED] * len(names)
    for name in names:
        assert set(watcher.seen[name][:-1]).isdisjoint(FINAL), f"{name} was {watcher.seen[name]}"
        assert events_of(hosting, name).count("completed") == 1
        assert "failed" not in events_of(hosting, name)


def test_s04_fifty_instances_that_are_started_at_once_complete_and_never_show_another_end(hosting: Hosting) -> None:
    names = [f"crowd-{number}" for number in range(50)]

    run_many(hosting, names, (SHELL, BOX), "echo row")

    assert [rows_of(hosting, name) for name in names] == [["row"]] * 50
    assert {hosting.status(name).epoch for name in names} == {1}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_s04_two_hundred_durable_instances_that_are_started_at_once_complete_and_never_show_another_end(
    hosting: Hosting,
) -> None:
    names = [f"throng-{number}" for number in range(200)]

    run_many(hosting, names, (PLAIN, JAR), {})


# Images ---------------------------------------------------------------------------------------------------------------


def test_s15_an_image_is_validated_versioned_and_seen_by_its_tenant_only(hosting: Hosting, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho one\n")
    with pytest.raises(InvalidInput, match="name"):
        hosting.push("", script)
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(InvalidInput):
        hosting.push("report", tmp_path / "empty.py")

    first = hosting.push("report", script, description="the first", metadata={"team": "größe"})
    script.write_text("#!/bin/sh\necho two\n")
    second = hosting.push("report", script)

    assert (first.version, second.version, second.image_id) == (1, 2, first.image_id)  # the reference changes the id
    found = hosting.ask("i", GetImage(image="report@1"))
    assert (found.description, json.loads(found.metadata)) == ("the first", {"team": "größe"})
    assert [one.version for one in hosting.ask("i", ListImageVersions(image="report")).images] == [2, 1]
    _see_nothing_of_it(hosting, first.image_id)
    hosting.ask("i", DeleteImage(image="report"))
    with pytest.raises(NotFound):
        hosting.ask("i", GetImage(image="report"))
    assert "report" not in [one.name for one in hosting.ask("i", ListImages()).images]


def _see_nothing_of_it(hosting: Hosting, image_id: str) -> None:
    other = hosting.manager("other")
    try:
        assert other.call_from_thread(ListImages()).images == ()
        for named in ("report", image_id):
            for command in (GetImage(image=named), DeleteImage(image=named), StartInstance(program=named, image=True)):
                with pytest.raises(NotFound):
                    other.call_from_thread(command)
    finally:
        other.close()


@BOTH
@pytest.mark.parametrize("env", [{"MINE": "größe"}, {}], ids=["some", "none"])
def test_s16_a_start_takes_an_id_and_an_environment_and_is_one_instance_when_it_is_repeated(
    hosting: Hosting, image: str, env: dict[str, str]
) -> None:
    who = f"{image}-{len(env)}-own"

    for _ in range(3):  # the reference refuses the second in this version, and takes it in later ones
        hosting.begin(who, image, env=env)
    info = hosting.finished(who)

    assert info.status is Status.COMPLETED, hosting.log(who, "stderr")
    assert json.loads(info.output or b"")["mine"] == env.get("MINE")
    assert (rows_of(hosting, who), info.epoch) == (ROWS, 1)
    with pytest.raises(AlreadyExists):
        hosting.begin(who, image, {"steps": 4}, env=env)


def test_s16_a_start_of_what_is_not_there_leaves_no_instance_behind(hosting: Hosting, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        hosting.begin("absent", "nothing-of-the-kind")
    with pytest.raises(InstanceNotFound):  # in the reference a row stays, which is pending for ever
        hosting.status("absent")

    (tmp_path / "late.py").write_text("")
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho row\n")
    hosting.push("nothing-of-the-kind", script)
    hosting.begin("absent", "nothing-of-the-kind")

    assert hosting.finished("absent").status is Status.COMPLETED


@BOTH
def test_s17_a_stop_is_heard_by_the_program_and_nothing_of_it_stays(hosting: Hosting, image: str) -> None:
    who = f"{image}-stopped"
    with pytest.raises(InstanceNotFound):
        hosting.signal("nobody", "cancel")
    hosting.begin(who, image, HOLD)
    hosting.await_log(who, "row 1")
    program = hosting.program_of(who)

    hosting.signal(who, "cancel")
    info = hosting.finished(who)

    assert info.status is Status.CANCELLED
    assert program.is_gone(LIMIT_S)
    program.close()
    assert rows_of(hosting, who) == ["row 0", "row 1"]


@pytest.mark.parametrize("image", [SHELL, BOX])
def test_s17_a_program_that_will_not_stop_is_killed_after_its_grace(hosting: Hosting, image: str) -> None:
    who = f"{image}-stubborn"
    hosting.begin(who, image, "trap '' TERM; echo row; while true; do sleep 1; done")
    hosting.await_log(who, "row")
    program = hosting.program_of(who)

    hosting.signal(who, "cancel")

    assert hosting.finished(who).status is Status.CANCELLED
    assert program.is_gone(LIMIT_S)
    program.close()


@BOTH
def test_s18_what_rests_is_resumed_and_nothing_else(hosting: Hosting, image: str) -> None:
    who = f"{image}-paused"
    with pytest.raises(InstanceNotFound):
        hosting.signal("nobody", "resume")
    hosting.begin(who, image, HOLD)
    hosting.await_log(who, "row 1")
    hosting.signal(who, "pause")
    paused = hosting.await_info(who, lambda info: info.status is Status.SUSPENDED)

    hosting.signal(who, "resume")
    hosting.go(who)
    info = hosting.finished(who)

    assert paused.finished_at is None
    assert (info.status, rows_of(hosting, who)) == (Status.COMPLETED, ROWS)
    assert info.epoch > 1
    with pytest.raises(InvalidState):
        hosting.signal(who, "resume")


# The life of a process ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_s19_a_silent_container_is_launched_again_and_the_healthy_ones_are_left_alone(hosting: Hosting) -> None:
    hosting.server.drain()
    hosting.server = hosting.make_server(heartbeat_timeout_ms=4_000, heartbeat_interval_ms=500)
    hosting.server.start()
    for who in ("silent", "healthy", "fresh"):
        hosting.begin(who, JAR, HOLD)
        hosting.await_log(who, "row 1")
    silent = hosting.program_of("silent")

    silent.send(signal.SIGSTOP)
    hosting.await_info("silent", lambda info: info.epoch > 1)
    for who in ("silent", "healthy", "fresh"):
        hosting.go(who)
    ends = {who: hosting.finished(who) for who in ("silent", "healthy", "fresh")}

    assert silent.is_gone(LIMIT_S)
    silent.close()
    assert {info.status for info in ends.values()} == {Status.COMPLETED}
    assert [ends[who].epoch for who in ("healthy", "fresh")] == [1, 1]
    assert [rows_of(hosting, who) for who in ends] == [ROWS] * 3
    hosting.server.drain()
    hosting.server = hosting.make_server()


@BOTH
def test_s20_a_place_is_taken_once_and_given_back_when_the_program_is_gone(hosting: Hosting, image: str) -> None:
    who = f"{image}-kept"
    hosting.begin(who, image, HOLD)
    hosting.await_log(who, "row 1")
    folder = hosting.folder(who)
    marker = folder.parent / "attempts" / f"{folder.name}.json"
    told = json.loads(marker.read_bytes())

    hosting.go(who)
    hosting.finished(who)
    _await_gone(hosting, marker)

    assert (told["instance_id"], told["epoch"]) == (who, 1)
    assert bool(told["after"]) == (image == JAR)
    assert not list(Path("/sys/fs/cgroup").glob(f"*/runtara/runtara-{told['launch_id']}"))
    assert not (folder / "container").exists()


def _await_gone(hosting: Hosting, path: Path) -> None:
    """Wait until a file has been taken away: the server does that after the end is stored."""
    hosting.begin(f"after-{path.stem}", SHELL, "true")
    hosting.finished(f"after-{path.stem}")
    for _ in range(200):
        if not path.exists():
            return
        threading.Event().wait(0.02)
    raise AssertionError(f"{path} is still there")


@pytest.mark.parametrize("image", [SHELL, BOX])
@pytest.mark.parametrize(
    ("words", "status", "output"),
    [
        ('printf "größe" > "$RUNTARA_OUTPUT_FILE"', Status.COMPLETED, "größe".encode()),
        ("true", Status.COMPLETED, None),
        (': > "$RUNTARA_OUTPUT_FILE"', Status.COMPLETED, b""),
        ('mkdir "$RUNTARA_OUTPUT_FILE"', Status.FAILED, None),
        ('ln -s /etc/passwd "$RUNTARA_OUTPUT_FILE"', Status.FAILED, None),
        ("echo why >&2; exit 3", Status.FAILED, None),
    ],
    ids=["text", "none", "empty", "folder", "link", "code"],
)
def test_s21_what_a_program_leaves_is_its_output_if_it_is_a_file(
    hosting: Hosting, image: str, words: str, status: Status, output: bytes | None
) -> None:
    who = f"{image}-leaves-{hashlib.sha256(words.encode()).hexdigest()[:8]}"

    hosting.begin(who, image, words)
    info = hosting.finished(who)

    assert (info.status, info.output or None) == (status, output or None)
    assert ("why" in (info.error or "")) == ("why" in words)


@BOTH
def test_s22_the_folder_of_a_run_holds_what_the_documentation_says(hosting: Hosting, image: str) -> None:
    who = f"{image}-folder"
    hosting.begin(who, image, HOLD)
    hosting.await_log(who, "row 1")
    folder = hosting.folder(who)
    running = {path.name.partition(".")[0] for path in folder.iterdir()}
    modes = [path.stat().st_mode & 0o077 for path in (folder, folder / "data", folder / "work")]

    hosting.go(who)
    hosting.finished(who)

    assert {"data", "instance", "lock", "shim", "stdout", "work"} <= running
    assert ("container" in running) == (image == JAR)
    assert modes == [0, 0, 0]
    assert [path.read_text().splitlines() for path in folder.glob("stdout.*")] == [ROWS]


# The life of a server -------------------------------------------------------------------------------------------------


@BOTH_OVER_A_RESTART
def test_s23_a_server_that_is_stopped_leaves_its_instances_at_rest_and_the_next_goes_on(
    hosting: Hosting, image: str
) -> None:
    who = f"{image}-drained"
    hosting.begin(who, image, HOLD)
    hosting.await_log(who, "row 1")

    code, _ = hosting.server.drain()
    hosting.server.start()
    hosting.await_info(who, lambda info: info.epoch > 1 and info.status is Status.RUNNING)
    hosting.go(who)
    info = hosting.finished(who)

    assert (code, info.status) == (0, Status.COMPLETED), hosting.story(who)
    assert info.losses == 0
    assert rows_of(hosting, who) == ROWS


@BOTH_OVER_A_RESTART
def test_s24_a_server_that_is_killed_leaves_its_programs_alone_and_the_next_adopts_them(
    hosting: Hosting, image: str
) -> None:
    who = f"{image}-adopted"
    hosting.begin(who, image, HOLD)
    hosting.await_log(who, "row 1")

    hosting.server.kill()
    hosting.server.start()
    hosting.go(who)
    info = hosting.finished(who)

    assert (info.status, info.epoch) == (Status.COMPLETED, 1)
    assert rows_of(hosting, who) == ROWS


@BOTH_OVER_A_RESTART
def test_s24_a_program_that_is_killed_with_its_server_is_recovered(hosting: Hosting, image: str) -> None:
    who = f"{image}-recovered"
    hosting.begin(who, image, HOLD)
    hosting.await_log(who, "row 1")
    program = hosting.program_of(who)

    hosting.server.kill()
    program.send(signal.SIGKILL)
    assert program.is_gone(LIMIT_S)
    program.close()
    hosting.server.start()
    hosting.go(who)
    info = hosting.finished(who)

    assert info.status is Status.COMPLETED, hosting.story(who)
    assert info.epoch > 1
    assert rows_of(hosting, who) == ROWS


@pytest.mark.slow  # the session of examples/10_container.py does the same, in a container
@BOTH
def test_s24_a_server_that_is_killed_while_an_instance_rests_is_not_missed(hosting: Hosting, image: str) -> None:
    who = f"{image}-parked"
    hosting.begin(who, image, {"rest": 1, "for_s": 2.5})
    parked = hosting.await_info(who, lambda info: info.status is Status.SUSPENDED)

    hosting.server.kill()
    hosting.server.start()
    info = hosting.finished(who)

    assert parked.termination_reason is TerminationReason.SLEEPING
    assert info.status is Status.COMPLETED, hosting.story(who)
    assert info.epoch > 1
    assert rows_of(hosting, who) == ROWS
    assert (info.finished_at or 0) >= (parked.wake_at or 0)


@pytest.mark.parametrize(
    ("image", "words"),
    [(SHELL, "echo row; kill -9 $$"), (BOX, "echo row; x=x; while true; do x=$x$x$x$x; done")],
    ids=["killed", "out of memory"],
)
def test_s25_a_program_that_crashes_again_and_again_fails_when_its_restarts_are_used_up(
    hosting: Hosting, image: str, words: str
) -> None:
    who = f"{image}-hopeless"

    hosting.begin(who, image, words)
    info = hosting.finished(who)

    assert (info.status, info.termination_reason) == (Status.FAILED, TerminationReason.RECOVERY_BUDGET_SPENT)
    assert rows_of(hosting, who) == ["row"] * 4, "once, and three restarts"
    assert ("for want of memory" in (info.error or "")) == (image == BOX), info.error


def test_s26_no_instance_has_ended_before_it_began(hosting: Hosting) -> None:
    hosting.begin("brief", BOX, "true")
    hosting.finished("brief")

    page = hosting.ask("i", ListInstances(limit=1000))
    found = [hosting.status(row.instance_id) for row in page.instances]

    ended = [info for info in found if info.finished_at is not None]
    assert [info for info in ended if (info.finished_at or 0) < (info.started_at or info.created_at)] == []
    assert [info for info in found if (info.started_at or info.created_at) < info.created_at] == []
    assert [info for info in found if info.finished_at is not None and info.status not in FINAL] == []


def test_s33_a_server_that_goes_down_takes_no_new_instance_and_lets_the_known_ones_speak(hosting: Hosting) -> None:
    hosting.begin("last", SHELL, "trap '' TERM; echo row; while true; do sleep 1; done")
    hosting.await_log("last", "row")

    hosting.server.send(signal.SIGTERM)
    with pytest.raises(Draining):
        _start_again_and_again(hosting)
    known = hosting.ask("last", GetStatus())

    assert known.status is Status.SUSPENDED
    hosting.server.send(signal.SIGTERM)
    assert hosting.server.wait(LIMIT_S) == 128 + signal.SIGTERM
    hosting.server.start()
    hosting.signal("last", "cancel")
    assert hosting.finished("last").status is Status.CANCELLED


def _start_again_and_again(hosting: Hosting) -> None:
    """Start new instances until it is refused: it takes a moment until the server has heard the signal."""
    for number in count():
        start = StartInstance(program=SHELL, image=True, input=b"true")
        with suppress(DeadlineExceeded):  # the last answer may be on its way when time is up
            hosting.door.beside(f"too-late-{number}").call_from_thread(start, timeout=0.5)


def test_every_scenario_of_a_host_has_its_test() -> None:
    source = Path(__file__).read_text(encoding="utf-8")

    assert [number for number in SCENARIOS if f"def test_s{number:02}_" not in source] == []
