"""What every engine promises, whatever it launches programs as."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest
import trio

from runtara.actors.runners import Ended, Engine, HostFailed
from runtara.actors.runners._run_folder import RunFolder, read_markers
from runtara.ids import InstanceKey
from tests.actors.runners.boxes import BoxHall
from tests.actors.runners.fakes import FakeHall
from tests.actors.runners.hall import KEY, Hall, is_alive, kill_child, plain, serving, wait_gone
from tests.actors.runners.modules import ModuleHall

AnyHall = Hall | FakeHall
HALLS = {"process": Hall, "container": BoxHall}
"""Where programs run that are scripts for a shell."""
EVERY_HALL = {**HALLS, "module": ModuleHall, "fake": FakeHall}
"""Where programs run that do simple things."""


@pytest.fixture(params=HALLS)
def kind(request: pytest.FixtureRequest) -> type[Hall]:
    return HALLS[request.param]


@pytest.fixture
async def hall(tmp_path: Path, kind: type[Hall]) -> AsyncIterator[Hall]:
    async with serving(kind(tmp_path)) as hall:
        yield hall


def test_the_native_engine_has_the_shape_of_one(tmp_path: Path) -> None:
    engine: Engine = Hall(tmp_path).engine  # held by the type checker

    assert callable(engine.launch)


@pytest.fixture(params=EVERY_HALL)
async def any_hall(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyHall]:
    async with serving(EVERY_HALL[request.param](tmp_path)) as hall:
        yield hall


# Any engine -----------------------------------------------------------------------------------------------------------


async def test_every_engine_tells_exit_code_output_and_error(any_hall: AnyHall) -> None:
    good = await any_hall.end(await any_hall.act("warn note; output result"))
    bad = await any_hall.end(await any_hall.act("output result; warn oops; exit 3", epoch=2))
    plain_end = await any_hall.end(await any_hall.act("exit 0", epoch=3))

    assert plain(good) == Ended(exit_code=0, output=b"result", error="note")
    assert plain(bad) == Ended(exit_code=3, error="oops")
    assert plain(plain_end) == Ended(exit_code=0)


async def test_every_engine_gives_a_program_its_input(any_hall: AnyHall) -> None:
    ended = await any_hall.end(await any_hall.act("echo", input=b"\0\xff"))

    assert ended.output == b"\0\xff"


async def test_every_engine_keeps_what_all_attempts_write_as_one_stream(any_hall: AnyHall) -> None:
    for epoch in (1, 2):
        await any_hall.end(await any_hall.act(f"say one-{epoch}; warn aside-{epoch}", epoch=epoch))

    assert await any_hall.read() == b"one-1\none-2\n"
    assert await any_hall.read("stderr") == b"aside-1\naside-2\n"
    assert await any_hall.engine.read_log(KEY, "stdout", -4, 2) == (b"e-", 8)
    assert await any_hall.engine.read_log(KEY, "stdout", 12, 5) == (b"", 12)
    assert await any_hall.engine.read_log(InstanceKey("acme", "other"), "stdout", -4, 2) == (b"", 0)


@pytest.mark.parametrize("how", ["kill", "destroy"])
async def test_every_engine_ends_what_hangs(any_hall: AnyHall, how: Literal["kill", "destroy"]) -> None:
    attempt = await any_hall.act("say ready; hang")
    await any_hall.wait_written("ready")

    attempt.stop(how)
    attempt.stop(how)
    ended = await any_hall.end(attempt)
    attempt.stop("kill")

    assert ended.exit_code in (-signal.SIGKILL, None)


async def test_every_engine_finds_its_attempts_until_they_are_forgotten(any_hall: AnyHall) -> None:
    keys = [InstanceKey("acme", "a"), InstanceKey("acme", "b"), InstanceKey("other", "a")]
    for epoch, key in enumerate(keys):
        (await any_hall.act("say ready; hang" if epoch else "output result", key=key, epoch=epoch)).close()

    adopted = {attempt.key: attempt for attempt in await any_hall.another().engine.adopt()}
    ends = []
    for key in keys:
        if key != keys[0]:
            adopted[key].stop("kill")
        ends.append((adopted[key].epoch, await any_hall.end(adopted[key])))

    assert [epoch for epoch, _ in ends] == [0, 1, 2]
    assert [ended.exit_code for _, ended in ends] == [0, -signal.SIGKILL, -signal.SIGKILL]
    assert ends[0][1].output == b"result"
    assert await any_hall.engine.adopt() == []


async def test_no_engine_runs_two_attempts_of_an_instance_at_once(any_hall: AnyHall) -> None:
    attempt = await any_hall.act("hang")

    with pytest.raises(HostFailed, match="another attempt"):
        await any_hall.act("exit 0", epoch=2)

    attempt.stop("kill")
    await any_hall.end(attempt)


# Shells ---------------------------------------------------------------------------------------------------------------


async def test_exit_code_output_and_the_end_of_stderr_are_what_an_attempt_leaves(hall: Hall) -> None:
    good = await hall.run('printf result >"$RUNTARA_OUTPUT_FILE"; echo note >&2')
    bad = await hall.run('printf result >"$RUNTARA_OUTPUT_FILE"; echo oops >&2; exit 3')

    assert plain(good) == Ended(exit_code=0, output=b"result", error="note")
    assert plain(bad) == Ended(exit_code=3, error="oops")


async def test_only_what_this_attempt_wrote_is_its_error(hall: Hall) -> None:
    await hall.run("echo first >&2; exit 1")

    ended = await hall.run("echo second >&2; exit 1", epoch=2)

    assert ended.error == "second"


async def test_an_empty_output_is_not_a_missing_one(hall: Hall) -> None:
    assert (await hall.run(': >"$RUNTARA_OUTPUT_FILE"')).output == b""
    assert (await hall.run("true")).output is None


async def test_a_program_reads_its_input(hall: Hall) -> None:
    ended = await hall.run('cat "$RUNTARA_INPUT_FILE" >"$RUNTARA_OUTPUT_FILE"', input=b"\0\xff")

    assert ended.output == b"\0\xff"


async def test_a_signal_that_kills_the_program_is_told(hall: Hall) -> None:
    attempt = await hall.launch("echo pid=$$; exec sleep 1000")
    os.kill(await hall.pid_of("pid"), signal.SIGKILL)

    assert (await hall.end(attempt)).exit_code == -signal.SIGKILL


async def test_asked_to_end_a_program_has_its_grace(hall: Hall) -> None:
    attempt = await hall.launch("trap 'echo bye; exit 7' TERM; echo ready; sleep 1000 & wait")
    await hall.wait_written("ready")

    attempt.stop("ask")
    ended = await hall.end(attempt)

    assert ended.exit_code == 7
    assert await hall.read() == b"ready\nbye\n"


async def test_a_program_that_does_not_end_is_killed_when_its_grace_is_over(tmp_path: Path, kind: type[Hall]) -> None:
    async with serving(kind(tmp_path, kill_grace_ms=50)) as hall:
        attempt = await hall.launch("trap '' TERM; echo ready; while :; do :; done")
        await hall.wait_written("ready")

        attempt.stop("ask")

        assert (await hall.end(attempt)).exit_code == -signal.SIGKILL


async def test_a_program_that_floods_its_log_is_killed_when_its_grace_is_over(tmp_path: Path, kind: type[Hall]) -> None:
    async with serving(kind(tmp_path, kill_grace_ms=50, program_log_bytes=1 << 16)) as hall:
        attempt = await hall.launch("trap '' TERM; echo ready >&2; while :; do head -c 100000 /dev/zero; done")
        await hall.wait_written("ready", "stderr")

        attempt.stop("ask")

        assert (await hall.end(attempt)).exit_code == -signal.SIGKILL


async def test_a_program_that_was_halted_can_still_be_asked_to_end(hall: Hall) -> None:
    attempt = await hall.launch("trap 'exit 7' TERM; echo pid=$$; sleep 1000 & wait")
    os.kill(await hall.pid_of("pid"), signal.SIGSTOP)

    attempt.stop("ask")

    assert (await hall.end(attempt)).exit_code == 7


@pytest.mark.parametrize("how", ["kill", "destroy"])
async def test_a_killed_program_is_gone_with_all_its_descendants(hall: Hall, how: Literal["kill", "destroy"]) -> None:
    attempt = await hall.launch(
        "sleep 1000 & echo child=$!\n"
        "setsid sh -c 'sleep 1000 & echo orphan=$!; exec sleep 1000' & echo session=$!\n"
        "trap '' TERM; wait"
    )
    family = [await hall.pid_of(name) for name in ("child", "orphan", "session")]

    attempt.stop(how)
    await hall.end(attempt)

    assert not [pid for pid in family if is_alive(pid)]


async def test_a_program_that_has_only_just_begun_is_killed_too(hall: Hall) -> None:
    for epoch in range(1, 6):
        attempt = await hall.launch("exec sleep 1000", epoch=epoch)
        attempt.stop("kill")

        assert (await hall.end(attempt)).exit_code == -signal.SIGKILL


async def test_what_a_program_leaves_running_ends_with_it(hall: Hall) -> None:
    attempt = await hall.launch("(setsid sh -c 'echo orphan=$$; exec sleep 1000' &)\nexec sleep 1000")
    orphan = await hall.pid_of("orphan")
    os.kill(hall.shim().program or 0, signal.SIGKILL)

    await hall.end(attempt)

    assert not is_alive(orphan)


async def test_stopping_again_or_too_late_does_no_harm(hall: Hall) -> None:
    attempt = await hall.launch("exit 5")

    ended = await attempt.wait_ended()
    for how in ("ask", "kill", "destroy"):
        attempt.stop(how)
    attempt.close()
    attempt.stop("kill")
    await attempt.forget()

    assert ended.exit_code == 5


# What outlives the server ---------------------------------------------------------------------------------------------


async def test_a_running_attempt_is_adopted_and_its_end_seen(hall: Hall) -> None:
    (await hall.launch("trap 'exit 7' TERM; echo ready; sleep 1000 & wait", epoch=4)).close()
    await hall.wait_written("ready")

    (adopted,) = await hall.another().engine.adopt()
    adopted.stop("ask")
    ended = await hall.end(adopted)

    assert (adopted.key, adopted.epoch) == (KEY, 4)
    assert ended.exit_code == 7


async def test_an_attempt_that_ended_meanwhile_is_found_until_it_is_forgotten(hall: Hall) -> None:
    attempt = await hall.launch('printf result >"$RUNTARA_OUTPUT_FILE"')
    await attempt.wait_ended()
    attempt.close()
    later = hall.another().engine

    found = [await (await later.adopt())[0].wait_ended() for _ in range(2)]
    await (await later.adopt())[0].forget()

    assert [plain(ended) for ended in found] == [Ended(exit_code=0, output=b"result")] * 2
    assert await later.adopt() == []


async def test_several_attempts_are_found_each_under_its_own_instance(hall: Hall) -> None:
    keys = [InstanceKey("acme", "a"), InstanceKey("acme", "b"), InstanceKey("other", "a")]
    for epoch, key in enumerate(keys):
        (await hall.launch("exec sleep 1000", key=key, epoch=epoch)).close()

    adopted = await hall.engine.adopt()
    for attempt in adopted:
        attempt.stop("kill")
        await hall.end(attempt)

    assert {(attempt.key, attempt.epoch) for attempt in adopted} == {(key, epoch) for epoch, key in enumerate(keys)}


async def test_an_attempt_whose_end_nobody_saw_is_told_from_one_that_ended(hall: Hall) -> None:
    attempt = await hall.launch("(setsid sh -c 'echo orphan=$$; exec sleep 1000' &)\necho pid=$$; exec sleep 1000")
    orphan, program = await hall.pid_of("orphan"), await hall.pid_of("pid")

    os.kill(hall.shim().pid, signal.SIGKILL)
    ended = await hall.end(attempt)

    assert (ended.exit_code, ended.counts) == (None, True)
    assert not is_alive(orphan)
    assert not is_alive(program)


async def test_everything_killed_at_once_leaves_an_attempt_that_can_be_launched_again(hall: Hall) -> None:
    attempt = await hall.launch("echo pid=$$; exec sleep 1000")
    program, shim = await hall.pid_of("pid"), hall.shim().pid
    for pid in (program, shim):
        os.kill(pid, signal.SIGKILL)
    await wait_gone(program)
    attempt.close()

    (adopted,) = await hall.another().engine.adopt()
    lost = await hall.end(adopted)
    again = await hall.run("exit 9", epoch=2)

    assert lost.exit_code in (None, -signal.SIGKILL)
    assert again.exit_code == 9


async def test_a_number_that_was_given_to_somebody_else_is_never_signalled(hall: Hall) -> None:
    attempt = await hall.launch("exec sleep 1000")
    attempt.close()
    note, (marker,) = hall.shim(), read_markers(hall.home)
    kill_child(note.pid)
    await wait_gone(note.program or 0)
    stranger = await trio.lowlevel.open_process(["sleep", "1000"])
    (hall.home / RunFolder(hall.home, KEY).path / f"shim.{marker.launch_id}.json").write_text(
        f'{{"launch_id": "{marker.launch_id}", "pid": {stranger.pid}, "started": {note.started},'
        f' "program": {stranger.pid}, "program_started": {note.started}}}'
    )

    (adopted,) = await hall.engine.adopt()
    for how in ("ask", "kill", "destroy"):
        adopted.stop(how)
    ended = await hall.end(adopted)
    alive = is_alive(stranger.pid)
    stranger.kill()
    await stranger.wait()

    assert ended.exit_code is None
    assert alive


# What is written ------------------------------------------------------------------------------------------------------


async def test_what_all_attempts_write_is_one_stream(hall: Hall) -> None:
    for epoch in range(1, 4):
        await hall.run(f"echo attempt {epoch}; echo aside {epoch} >&2", epoch=epoch)

    assert await hall.read() == b"attempt 1\nattempt 2\nattempt 3\n"
    assert await hall.read("stderr") == b"aside 1\naside 2\naside 3\n"


@pytest.mark.parametrize(
    ("offset", "limit", "found"),
    [(0, 4, (b"0123", 0)), (4, 100, (b"456789", 4)), (-3, 100, (b"789", 7)), (-100, 2, (b"01", 0)), (10, 5, (b"", 10))],
)
async def test_a_stream_is_read_from_any_byte(hall: Hall, offset: int, limit: int, found: tuple[bytes, int]) -> None:
    await hall.run("printf 0123456789")

    assert await hall.engine.read_log(KEY, "stdout", offset, limit) == found


async def test_of_an_instance_that_was_never_launched_there_is_nothing_to_read(hall: Hall) -> None:
    assert await hall.engine.read_log(KEY, "stdout", 0, 10) == (b"", 0)
    assert await hall.engine.read_log(KEY, "stderr", -5, 10) == (b"", 0)


async def test_a_reader_waits_for_what_is_written_next(hall: Hall) -> None:
    gate = hall.gate("gate")
    attempt = await hall.launch('echo one; read x <"$RUNTARA_WORK_DIR/gate"; echo two')
    await hall.wait_written("one")
    quiet = hall.engine.watch_log(KEY)
    was_set = quiet.is_set()

    await trio.Path(gate).write_text("\n")
    await quiet.wait()
    await hall.end(attempt)

    assert not was_set
    assert await hall.read() == b"one\ntwo\n"


@pytest.mark.parametrize("megabytes", [pytest.param(64, id="64 MiB"), pytest.param(1024, marks=pytest.mark.slow)])
async def test_a_flood_is_capped_and_never_makes_the_program_wait_for_long(
    tmp_path: Path, kind: type[Hall], megabytes: int
) -> None:
    async with serving(kind(tmp_path, program_log_bytes=1 << 20)) as hall:
        with trio.fail_after(60):
            ended = await hall.run(f"head -c {megabytes << 20} /dev/zero; echo; echo the end")

        kept, (_, start) = await hall.read(), await hall.engine.read_log(KEY, "stdout", 0, 1)

        assert ended.exit_code == 0
        assert 1 << 19 <= len(kept) <= 1 << 20
        assert kept.endswith(b"\nthe end\n")
        assert start + len(kept) == megabytes * (1 << 20) + len("\nthe end\n")
