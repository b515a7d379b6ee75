import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from runtara.actors.instance import Launch
from runtara.actors.instances import Effected
from runtara.actors.places import AwaitEmpty, KillAttempts, ListAttempts, ListPlaces
from runtara.errors import Busy, InstanceNotFound, InvalidInput, StoreUnavailable
from runtara.lifecycle import Status, TerminationReason
from runtara.messages import (
    Call,
    CompleteInstance,
    DeclareSilent,
    GetStatus,
    ListEvents,
    ReadLog,
    RegisterInstance,
    SendSignal,
    Sleep,
    StartInstance,
)
from runtara.system import PROGRAMS, SCHEDULER
from tests.actors.runners.hall import is_alive, kill_child, wait_gone
from tests.actors.shop import Shop, open_shop
from tests.actors.stage import WatchedStore, key_of

HANG = "echo pid=$$; exec sleep 1000"
DEAF = "trap '' TERM; echo pid=$$; while :; do sleep 1000; done"
REGISTER = RegisterInstance(attempt_id="a")


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path) as shop:
        yield shop


# How a program ends ---------------------------------------------------------------------------------------------------


async def test_a_program_without_sdk_completes_by_exit_code_and_output_file(shop: Shop) -> None:
    await shop.start('tr a-z A-Z <"$RUNTARA_INPUT_FILE" >"$RUNTARA_OUTPUT_FILE"', input=b"word")

    info = await shop.wait_end()
    await shop.wait_empty()

    assert (info.status, info.output, info.exit_code) == (Status.COMPLETED, b"WORD", 0)
    assert shop.stage.facts(PROGRAMS) == {"launching": 0, "running": 0, "reporting": 0, "followers": 0}
    assert shop.stage.facts(SCHEDULER)["places_in_use"] == 0


async def test_a_program_that_fails_before_it_registers_has_failed(shop: Shop) -> None:
    await shop.start("echo oops >&2; exit 3")

    info = await shop.wait_end()

    assert (info.status, info.termination_reason, info.exit_code, info.error) == (
        Status.FAILED,
        TerminationReason.APPLICATION_ERROR,
        3,
        "oops",
    )
    assert info.epoch == 1


@pytest.mark.parametrize(("mode", "code", "error"), [(0o755, 127, "no program"), (0o644, 126, "cannot be executed")])
async def test_a_program_that_cannot_be_launched_has_failed_and_says_why(
    shop: Shop, mode: int, code: int, error: str
) -> None:
    shop.hall.write("true", "plain", mode=mode)
    program = "plain" if code == 126 else "missing"
    await shop.ask("one", StartInstance(program=program))

    info = await shop.wait_end()

    assert (info.status, info.exit_code) == (Status.FAILED, code)
    assert error in (info.error or "")


async def test_environment_and_credential_reach_the_program(shop: Shop) -> None:
    await shop.start('echo "$MINE $RUNTARA_TOKEN $RUNTARA_EPOCH"', env={"MINE": "yes"})

    await shop.wait_end()

    assert (await shop.read_log()).data == b"yes one-1 1\n"


async def test_a_program_that_is_killed_is_launched_again(shop: Shop) -> None:
    await shop.start("[ -e again ] && exit 0; touch again; echo pid=$$; exec sleep 1000")
    os.kill(await shop.wait_pid(), signal.SIGKILL)

    info = await shop.wait_end()
    page = await shop.ask("one", ListEvents(event_type="crashed"))

    assert (info.status, info.epoch) == (Status.COMPLETED, 3)
    assert b"killed by SIGKILL" in page.events[0].payload


async def test_a_program_that_fails_after_it_has_registered_is_launched_again(shop: Shop) -> None:
    await shop.start("[ -e again ] && exit 0; touch again; trap 'exit 3' TERM; echo pid=$$; sleep 1000 & wait")
    pid = await shop.wait_pid()
    await shop.ask("one", REGISTER, 1)
    os.killpg(pid, signal.SIGTERM)

    info = await shop.wait_end()

    assert (info.status, info.epoch) == (Status.COMPLETED, 3)


