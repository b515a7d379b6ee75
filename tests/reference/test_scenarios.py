"""The reference's own acceptance scenarios, by number, on every way; where we differ, the test says how.

S5 to S14 come from the tests of its core, S26 to S32 from those of its later versions. Those that are not here have
their place in `ELSEWHERE`.
"""

import gc
import json
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from runtara.clock import SystemClock
from runtara.errors import InstanceCancelled, InstanceNotFound, InvalidInput, InvalidState, NotFound
from runtara.host import open_host
from runtara.ids import InstanceKey, new_id
from runtara.lifecycle import Status
from runtara.messages import ListCheckpoints, ListInstances, ListRetries, RunChore, SendSignal
from runtara.sdk import InstanceStatus, RetryLater, SignalType
from runtara.settings import Settings
from runtara.system import store_of
from tests.doors.matrix import Way, ask, events_of
from tests.house.source import ROOT
from tests.store.samples import put, save

ELSEWHERE: Final = {
    "S27, artifacts": "a program that cannot be found: tests/actors/test_runner.py",
    "S28, drain": "a wait over the end of a host: tests/crash/host/test_drain.py",
}
"""Parts of scenarios that are about something else than a conversation with a runtime."""

SCENARIOS: Final = [*range(5, 15), *range(26, 33)]


