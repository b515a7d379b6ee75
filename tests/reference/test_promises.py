"""What the reference's documentation promises and its code did not keep: here each promise is a test, by name.

The numbers are those of the weakness behind each (w03: checkpoints are no heartbeats). Promises about hosts, which need
processes, are kept by tests elsewhere; those about what does not exist here say so.
"""

from typing import Any, Final

import pytest

from runtara.errors import Fenced, InstanceCancelled, InstanceNotFound, InvalidState
from runtara.lifecycle import TerminationReason
from runtara.messages import GetStatus, SendSignal, Sleep
from runtara.sdk import InstanceStatus, SignalType
from tests.doors.matrix import Way, ask
from tests.house.source import ROOT

HERE: Final = "tests/reference/test_promises.py::"

PROMISES: Final = {
    "a sleep stores its end, the host launches again, only the rest is slept": HERE + "test_w05_",
    "the program is launched at that time": "tests/actors/test_instance_watch.py::test_a_due_instance_is_claimed_for",
    "a checkpoint is a heartbeat": HERE + "test_w03_",
    "programs run as processes": "tests/test_host.py::test_a_program_that_is_killed_is_launched_again",
    "so many instances at a time and no more": "tests/actors/test_runner.py::test_no_more_programs_run_than",
    "a stop has a grace period": (
        "tests/actors/test_instance_signals.py::test_a_launched_program_that_does_not_heed_a_signal_is_stopped"
    ),
    "an execution has a timeout": "tests/actors/test_instance_watch.py::test_the_running_time_of_all_attempts_adds_up",
    "a cancel ends in cancelled, a pause in suspended, a resume in running": HERE + "test_w08_",
    "errors have codes of their own": "tests/doors/test_errors.py::test_an_error_that_an_instance_raises_arrives",
    "what is told of an instance is filled in": HERE + "test_w32_",
    "a restart recovers what runs": "tests/crash/host/test_adoption.py::test_a_running_program_is_adopted",
    "a launch is written down before it is done": (
        "tests/actors/test_runner.py::test_an_attempt_that_was_claimed_but_never_launched_is_launched_again"
    ),
    "tenants are apart": HERE + "test_w26_",
}
"""Promise to the beginning of the test that keeps it."""

NOT_HERE: Final = {
    "an image has a largest size": "there are no images yet: programs are files on the host",
    "containers run by a runner for them": "there is no such runner yet: programs are processes",
    "programs of WebAssembly": "there is no such runner yet",
    "images and capabilities are counted": "neither exists yet",
}
"""Promises about what does not exist here, with the reason."""


@pytest.mark.parametrize("where", PROMISES.values(), ids=PROMISES.keys())
def test_every_promise_is_kept_by_a_test_that_exists(where: str) -> None:
    file, _, name = where.partition("::")

    assert f"def {name}" in (ROOT / file).read_text(encoding="utf-8")


def test_no_promise_is_both_kept_and_not_here() -> None:
    assert not PROMISES.keys() & NOT_HERE.keys()