async def test_a_program_that_is_always_killed_is_given_up(shop: Shop) -> None:
    await shop.start("kill -9 $$")

    info = await shop.wait_end()

    assert info.termination_reason is TerminationReason.RECOVERY_BUDGET_SPENT
    assert "SIGKILL" in (info.error or "")


async def test_a_reported_end_counts_more_than_the_exit_code(shop: Shop) -> None:
    await shop.start(HANG)
    pid = await shop.wait_pid()
    await shop.ask("one", REGISTER, 1)
    await shop.ask("one", CompleteInstance(output=b"told"), 1)
    os.kill(pid, signal.SIGKILL)
    await shop.wait_empty()

    info = await shop.status()

    assert (info.status, info.output, info.epoch) == (Status.COMPLETED, b"told", 1)


# How a program is stopped ---------------------------------------------------------------------------------------------


async def test_a_program_that_stays_after_its_end_is_asked_to_leave(tmp_path: Path) -> None:
    async with open_shop(tmp_path, cancel_grace_ms=50) as shop:
        await shop.start("trap 'echo asked; exit 0' TERM; echo pid=$$; sleep 1000 & wait")
        await shop.wait_pid()
        await shop.ask("one", REGISTER, 1)
        await shop.ask("one", CompleteInstance(), 1)
        await shop.wait_empty()

        assert (await shop.read_log()).data.endswith(b"asked\n")


async def test_a_cancelled_program_that_does_not_use_the_sdk_is_stopped_at_once(shop: Shop) -> None:
    await shop.start(HANG)
    pid = await shop.wait_pid()

    accepted = await shop.ask("one", SendSignal(kind="cancel", signal_id="c"))
    await shop.wait_empty()

    assert accepted.status is Status.CANCELLED
    assert not is_alive(pid)


async def test_a_cancel_that_is_ignored_is_enforced_and_the_program_killed(tmp_path: Path) -> None:
    async with open_shop(tmp_path, kill_grace_ms=50) as shop:
        await shop.start(DEAF)
        pid = await shop.wait_pid()
        await shop.ask("one", REGISTER, 1)

        await shop.ask("one", SendSignal(kind="cancel", signal_id="c", grace_ms=50))
        info = await shop.wait_end()
        await shop.wait_empty()

    assert info.status is Status.CANCELLED
    assert not is_alive(pid)


async def test_a_program_that_runs_for_too_long_is_stopped(shop: Shop) -> None:
    await shop.start(HANG, timeout_ms=60_000)
    pid = await shop.wait_pid()

    shop.stage.clock.jump_ms(60_000)
    info = await shop.wait_end()
    await shop.wait_empty()

    assert (info.status, info.termination_reason) == (Status.FAILED, TerminationReason.TIMEOUT)
    assert not is_alive(pid)


