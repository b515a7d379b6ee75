import os
import resource
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from runtara.actors.runners import HostFailed
from runtara.actors.runners._run_folder import RunFolder, ShimNote, read_markers
from runtara.actors.runners.native import NativeAttempt, NativeEngine
from runtara.errors import Forbidden, NotFound
from runtara.ids import InstanceKey
from runtara.settings import Settings
from tests.actors.runners.hall import KEY, Hall, children, descriptors, kill_child, open_hall


@pytest.fixture
async def hall(tmp_path: Path) -> AsyncIterator[Hall]:
    async with open_hall(tmp_path) as hall:
        yield hall


# Which programs there are ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("program", "error"), [("missing", NotFound), ("../outside", NotFound), ("plain", Forbidden)])
async def test_a_program_that_may_not_be_launched_is_refused(hall: Hall, program: str, error: type[Exception]) -> None:
    hall.write("true", "plain", mode=0o644)
    (hall.folder / "outside").write_text("#!/bin/sh\n")
    (hall.folder / "outside").chmod(0o755)

    with pytest.raises(error):
        hall.engine.check(program)


async def test_what_cannot_be_executed_ends_at_once_and_says_why(hall: Hall) -> None:
    (hall.programs / "odd").write_text("#!/no/such/interpreter\n")
    (hall.programs / "odd").chmod(0o755)
    (hall.programs / "garbage").write_bytes(b"\0\1\2")
    (hall.programs / "garbage").chmod(0o755)
    ends = []
    for name in ("odd", "garbage"):
        plan = hall.plan(name)
        ends.append(await hall.end(await hall.engine.launch(plan)))

    assert [ended.exit_code for ended in ends] == [127, 126]
    assert "No such file" in ends[0].error
    assert "garbage could not be launched" in ends[1].error


# What a program gets --------------------------------------------------------------------------------------------------