def test_w03_a_checkpoint_is_a_heartbeat(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            registered = await ask(sdk, GetStatus())
            await sdk.sleep(0.005, "nap")
            await sdk.checkpoint("step", b"")
            after = await ask(sdk, GetStatus())

            assert registered.heartbeat_at is not None
            assert after.heartbeat_at > registered.heartbeat_at

    way.hold(conversation)


def test_w05_a_sleep_stores_its_end_and_only_the_rest_is_slept(way: Way) -> None:
    async def conversation(system: Any) -> None:
        nap = Sleep(checkpoint_id="nap", state=b"state", duration_ms=600_000)
        async with system.sdk("i") as sdk:
            first = await ask(sdk, nap)
            await sdk.sleep(0.005, "a while")
        async with system.sdk("i") as sdk:
            again = await ask(sdk, nap)

            assert (again.found, again.state, again.wake_at) == (True, b"state", first.wake_at)
            assert again.remaining_ms < first.remaining_ms <= 600_000
            assert await sdk.sleep(600, "a while") is not None  # it is over, whatever is asked for now

    way.hold(conversation)


def test_w07_a_pause_that_was_acted_upon_is_over_and_clears_no_later_cancel(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await system.signal("i", SignalType.PAUSE)
            pause = await sdk.poll_signal()
            await system.signal("i", SignalType.CANCEL)
            await sdk.acknowledge_signal(pause)
        assert (await system.status("i")).status is InstanceStatus.CANCELLED

    way.hold(conversation)


def test_w08_a_cancel_ends_in_cancelled_a_pause_in_suspended_and_a_resume_in_running(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await system.signal("i", SignalType.PAUSE)
            assert await sdk.suspended() is InstanceStatus.SUSPENDED
        status = await system.status("i")
        assert (status.status, status.termination_reason) == (InstanceStatus.SUSPENDED, TerminationReason.PAUSED)
        await system.signal("i", SignalType.RESUME)
        async with system.sdk("i") as sdk:
            assert (await sdk.get_status()).status is InstanceStatus.RUNNING
            await system.signal("i", SignalType.CANCEL)
            assert await sdk.acknowledge(SignalType.CANCEL)
        status = await system.status("i")
        assert (status.status, status.termination_reason) == (InstanceStatus.CANCELLED, TerminationReason.CANCELLED)
        assert status.finished_at is not None

    way.hold(conversation)


@pytest.mark.parametrize("end", ["completed", "failed"])
def test_w09_what_has_ended_never_changes(way: Way, end: str) -> None:
    async def conversation(system: Any) -> None:
        sdk = system.sdk("i")
        await sdk.register()
        await (sdk.completed(b"output") if end == "completed" else sdk.failed("error"))
        ended = await system.status("i")
        for change in (
            lambda: system.sdk("i").register(),
            lambda: sdk.failed("late") if end == "completed" else sdk.completed(b"late"),
            sdk.suspended,
            lambda: sdk.checkpoint("late", b""),
            lambda: system.signal("i", SignalType.CANCEL),
        ):
            with pytest.raises(InvalidState):
                await change()
        sdk.close()
        assert await system.status("i") == ended

    way.hold(conversation)


def test_w15_a_zombie_may_write_no_more(way: Way) -> None:
    async def conversation(system: Any) -> None:
        zombie, heir = system.sdk("i"), system.sdk("i")
        await zombie.register()
        await heir.register()
        with pytest.raises(Fenced):
            await zombie.checkpoint("step", b"zombie")
        assert not (await heir.checkpoint("step", b"heir")).found
        for sdk in (zombie, heir):
            sdk.close()

    way.hold(conversation)


def test_w16_custom_signals_queue_up_and_a_replay_sees_them_again(way: Way) -> None:
    async def conversation(system: Any) -> None:
        for expected in ([b"0", b"1", b"2", None], [b"0", b"1", b"2", None]):
            async with system.sdk("i") as sdk:
                if sdk.epoch == 1:
                    for number in range(3):
                        command = SendSignal(kind="custom", name="go", signal_id=f"s{number}", payload=b"%d" % number)
                        await ask(sdk, command, "i")
                taken = [await sdk.poll_custom_signal("go") for _ in range(4)]
                assert [signal and signal.payload for signal in taken] == expected

    way.hold(conversation)


def test_w17_a_cancel_is_seen_while_a_pause_waits(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await system.signal("i", SignalType.PAUSE)
            await sdk.check_cancelled()
            await system.signal("i", SignalType.CANCEL)
            with pytest.raises(InstanceCancelled):
                await sdk.check_cancelled()

    way.hold(conversation)


def test_w26_another_tenants_instance_looks_like_one_that_does_not_exist(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await sdk.checkpoint("step", b"secret")
            async with system.sdk("stranger", f"{sdk.tenant_id}-other") as other:
                assert await other.get_instance_status("i") == await other.get_instance_status("none")
                texts = []
                for who in ("i", "none"):
                    with pytest.raises(InstanceNotFound) as raised:
                        await other.send_signal(who, SignalType.CANCEL)
                    texts.append(str(raised.value).replace(repr(who), "…"))
                assert texts[0] == texts[1]
            await sdk.check_cancelled()

    way.hold(conversation)


def test_w32_everything_that_a_status_tells_is_filled_in(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await sdk.checkpoint("step", b"")
            await sdk.completed(b"output")
            info = await ask(sdk, GetStatus())

            assert (info.instance_id, info.epoch, info.checkpoint_id, info.checkpoint_count) == ("i", 1, "step", 1)
            assert info.created_at <= info.started_at <= info.heartbeat_at <= info.finished_at
            assert (info.output, info.termination_reason) == (b"output", TerminationReason.COMPLETED)
            assert (await sdk.health()).uptime_ms >= 0

    way.hold(conversation)