async def test_a_silent_program_is_killed_before_it_is_launched_again(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.start(f"[ -e again ] && {{ echo pid=$$; exit 0; }}; touch again; {DEAF}")
        first = await shop.wait_pid()
        await shop.ask("one", REGISTER, 1)

        await shop.stage.system.cell("root/instances/region", key_of("one")).ask(
            Call(key_of("one"), DeclareSilent(epoch=1))
        )
        await shop.wait_pid(count=2)
        was_alive = is_alive(first)
        info = await shop.wait_end()

    assert not was_alive
    assert (info.status, info.epoch) == (Status.COMPLETED, 3)


async def test_a_program_that_lingers_when_its_next_attempt_is_due_is_killed_first(shop: Shop) -> None:
    await shop.start(f"[ -e again ] && {{ echo pid=$$; exit 0; }}; touch again; {DEAF}")
    first = await shop.wait_pid()
    await shop.ask("one", REGISTER, 1)

    await shop.ask("one", Sleep(checkpoint_id="nap", duration_ms=50, park=True), 1)
    await shop.wait_pid(count=2)
    was_alive = is_alive(first)
    info = await shop.wait_end()

    assert not was_alive
    assert info.status is Status.COMPLETED


async def test_a_stop_that_comes_before_the_launch_takes_it_back(tmp_path: Path) -> None:
    store, asked = WatchedStore(), trio.Event()

    def refuse_env(method: str) -> None:
        if method == "read_env" and store.commits:
            asked.set()
            raise StoreUnavailable("the store is away: try again")

    async with open_shop(tmp_path, store) as shop:
        store.before_read = refuse_env
        await shop.start(HANG)
        await asked.wait()
        await shop.ask("one", SendSignal(kind="cancel", signal_id="c"))
        await shop.wait_empty()
        store.before_read = lambda method: None

        assert (await shop.status()).status is Status.CANCELLED
        assert await shop.hall.read(key=key_of("one")) == b""
        assert shop.stage.facts(SCHEDULER)["places_in_use"] == 0


async def test_a_launch_that_is_told_again_is_one_launch(shop: Shop) -> None:
    await shop.start("trap 'exit 0' TERM; echo pid=$$; sleep 1000 & wait")
    pid = await shop.wait_pid()

    for epoch in (1, 0):
        await shop.runner.tell(Effected(key_of("one"), Launch("one.sh", epoch)))
    listed = await shop.runner.ask(ListAttempts())
    os.kill(pid, signal.SIGTERM)
    info = await shop.wait_end()

    assert listed == ((key_of("one"), 1),)
    assert (info.status, info.epoch) == (Status.COMPLETED, 1)


# What outlives the runner ---------------------------------------------------------------------------------------------


async def test_a_program_goes_on_while_the_system_is_away_and_its_end_is_seen(tmp_path: Path) -> None:
    store = WatchedStore()
    async with open_shop(tmp_path, store, leave_running=True) as shop:
        await shop.start("trap 'exit 0' TERM; echo pid=$$; sleep 1000 & wait")
        pid = await shop.wait_pid()
    alive = is_alive(pid)

    async with open_shop(tmp_path, store) as shop:
        before = (await shop.status(), await shop.runner.ask(ListAttempts()), await shop.runner.ask(ListPlaces()))
        os.kill(pid, signal.SIGTERM)
        info = await shop.wait_end()

    assert alive
    assert (before[0].status, before[1:]) == (
        Status.RUNNING,
        (((key_of("one"), 1),), {key_of("one"): before[0].program}),
    )
    assert (info.status, info.epoch) == (Status.COMPLETED, 1)


@pytest.mark.parametrize(
    ("code", "status", "epoch"), [(0, Status.COMPLETED, 1), (3, Status.COMPLETED, 3)], ids=["well", "badly"]
)
async def test_an_end_while_the_system_was_away_is_reported(
    tmp_path: Path, code: int, status: Status, epoch: int
) -> None:
    store = WatchedStore()
    async with open_shop(tmp_path, store, leave_running=True) as shop:
        await shop.start(
            f"[ -e again ] && exit 0; touch again; trap 'exit {code}' TERM; echo pid=$$; sleep 1000 & wait"
        )
        pid, shim = await shop.wait_pid(), shop.hall.shim(key_of("one")).pid
    os.kill(pid, signal.SIGTERM)
    await wait_gone(shim)

    async with open_shop(tmp_path, store) as shop:
        info = await shop.wait_end()

    assert (info.status, info.epoch) == (status, epoch)


async def test_a_program_that_was_killed_with_its_shim_while_the_system_was_away_is_launched_again(
    tmp_path: Path,
) -> None:
    store = WatchedStore()
    async with open_shop(tmp_path, store, leave_running=True) as shop:
        await shop.start("[ -e again ] && exit 0; touch again; echo pid=$$; exec sleep 1000")
        pid, shim = await shop.wait_pid(), shop.hall.shim(key_of("one")).pid
    kill_child(shim)
    await wait_gone(pid)

    async with open_shop(tmp_path, store) as shop:
        info = await shop.wait_end()
        page = await shop.ask("one", ListEvents(event_type="crashed"))

    assert (info.status, info.epoch) == (Status.COMPLETED, 3)
    assert b"nobody saw" in page.events[0].payload


async def test_an_attempt_that_was_claimed_but_never_launched_is_launched_again_and_counts_for_nothing(
    tmp_path: Path,
) -> None:
    store, asked = WatchedStore(), trio.Event()

    def refuse_env(method: str) -> None:
        if method == "read_env" and store.commits:
            asked.set()
            raise StoreUnavailable("the store is away: try again")

    async with open_shop(tmp_path, store) as shop:
        store.before_read = refuse_env
        await shop.start("exit 0")
        await asked.wait()
    store.before_read = lambda method: None

    async with open_shop(tmp_path, store) as shop:
        info = await shop.wait_end()

    assert (info.status, info.epoch, info.losses) == (Status.COMPLETED, 3, 0)


async def test_a_program_whose_instance_has_ended_meanwhile_is_stopped(tmp_path: Path) -> None:
    store = WatchedStore()
    async with open_shop(tmp_path, store, leave_running=True) as shop:
        await shop.start(HANG)
        pid = await shop.wait_pid()
        await shop.ask("one", REGISTER, 1)
        await shop.ask("one", CompleteInstance(output=b"x"), 1)

    async with open_shop(tmp_path, store, cancel_grace_ms=10) as shop:
        await shop.wait_empty()
        info = await shop.status()

    assert not is_alive(pid)
    assert info.output == b"x"


async def test_all_programs_are_found_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtara.actors.runner._PAGE", 1)
    store = WatchedStore()
    async with open_shop(tmp_path, store, leave_running=True) as shop:
        for name in ("one", "two"):
            await shop.start("trap 'exit 0' TERM; echo pid=$$; sleep 1000 & wait", name)
        pids = [await shop.wait_pid(name) for name in ("one", "two")]

    async with open_shop(tmp_path, store) as shop:
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        ends = [await shop.wait_end(name) for name in ("one", "two")]

    assert [(info.status, info.epoch) for info in ends] == [(Status.COMPLETED, 1)] * 2


async def test_a_program_that_the_store_knows_nothing_of_is_stopped_and_forgotten(tmp_path: Path) -> None:
    async with open_shop(tmp_path, leave_running=True) as shop:
        await shop.start(HANG)
        pid = await shop.wait_pid()

    async with open_shop(tmp_path, WatchedStore(), cancel_grace_ms=10) as shop:
        await shop.wait_empty()
        letters = [letter.reason for letter in shop.stage.system.dead_letters.recent]
        found = await shop.hall.engine.adopt()

    assert not is_alive(pid)
    assert letters == ["instance-not-found"]
    assert found == []


async def test_a_timeout_holds_over_a_restart(tmp_path: Path) -> None:
    store = WatchedStore()
    async with open_shop(tmp_path, store, leave_running=True) as shop:
        await shop.start(HANG, timeout_ms=60_000)
        await shop.wait_pid()

    async with open_shop(tmp_path, store, ahead_ms=60_000) as shop:
        info = await shop.wait_end()

    assert info.termination_reason is TerminationReason.TIMEOUT
    assert info.epoch == 1


async def test_a_cancel_is_enforced_after_a_restart(tmp_path: Path) -> None:
    store = WatchedStore()
    async with open_shop(tmp_path, store, leave_running=True) as shop:
        await shop.start(HANG)
        await shop.wait_pid()
        await shop.ask("one", REGISTER, 1)
        await shop.ask("one", SendSignal(kind="cancel", signal_id="c"))

    async with open_shop(tmp_path, store, cancel_grace_ms=50) as shop:
        info = await shop.wait_end()

    assert info.status is Status.CANCELLED


async def test_programs_survive_a_crash_of_the_runner(shop: Shop) -> None:
    await shop.start("trap 'exit 0' TERM; echo pid=$$; sleep 1000 & wait")
    pid = await shop.wait_pid()

    await shop.stage.crash(PROGRAMS)
    await shop.runner.ask(ListAttempts())
    facts = shop.stage.facts(PROGRAMS)
    os.kill(pid, signal.SIGTERM)
    info = await shop.wait_end()

    assert facts["running"] == 1
    assert (info.status, info.epoch) == (Status.COMPLETED, 1)


# When something is away -----------------------------------------------------------------------------------------------


async def test_an_end_is_reported_until_it_is_stored(tmp_path: Path) -> None:
    store, refused = WatchedStore(), trio.Event()

    def refuse(saves: object) -> None:
        refused.set()
        raise StoreUnavailable("the store is away: try again")

    async with open_shop(tmp_path, store) as shop:
        await shop.start("trap 'exit 0' TERM; echo pid=$$; sleep 1000 & wait")
        pid = await shop.wait_pid()
        store.before_commit = refuse
        os.kill(pid, signal.SIGTERM)
        await refused.wait()
        await trio.testing.wait_all_tasks_blocked()  # the place is given back in the turn that has reported
        while_away = shop.stage.facts(SCHEDULER)["places_in_use"]
        store.before_commit = lambda saves: None
        info = await shop.wait_end()

    assert while_away == 0
    assert info.status is Status.COMPLETED


async def test_a_host_that_cannot_launch_tries_again_and_blames_nobody(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        shop.hall.home.parent.mkdir()
        shop.hall.home.write_text("in the way")
        await shop.start("exit 0")
        await shop.wait(lambda info: info.epoch > 1)
        shop.hall.home.unlink()

        info = await shop.wait_end()
        page = await shop.ask("one", ListEvents(event_type="crashed"))

    assert (info.status, info.losses) == (Status.COMPLETED, 0)
    assert b"could not launch" in page.events[0].payload


# Places and drain -----------------------------------------------------------------------------------------------------


async def test_no_more_programs_run_than_there_are_places(tmp_path: Path) -> None:
    async with open_shop(tmp_path, places=2) as shop:
        (tmp_path / "running").mkdir()
        count = f"cd {tmp_path}/running; touch $$; ls | wc -l >>../counts; sleep 0.05; rm $$"
        for number in range(6):
            await shop.start(count, f"i{number}")
        ends = [await shop.wait_end(f"i{number}") for number in range(6)]
        counts = (tmp_path / "counts").read_text().split()

    assert {info.status for info in ends} == {Status.COMPLETED}
    assert len(counts) == 6
    assert max(map(int, counts)) <= 2


async def test_killing_all_attempts_blames_none_of_them(tmp_path: Path) -> None:
    store = WatchedStore()
    async with open_shop(tmp_path, store) as shop:
        pids = []
        for name in ("one", "two"):
            await shop.start(f"[ -e again ] && exit 0; touch again; {DEAF}", name)
            pids.append(await shop.wait_pid(name))
        listed = await shop.runner.ask(ListAttempts())
        await shop.runner.ask(KillAttempts())
        ends = [await shop.wait_end(name) for name in ("one", "two")]
        await shop.runner.ask(AwaitEmpty())

    assert set(listed) == {(key_of("one"), 1), (key_of("two"), 1)}
    assert not [pid for pid in pids if is_alive(pid)]
    assert {(info.status, info.losses) for info in ends} == {(Status.COMPLETED, 0)}


@pytest.mark.slow
async def test_a_program_whose_shim_does_not_answer_is_killed_without_it(shop: Shop) -> None:
    await shop.start("[ -e again ] && exit 0; touch again; echo pid=$$; exec sleep 1000")
    pid = await shop.wait_pid()
    os.kill(shop.hall.shim(key_of("one")).pid, signal.SIGSTOP)

    await shop.runner.ask(KillAttempts())
    info = await shop.wait_end()

    assert not is_alive(pid)
    assert (info.status, info.losses) == (Status.COMPLETED, 0)


async def test_nothing_to_wait_for_is_answered_at_once(shop: Shop) -> None:
    await shop.runner.ask(AwaitEmpty())

    assert await shop.runner.ask(ListPlaces()) == {}


# Logs -----------------------------------------------------------------------------------------------------------------


async def test_a_log_is_read_in_pieces_to_its_end(shop: Shop) -> None:
    await shop.start("printf 0123456789; printf aside >&2")
    await shop.wait_end()
    await shop.wait_empty()

    first, second = await shop.read_log(limit=6), await shop.read_log(offset=6)
    end, aside = await shop.read_log(offset=10), await shop.read_log(stream="stderr", offset=-3)

    assert (first.data, first.offset, first.ended) == (b"012345", 0, False)
    assert (second.data, second.offset) == (b"6789", 6)
    assert (end.data, end.offset, end.ended) == (b"", 10, True)
    assert (aside.data, aside.offset) == (b"ide", 2)


async def test_a_reader_waits_for_more_and_learns_that_there_is_none(shop: Shop) -> None:
    os.mkfifo(gate := shop.hall.folder / "gate")
    await shop.start(f"echo one; read x <{gate}; echo two")
    await shop.wait_written("one")
    found: list[Any] = []

    async with trio.open_nursery() as nursery:

        async def follow() -> None:
            found.append(await shop.read_log(offset=4, wait_ms=20_000))
            found.append(await shop.read_log(offset=8, wait_ms=20_000))

        nursery.start_soon(follow)
        await trio.Path(gate).write_text("\n")

    assert [(log.data, log.ended) for log in found] == [(b"two\n", False), (b"", True)]


async def test_a_reader_gets_nothing_when_its_time_is_over_and_the_program_is_quiet(shop: Shop) -> None:
    await shop.start(HANG)
    pid = await shop.wait_pid()
    length = len(f"pid={pid}\n")

    waited = await shop.read_log(offset=length, wait_ms=20)
    at_once = await shop.read_log(offset=length)
    late = await shop.runner.ask(Call(key_of("one"), ReadLog(offset=length, wait_ms=60_000)), timeout=1.2)

    assert [(log.data, log.offset, log.ended) for log in (waited, at_once, late)] == [(b"", length, False)] * 3


async def test_an_instance_that_waits_for_its_launch_has_an_empty_log_that_goes_on(tmp_path: Path) -> None:
    async with open_shop(tmp_path, places=1) as shop:
        await shop.start(HANG)
        await shop.wait_pid()
        await shop.start("true", "two")

        log = await shop.read_log("two")

    assert (log.data, log.ended) == (b"", False)


async def test_the_log_of_an_unknown_instance_is_not_found(shop: Shop) -> None:
    with pytest.raises(InstanceNotFound):
        await shop.read_log("unknown")

    assert not shop.hall.home.exists() or not list(shop.hall.home.glob("?" * 32))


async def test_nothing_but_logs_is_read_from_the_runner(shop: Shop) -> None:
    with pytest.raises(InvalidInput, match="ask the instance"):
        await shop.runner.ask(Call(key_of("one"), GetStatus()))


async def test_more_readers_than_the_bound_are_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtara.actors.runner.FOLLOWERS_MAX", 1)
    await shop.start(HANG)
    pid = await shop.wait_pid()
    length = len(f"pid={pid}\n")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: shop.read_log(offset=length, wait_ms=20_000))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Busy, match="readers of logs"):
            await shop.read_log()
        os.kill(pid, signal.SIGKILL)


def test_the_runner_can_be_imported_where_there_is_no_linux() -> None:
    code = "import sys; sys.modules['fcntl'] = sys.modules['resource'] = None; import runtara.actors.runner"

    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0