async def test_the_environment_is_exactly_what_it_should_be(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    hall.engine = NativeEngine(hall.settings, {"PATH": "/bin:/usr/bin", "LANG": "C.UTF-8"})
    env = {"MINE": "yes", "RUNTARA_TOKEN": "forged", "LANG": "de", "ODD": "a\nb=c"}

    await hall.run(
        "import os, sys; sys.stdout.write('|'.join(sorted(f'{n}={v}' for n, v in os.environ.items())))",
        "show.py",
        env=env,
        ours={"RUNTARA_TOKEN": "ours"},
        input=b"x",
        epoch=3,
    )
    folder = RunFolder(hall.home, KEY)
    found = dict(item.split("=", 1) for item in (await hall.read()).decode().split("|"))

    assert len(found.pop("RUNTARA_LAUNCH_ID")) == 32
    found.pop("LC_CTYPE", None)  # Python's own
    assert found == {
        "PATH": "/bin:/usr/bin",
        "LANG": "de",
        "PYTHONUNBUFFERED": "1",
        "MINE": "yes",
        "ODD": "a\nb=c",
        "RUNTARA_TOKEN": "ours",
        "RUNTARA_TENANT_ID": "acme",
        "RUNTARA_INSTANCE_ID": "order-7",
        "RUNTARA_EPOCH": "3",
        "RUNTARA_INPUT_FILE": str(folder.input),
        "RUNTARA_OUTPUT_FILE": str(folder.output),
        "RUNTARA_WORK_DIR": str(folder.work),
    }


async def test_a_program_of_python_sees_the_modules_that_the_host_sees(hall: Hall) -> None:
    ended = await hall.run("import runtara.ids, sys; sys.exit(5)", "program.py")

    assert ended.exit_code == 5, ended.error


async def test_neither_the_shim_nor_its_command_line_holds_a_secret(hall: Hall) -> None:
    attempt = await hall.launch("exec sleep 1000", ours={"RUNTARA_TOKEN": "canary"})
    shim = Path(f"/proc/{hall.shim().pid}")

    shown = (shim / "environ").read_bytes() + (shim / "cmdline").read_bytes()
    attempt.stop("kill")
    await hall.end(attempt)

    assert b"canary" not in shown
    assert not [path for path in hall.home.rglob("*") if path.is_file() and b"canary" in path.read_bytes()]


async def test_a_program_begins_in_a_session_of_its_own_with_nothing_open_but_its_streams(hall: Hall) -> None:
    inheritable = os.dup(2)
    os.set_inheritable(inheritable, True)
    await hall.run(
        "import os\n"
        "print('fds', sorted(map(int, os.listdir('/proc/self/fd')))[:-1], os.readlink('/proc/self/fd/0'))\n"
        "print('mask', oct(os.umask(0)), os.getcwd() == os.environ['RUNTARA_WORK_DIR'])\n"
        "print('session', os.getsid(0) == os.getpgid(0) == os.getpid())",
        "show.py",
    )
    os.close(inheritable)
    shown = (await hall.read()).decode().splitlines()

    assert shown == ["fds [0, 1, 2] /dev/null", "mask 0o77 True", "session True"]


async def test_signals_are_neither_blocked_nor_ignored_in_a_program(hall: Hall) -> None:
    await hall.run("grep -E 'Sig(Blk|Ign)' /proc/self/status")

    values = [line.split()[1] for line in (await hall.read()).decode().splitlines()]
    assert [int(value, 16) & ((1 << 31) - 1) for value in values] == [0, 0]


async def test_limits_hold_for_the_program(tmp_path: Path) -> None:
    limits = {"program_files": 20, "program_memory_bytes": 1 << 30, "program_file_bytes": 1 << 16}
    async with open_hall(tmp_path, **limits) as hall:
        await hall.run("ulimit -n; ulimit -v; ulimit -f; ulimit -c")

        assert (await hall.read()).split() == [b"20", b"1048576", b"128", b"0"]


async def test_a_program_that_leaks_descriptors_meets_its_own_limit_and_no_other(tmp_path: Path) -> None:
    async with open_hall(tmp_path, program_files=50) as hall:
        before = descriptors()
        ended = await hall.run("kept = [open('/dev/null') for _ in range(100)]", "leak.py")

        assert ended.exit_code == 1
        assert "Too many open files" in ended.error
        assert descriptors() == before


async def test_files_are_for_the_host_only_and_named_by_no_id(hall: Hall) -> None:
    key = InstanceKey("acme", "..@passwd")
    attempt = await hall.launch("echo x; echo y >&2; echo z >made; exec sleep 1000", key=key, input=b"secret")
    await hall.wait_written("x", key=key)
    paths = [hall.home, *hall.home.rglob("*")]
    modes = {oct(stat.S_IMODE(path.stat().st_mode)) for path in paths[1:]}
    attempt.stop("kill")
    await hall.end(attempt)

    assert modes == {"0o700", "0o600"}
    assert not [path for path in paths if "passwd" in str(path.relative_to(hall.folder))]


# What a program leaves ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('head -c 101 /dev/zero >"$RUNTARA_OUTPUT_FILE"', "more than 100 bytes"),
        ('ln -s /etc/hostname "$RUNTARA_OUTPUT_FILE"', "cannot be read"),
        ('mkfifo "$RUNTARA_OUTPUT_FILE"', "not a file"),
        ('mkdir "$RUNTARA_OUTPUT_FILE"', "not a file"),
    ],
)
async def test_an_output_that_is_too_large_or_no_file_is_a_failure_with_a_reason(
    tmp_path: Path, text: str, error: str
) -> None:
    async with open_hall(tmp_path, state_max_bytes=100) as hall:
        ended = await hall.run(text)
        again = await hall.run("true", epoch=2)

    assert (ended.exit_code, ended.output) == (1, None)
    assert error in ended.error
    assert (again.exit_code, again.output) == (0, None)