def test_s05_an_instance_lives_from_registration_to_status(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            assert (await sdk.get_status()).status is InstanceStatus.RUNNING
            assert not (await sdk.checkpoint("step", b"state")).found
            assert await sdk.get_checkpoint("step") == b"state"
            status = await sdk.get_status()
            assert (status.status, status.checkpoint_id) == (InstanceStatus.RUNNING, "step")

    way.hold(conversation)


def test_s06_the_second_save_is_ignored_and_the_first_is_returned(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await sdk.checkpoint("step", b"first")
            second = await sdk.checkpoint("step", b"second")
            assert (second.found, second.existing_state) == (True, b"first")
            assert await sdk.get_checkpoint("step") == b"first"

    way.hold(conversation)


def test_s07_large_and_binary_checkpoints_of_two_instances_survive_a_new_connection(way: Way) -> None:
    states = {"binary": bytes(range(256)), "large": bytes(range(256)) * 1024, "empty": b""}

    async def conversation(system: Any) -> None:
        for who in ("one", "two"):
            async with system.sdk(who) as sdk:
                for name, state in states.items():
                    assert not (await sdk.checkpoint(name, who.encode() + state if state else state)).found
                with pytest.raises(InvalidInput, match="checkpoint id"):  # the reference takes an empty id
                    await sdk.checkpoint("", b"")
        for who in ("one", "two"):
            async with system.sdk(who) as sdk:
                for name, state in states.items():
                    assert await sdk.get_checkpoint(name) == (who.encode() + state if state else state)

    way.hold(conversation)


def test_s08_a_registration_needs_ids_and_takes_only_a_checkpoint_that_exists(way: Way) -> None:
    async def conversation(system: Any) -> None:
        for ids in (("",), ("i", "")):
            with pytest.raises(InvalidInput):
                await system.sdk(*ids).register()
        with pytest.raises(NotFound, match="'unknown'"):
            await system.sdk("i").register("unknown")
        async with system.sdk("i") as sdk:
            await sdk.checkpoint("known", b"")
        assert (await system.sdk("i").register("known")).resumed

    way.hold(conversation)


def test_s09_a_signal_is_sent_polled_acknowledged_and_gone_and_the_instance_cancelled(way: Way) -> None:
    async def conversation(system: Any) -> None:
        sdk = system.sdk("i")
        await sdk.register()
        await system.signal("i", SignalType.CANCEL, b"because")
        signal = await sdk.poll_signal()
        assert (signal.signal_type, signal.payload) == (SignalType.CANCEL, b"because")
        assert await sdk.acknowledge_signal(signal) is InstanceStatus.CANCELLED
        assert await sdk.acknowledge_signal(signal) is InstanceStatus.CANCELLED
        status = await system.status("i")
        assert status.status is InstanceStatus.CANCELLED
        assert status.finished_at is not None
        with pytest.raises(InstanceCancelled):
            await system.sdk("i").register()

    way.hold(conversation)


def test_s10_a_signal_waits_for_its_reader_and_the_finished_and_unknown_are_sent_none(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await system.signal("i", SignalType.PAUSE)  # with an empty payload
            for _ in range(2):
                assert (await sdk.poll_signal()).signal_type is SignalType.PAUSE
            assert (await sdk.get_status()).status is InstanceStatus.RUNNING
            await system.signal("i", SignalType.CANCEL)  # it goes first, and does not replace the pause
            assert (await sdk.poll_signal()).signal_type is SignalType.CANCEL
            with pytest.raises(InstanceCancelled):
                await sdk.check_cancelled()
        async with system.sdk("resting") as sdk:
            await sdk.suspended()
        assert await system.signal("resting", SignalType.CANCEL) is InstanceStatus.CANCELLED
        async with system.sdk("done") as sdk:
            await sdk.completed()
        for who, refusal in (("done", InvalidState), ("resting", InvalidState), ("unknown", InstanceNotFound)):
            with pytest.raises(refusal):
                await system.signal(who, SignalType.PAUSE)

    way.hold(conversation)


def test_s11_a_cancel_is_delivered_in_the_answer_to_a_checkpoint(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await system.signal("i", SignalType.CANCEL)
            result = await sdk.checkpoint("step", b"state")
            assert (result.found, result.should_cancel, result.should_exit) == (False, True, True)
            assert (await sdk.checkpoint("step", b"")).should_cancel

    way.hold(conversation)


def test_s12_an_instance_is_paused_and_resumed(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await system.signal("i", SignalType.PAUSE)
            assert (await sdk.checkpoint("step", b"")).should_pause
            assert await sdk.suspended() is InstanceStatus.SUSPENDED
        await system.signal("i", SignalType.RESUME)
        async with system.sdk("i") as sdk:
            assert not (await sdk.checkpoint("next", b"")).should_pause  # the reference pauses it once more
            assert await sdk.completed(b"done") is InstanceStatus.COMPLETED

    way.hold(conversation)


def test_s13_custom_events_of_many_kinds_are_kept_and_change_nothing(way: Way) -> None:
    payload = json.dumps({"step": "größe", "numbers": [1, 2.5, None]}).encode()

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            before = await sdk.get_status()
            for number in range(5):
                await sdk.custom_event(f"kind-{number}", payload)
            assert await sdk.get_status() == before
            assert len(await events_of(sdk, event_type="custom")) == 5
            (event,) = await events_of(sdk, event_type="custom", subtype="kind-3")
            assert event.payload == payload

    way.hold(conversation)


def test_s14_sleeps_of_all_lengths_leave_the_instance_running(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            for number, seconds in enumerate((0, 0.001, 0.02)):
                began = sdk.now_ms()
                await sdk.sleep(seconds, f"nap-{number}", b"state")
                assert sdk.now_ms() - began >= int(seconds * 1000)
            status = await sdk.get_status()
            assert (status.status, status.checkpoint_count) == (InstanceStatus.RUNNING, 3)

    way.hold(conversation)


def test_s26_a_resumed_run_never_shows_a_negative_duration(way: Way) -> None:
    async def conversation(system: Any) -> None:
        first = None
        for _ in range(3):
            async with system.sdk("i") as sdk:
                status = await sdk.get_status()
                first = first or status.started_at
                assert (status.started_at, status.finished_at) == (first, None)
                await sdk.suspended()
            assert (await system.status("i")).finished_at is None
            await system.signal("i", SignalType.RESUME)
        async with system.sdk("i") as sdk:
            await sdk.completed()
        status = await system.status("i")
        assert status.started_at == first
        assert status.finished_at is not None
        assert status.finished_at >= status.started_at

    way.hold(conversation)


def test_s27_a_trigger_that_is_replayed_with_the_same_id_is_one_instance(way: Way) -> None:
    async def conversation(system: Any) -> list[str]:
        processed = []
        for _ in range(3):
            if (await system.status("order-7")).is_finished:
                continue
            async with system.sdk("order-7") as sdk:
                if not (await sdk.checkpoint("processed", b"")).found:
                    processed.append("order-7")
                if len(processed) == 1 and sdk.epoch == 2:
                    await sdk.completed()
        with pytest.raises(InvalidState):
            await system.sdk("order-7").register()
        return processed

    assert way.hold(conversation) == ["order-7"]


def test_s28_a_signal_that_was_waited_for_is_not_waited_for_again_and_its_deadline_stays(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await system.custom_signal("i", "go", b"now")
            assert (await sdk.wait_for_signal("go", 600)).payload == b"now"
            assert await sdk.wait_for_signal("never", 0.01) is None
        async with system.sdk("i") as sdk:
            await system.custom_signal("i", "never", b"too late")
            assert (await sdk.wait_for_signal("go", 600)).payload == b"now"
            assert await sdk.wait_for_signal("never", 600) is None

    way.hold(conversation)


@pytest.mark.slow
def test_s29_a_workflow_of_a_hundred_steps_keeps_their_names_in_memory_but_not_their_states(way: Way) -> None:
    steps, size = 100, 32 * 1024

    async def conversation(system: Any) -> int:
        async with system.sdk("i") as sdk:
            await sdk.checkpoint("first", bytes(size))  # so that everything has been used once
            gc.collect()
            tracemalloc.start()
            try:
                for number in range(steps):
                    await sdk.checkpoint(f"step {number}", number.to_bytes(2) * (size // 2))
                gc.collect()
                return tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()

    kept = way.hold(conversation)

    assert way.kind.store == "memory" or kept < steps * size / 2  # the store in memory has them, of course


def test_s30_a_signal_that_is_delivered_twice_is_taken_once(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            signal = SendSignal(kind="custom", name="go", signal_id=new_id(), payload=b"1")
            for _ in range(2):
                await ask(sdk, signal, "i")
            assert (await sdk.poll_custom_signal("go")).payload == b"1"
            await ask(sdk, signal, "i")
            assert await sdk.poll_custom_signal("go") is None

    way.hold(conversation)


def test_s31_a_dependency_says_when_to_come_back_and_other_retries_stay_as_they_are(way: Way) -> None:
    failures: list[Exception] = [RetryLater("429", after=0.2), LookupError("once more")]

    def fetch() -> str:
        if failures:
            raise failures.pop(0)
        return "fetched"

    async def conversation(system: Any) -> list[int]:
        async with system.sdk("i") as sdk:
            with way.face.use(sdk):
                assert await way.face.durable(fetch, max_retries=2, delay=0.01, jitter=0)() == "fetched"
            (step,) = (await ask(sdk, ListCheckpoints())).checkpoints
            retries = (await ask(sdk, ListRetries(checkpoint_id=step.checkpoint_id))).retries
            return [retry.retry_at - retry.recorded_at for retry in retries]

    assert way.hold(conversation) == [200, 20]


async def test_s32_a_host_removes_what_is_old_as_soon_as_it_starts(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path), quic_port=0, env_http_port=0, keep_instances_ms=3_600_000)
    now, names = SystemClock().now_ms(), ("old", "young", "unfinished")
    with closing(store_of(settings).open_writer()) as writer:
        for name, status, finished_at in (
            ("old", Status.COMPLETED, now - 3_600_001),
            ("young", Status.COMPLETED, now - 1),
            ("unfinished", Status.SUSPENDED, None),
        ):
            put(writer, save(InstanceKey("acme", name), status=status, finished_at=finished_at))

    with trio.fail_after(100):
        async with open_host(settings) as host:
            look = RunChore(chore="instances", dry_run=True)
            while (await host.runtime.dispatch.call(InstanceKey("acme", "cli"), look)).removed:
                pass  # it has just begun, and nobody is told when it is done
            found = await host.runtime.dispatch.call(InstanceKey("acme", "cli"), ListInstances())

    assert sorted(row.instance_id for row in found.instances) == sorted(names[1:])


def test_every_scenario_has_its_test_or_its_place_elsewhere() -> None:
    source = Path(__file__).read_text(encoding="utf-8")

    missing = [n for n in SCENARIOS if f"def test_s{n:02}_" not in source and f"S{n}" not in ELSEWHERE]
    lost = [reason for reason in ELSEWHERE.values() if not (ROOT / reason.split(": ")[1]).exists()]

    assert (missing, lost) == ([], [])