async def test_the_error_is_the_end_of_stderr_and_can_always_be_stored(hall: Hall) -> None:
    ended = await hall.run(r"head -c 100000 /dev/zero | tr '\0' x >&2; printf '\377\0end' >&2; exit 1")

    assert len(ended.error) == 4096
    assert ended.error.endswith("x\ufffd\ufffdend")


async def test_the_error_is_put_together_where_its_end_lies_in_two_segments(tmp_path: Path) -> None:
    async with open_hall(tmp_path, program_log_bytes=200) as hall:
        ended = await hall.run("i=100; while [ $i -lt 150 ]; do echo line $i >&2; i=$((i+1)); done; exit 1")

    assert ended.error.splitlines()[-5:] == [f"line {number}" for number in range(145, 150)]
    assert len(ended.error) > 100


async def test_what_lies_in_the_work_folder_is_there_for_the_next_attempt(hall: Hall) -> None:
    await hall.run("echo kept >note; exit 1")

    await hall.run("cat note", epoch=2)

    assert await hall.read() == b"kept\n"


async def test_a_full_disk_costs_log_lines_and_nothing_else(hall: Hall) -> None:
    full, free = hall.folder / "full", hall.folder / "free"
    os.mkfifo(full)
    os.mkfifo(free)
    attempt = await hall.launch(
        f"echo before; read x <{full}; head -c 1000000 /dev/zero; read x <{free}; echo after; exit 3"
    )
    await hall.wait_written("before")
    shim = hall.shim().pid
    limits = resource.prlimit(shim, resource.RLIMIT_FSIZE, (600, resource.RLIM_INFINITY))

    await trio.Path(full).write_text("\n")
    async with await trio.open_file(free, "w"):  # which the program opens once the flood is over
        resource.prlimit(shim, resource.RLIMIT_FSIZE, limits)
    ended = await hall.end(attempt)
    kept, (rest, offset) = await hall.read(), await hall.engine.read_log(KEY, "stdout", -1, 1)

    assert ended.exit_code == 3
    assert kept.endswith(b"after\n")
    assert len(kept) < 200_000
    assert (rest, offset) == (b"\n", 1_000_000 + len("before\nafter\n") - 1)


# What can go wrong ----------------------------------------------------------------------------------------------------


async def test_a_host_that_cannot_do_its_part_says_so_and_leaves_nothing_behind(hall: Hall) -> None:
    hall.home.parent.mkdir()
    hall.home.write_text("not a folder")

    with pytest.raises(HostFailed, match="could not launch"):
        await hall.launch("true")

    hall.home.unlink()
    assert (await hall.run("exit 4")).exit_code == 4


async def test_a_shim_that_cannot_begin_is_a_failure_of_the_host_that_names_the_reason(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = hall.folder / "broken.py"
    broken.write_text("raise OSError('no memory')")
    with monkeypatch.context() as patches:
        patches.setattr("runtara.actors.runners._shim.__file__", str(broken))
        with pytest.raises(HostFailed, match="no memory"):
            await hall.launch("true")

    assert await hall.engine.adopt() == []


async def test_two_attempts_of_an_instance_never_run_at_once(hall: Hall) -> None:
    attempt = await hall.launch("exec sleep 1000")

    with pytest.raises(HostFailed, match="still holds"):
        await hall.launch("true", epoch=2)

    (adopted,) = await hall.engine.adopt()
    adopted.close()
    attempt.stop("kill")
    await hall.end(attempt)

    assert adopted.epoch == 1


async def test_an_attempt_from_before_the_machine_was_started_anew_is_lost_without_fault(hall: Hall) -> None:
    attempt = await hall.launch("exec sleep 1000")
    attempt.close()
    note, (marker,) = hall.shim(), read_markers(hall.home)
    kill_child(note.pid)
    path = RunFolder(hall.home, KEY).marker
    path.write_text(path.read_text().replace(marker.boot_id, "another"))

    (adopted,) = await hall.engine.adopt()
    ended = await hall.end(adopted)

    assert (ended.exit_code, ended.counts) == (None, False)
    assert "started anew" in ended.error


async def test_a_shim_that_is_late_does_not_begin_what_was_given_up(hall: Hall) -> None:
    folder, plan = RunFolder(hall.home, KEY), hall.plan(hall.write("echo begun"))
    attempt = await hall.engine.launch(plan)
    await attempt.wait_ended()
    attempt.close()
    (marker,) = read_markers(hall.home)
    for left in ("exit.json", f"shim.{marker.launch_id}.json"):  # as if the shim had not got so far yet
        (folder.path / left).unlink()

    (adopted,) = await hall.engine.adopt()
    ended = await hall.end(adopted)
    with pytest.raises(OSError, match=r"No such file|given up"):
        start_late(hall, folder, marker.launch_id)

    assert (ended.exit_code, ended.counts) == (None, False)
    assert "before it could launch" in ended.error
    assert await hall.read() == b"begun\n"


async def test_a_shim_that_begins_while_it_is_looked_for_is_found(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = await hall.launch("exec sleep 1000")
    attempt.close()
    read, looks = RunFolder.read_shim, list[str]()

    def read_shim(folder: RunFolder, launch_id: str) -> ShimNote | None:
        looks.append(launch_id)
        return None if len(looks) == 1 else read(folder, launch_id)  # at first it had not got so far

    monkeypatch.setattr(RunFolder, "read_shim", read_shim)
    (adopted,) = await hall.engine.adopt()
    assert isinstance(adopted, NativeAttempt)
    is_found = adopted._shim is not None  # else nothing could stop it
    monkeypatch.undo()
    (again,) = await hall.engine.adopt()
    again.stop("kill")

    assert is_found
    assert (await hall.end(adopted)).exit_code == -signal.SIGKILL
    again.close()


def start_late(hall: Hall, folder: RunFolder, launch_id: str) -> None:
    """Start a shim for a launch that the host has given up or forgotten."""
    from runtara.actors.runners.native import _start_shim

    spec = f'{{"launch_id": "{launch_id}", "folder": "{folder.path}", "marker": "{folder.marker}"}}'
    _start_shim(spec.encode(), folder.path)


async def test_garbled_markers_are_forgotten(hall: Hall) -> None:
    await hall.run("true")
    (hall.home / "attempts" / "garbled.json").write_text('{"tenant_id": "acme"')

    assert await hall.engine.adopt() == []
    assert list((hall.home / "attempts").iterdir()) == []


async def test_an_engine_that_is_not_served_still_reads_logs(tmp_path: Path) -> None:
    engine = NativeEngine(Settings(data_dir=str(tmp_path)), {})

    assert not engine.watch_log(KEY).is_set()
    assert await engine.read_log(KEY, "stdout", 0, 1) == (b"", 0)


@pytest.mark.slow
async def test_a_hundred_launches_leave_no_descriptor_thread_or_zombie(hall: Hall) -> None:
    await hall.run("true")
    before = (descriptors(), children())
    limiter = trio.CapacityLimiter(4)

    async def launch(number: int) -> None:
        async with limiter:
            key = InstanceKey("acme", f"i{number}")
            attempt = await hall.launch("echo x; (setsid sleep 1000 &)", key=key)
            await hall.end(attempt)

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(launch, number)

    assert (descriptors(), children()) == before
    assert list((hall.home / "attempts").iterdir()) == []


@pytest.mark.slow
async def test_a_shim_is_small(hall: Hall) -> None:
    attempt = await hall.launch("exec sleep 1000")
    rollup = await trio.Path(f"/proc/{hall.shim().pid}/smaps_rollup").read_text()
    private = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_"))
    attempt.stop("kill")
    await hall.end(attempt)

    assert private < 12_000, f"{private} KiB of its own with {sys.version}"
