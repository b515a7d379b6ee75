"""Every call of the SDK, in conversations that each face holds: blocking, under trio and under asyncio."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runtara.errors import (
    AlreadyExists,
    Fenced,
    InstanceCancelled,
    InstancePaused,
    InstanceShutdown,
    InvalidInput,
    InvalidState,
    NotFound,
    RuntaraError,
    TooLarge,
)
from runtara.lifecycle import TerminationReason
from runtara.messages import ListEvents, ListRetries
from runtara.sdk import InstanceStatus, SignalType
from tests.sdk.faces import Face, commands_of, outside, when_it_waits

A_LONG_TIME = 600
"""Seconds that no test waits: whoever sleeps for so long is woken by something else."""

PROGRAM_CALLS: dict[str, tuple[Any, ...]] = {
    "checkpoint": ("a", b""),
    "sleep": (0, "nap"),
    "sleep_until": (datetime(2020, 1, 1, tzinfo=UTC), "nap"),
    "heartbeat": (),
    "completed": (),
    "failed": ("no",),
    "suspended": (),
    "custom_event": ("kind",),
    "poll_signal": (),
    "acknowledge_signal": ("id",),
    "acknowledge": (SignalType.PAUSE,),
    "check_cancelled": (),
    "check_paused": (),
    "record_retry_attempt": ("a", 1),
    "poll_custom_signal": ("go",),
    "wait_for_signal": ("go", 0),
}
"""What only the attempt that holds the instance may say."""

OTHER_CALLS: dict[str, tuple[Any, ...]] = {"get_checkpoint": ("a",), "get_status": (), "load_input": ()}


# Registration --------------------------------------------------------------------------------------------------------


def test_the_first_registration_creates_the_instance(any_face: Face, request: pytest.FixtureRequest) -> None:
    acme = f"acme-{request.node.callspec.id}"  # a tenant of its own with a server that serves them all

    async def conversation(system: Any) -> None:
        sdk = system.sdk("order-7", acme)
        assert (sdk.is_registered, sdk.epoch, sdk.is_resumed) == (False, None, False)

        registered = await sdk.register()

        assert (registered.epoch, registered.resumed, registered.checkpoint_id) == (1, False, None)
        assert (sdk.is_registered, sdk.epoch, sdk.is_resumed) == (True, 1, False)
        assert (sdk.instance_id, sdk.tenant_id, sdk.key) == ("order-7", acme, (acme, "order-7"))
        assert (await sdk.get_status()).status is InstanceStatus.RUNNING

    any_face.hold(conversation)


def test_a_registration_that_is_sent_again_is_the_same_attempt(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        sdk = system.sdk("i")

        first, again = await sdk.register(), await sdk.register()

        assert (first.epoch, again.epoch) == (1, 1)

    any_face.hold(conversation)


def test_a_later_attempt_is_told_what_the_earlier_one_has_left(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as first:
            await first.checkpoint("a", b"A")
            await first.checkpoint("b", b"B")
        second = system.sdk("i")

        registered = await second.register("a")

        assert (registered.epoch, registered.resumed, registered.checkpoint_id) == (2, True, "b")
        assert second.is_resumed
        assert await second.get_checkpoint("a") == b"A"

    any_face.hold(conversation)


def test_a_checkpoint_that_does_not_exist_cannot_be_continued_from(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        with pytest.raises(NotFound, match="'missing'"):
            await system.sdk("i").register("missing")

        assert not (await system.status("i")).found

    any_face.hold(conversation)


@pytest.mark.parametrize("end", ["completed", "failed"])
def test_a_finished_instance_is_never_registered_again(any_face: Face, end: str) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await (sdk.completed(b"done") if end == "completed" else sdk.failed("why"))

        with pytest.raises(InvalidState, match=end):
            await system.sdk("i").register()

        status = await system.status("i")
        assert (status.status, status.output, status.error) == (
            (InstanceStatus.COMPLETED, b"done", None) if end == "completed" else (InstanceStatus.FAILED, None, "why")
        )

    any_face.hold(conversation)


def test_a_cancelled_instance_is_never_registered_again(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i"):
            await system.signal("i", SignalType.CANCEL)  # its owner ends without having seen it

        for _ in range(2):
            with pytest.raises(InstanceCancelled):
                await system.sdk("i").register()
        assert (await system.status("i")).status is InstanceStatus.CANCELLED

    any_face.hold(conversation)


def test_only_a_registered_attempt_may_call(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        sdk = system.sdk("i")
        for name, arguments in {**PROGRAM_CALLS, **OTHER_CALLS}.items():
            with pytest.raises(InvalidInput, match=r"call register\(\) first"):
                await getattr(sdk, name)(*arguments)
        assert not (await system.status("i")).found

    any_face.hold(conversation)


def test_a_newer_attempt_fences_the_older_one(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as old, system.sdk("i") as new:
            for name, arguments in PROGRAM_CALLS.items():
                with pytest.raises(Fenced):
                    await getattr(old, name)(*arguments)
            assert not (await new.checkpoint("a", b"mine")).found
            assert await old.get_checkpoint("a") == b"mine"  # reading is free

    any_face.hold(conversation)


def test_a_sleeping_attempt_that_is_fenced_wakes_up(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as old:
            when_it_waits(old, outside(system).sdk("i").register)
            with pytest.raises(Fenced):
                await old.sleep(1, "nap")  # returns where nobody tells it

    any_face.hold(conversation)


def test_whoever_lets_go_may_come_back(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            pass
        sdk.close()

        when_it_waits(sdk, lambda: outside(system).signal("i", SignalType.PAUSE))
        with pytest.raises(InstancePaused):  # it hears of signals again
            await sdk.sleep(A_LONG_TIME, "nap")

    any_face.hold(conversation)


# Checkpoints ---------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_written_once_and_for_ever(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            first = await sdk.checkpoint("a", b"first")
            second = await sdk.checkpoint("a", b"second")
        async with system.sdk("i") as sdk:
            replayed = await sdk.checkpoint("a", b"third")

        assert (first.found, first.existing_state) == (False, None)
        assert (second.found, second.existing_state) == (replayed.found, replayed.existing_state) == (True, b"first")
        assert (await system.status("i")).checkpoint_count == 1

    any_face.hold(conversation)


def test_an_empty_state_is_not_an_absent_one(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            assert await sdk.get_checkpoint("a") is None
            assert (await sdk.checkpoint("a", b"")).existing_state is None
            assert await sdk.get_checkpoint("a") == b""
            assert (await sdk.checkpoint("a", b"late")).existing_state == b""

    any_face.hold(conversation)


def test_states_are_any_bytes_and_ids_any_text(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        state = bytes(range(256)) * 4096
        async with system.sdk("i") as sdk:
            await sdk.checkpoint("schön/1 ✓", state)
            assert await sdk.get_checkpoint("schön/1 ✓") == state

    any_face.hold(conversation)


@pytest.mark.parametrize(
    ("checkpoint_id", "state", "error"),
    [("", b"", InvalidInput), ("a\0", b"", InvalidInput), ("a", "text", InvalidInput), ("a", b"123456789", TooLarge)],
)
def test_what_is_no_checkpoint_is_refused(
    any_face: Face, checkpoint_id: str, state: Any, error: type[Exception]
) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with pytest.raises(error):
                await sdk.checkpoint(checkpoint_id, state)
            assert (await sdk.get_status()).checkpoint_count == 0

    any_face.hold(conversation, state_max_bytes=8)


def test_a_retry_is_counted_once_however_often_it_is_recorded(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await sdk.record_retry_attempt("step", 1, "first error")
            await sdk.record_retry_attempt("step", 1, "again")
            await sdk.record_retry_attempt("step", 2)
            found = await sdk.perform(ListRetries(checkpoint_id="step"))

        assert [(retry.attempt, retry.error) for retry in found.retries] == [(1, "first error"), (2, None)]

    any_face.hold(conversation)


# Sleep ---------------------------------------------------------------------------------------------------------------


def test_a_sleep_returns_what_an_earlier_attempt_has_left(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            assert await sdk.sleep(timedelta(milliseconds=5), "nap", b"dream") is None
            assert await sdk.sleep(A_LONG_TIME, "nap") == b"dream"  # the deadline was stored, and has passed
        async with system.sdk("i") as sdk:
            assert await sdk.sleep(A_LONG_TIME, "nap") == b"dream"
            assert await sdk.sleep_until(datetime(2000, 1, 1, tzinfo=UTC), "past") is None
            assert (await sdk.get_status()).status is InstanceStatus.RUNNING

    any_face.hold(conversation)


@pytest.mark.parametrize(
    ("signal", "error"),
    [
        (SignalType.CANCEL, InstanceCancelled),
        (SignalType.PAUSE, InstancePaused),
        (SignalType.SHUTDOWN, InstanceShutdown),
    ],
)
def test_a_signal_ends_a_sleep_at_once(any_face: Face, signal: SignalType, error: type[Exception]) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            when_it_waits(sdk, lambda: outside(system).signal("i", signal))
            with pytest.raises(error):
                await sdk.sleep(A_LONG_TIME, "nap")
            with pytest.raises(error):  # and none begins
                await sdk.sleep(0, "another")

    any_face.hold(conversation)


@pytest.mark.parametrize("duration", [-1, float("nan"), float("inf"), timedelta(seconds=-1), "1", True])
def test_what_is_no_duration_is_refused(any_face: Face, duration: Any) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with pytest.raises(InvalidInput, match="duration"):
                await sdk.sleep(duration, "nap")
            assert await sdk.get_checkpoint("nap") is None

    any_face.hold(conversation)


@pytest.mark.parametrize("instant", [datetime(2026, 1, 1), datetime(1969, 1, 1, tzinfo=UTC)])  # noqa: DTZ001 - on purpose
def test_an_instant_needs_a_time_zone_and_a_year_from_1970_on(any_face: Face, instant: datetime) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with pytest.raises(InvalidInput):
                await sdk.sleep_until(instant, "nap")
            with pytest.raises(InvalidInput):
                await sdk.suspended(instant)
            assert (await sdk.get_status()).status is InstanceStatus.RUNNING

    any_face.hold(conversation)


# Ends ----------------------------------------------------------------------------------------------------------------


def test_an_instance_ends_once(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            assert await sdk.completed(b"output") is InstanceStatus.COMPLETED
            assert await sdk.completed(b"other") is InstanceStatus.COMPLETED  # sent again

            for call, arguments in {"failed": ("no",), "checkpoint": ("a", b""), "custom_event": ("late",)}.items():
                with pytest.raises(InvalidState, match="completed"):
                    await getattr(sdk, call)(*arguments)

            status = await sdk.get_status()
        assert (status.status, status.output) == (InstanceStatus.COMPLETED, b"output")
        assert (status.is_finished, status.termination_reason) == (True, TerminationReason.COMPLETED)
        assert status.started_at is not None
        assert status.finished_at is not None
        assert status.started_at <= status.finished_at

    any_face.hold(conversation)


def test_a_failure_says_why(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            assert await sdk.failed("out of stock") is InstanceStatus.FAILED

        status = await system.status("i")
        assert (status.error, status.termination_reason) == ("out of stock", TerminationReason.APPLICATION_ERROR)

    any_face.hold(conversation)


@pytest.mark.parametrize("end", ["completed", "failed", "suspended"])
def test_a_cancel_that_came_first_wins_over_every_other_end(any_face: Face, end: str) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            assert await system.signal("i", SignalType.CANCEL) is InstanceStatus.RUNNING
            arguments = ("why",) if end == "failed" else ()

            assert await getattr(sdk, end)(*arguments) is InstanceStatus.CANCELLED

        status = await system.status("i")
        assert (status.status, status.termination_reason) == (InstanceStatus.CANCELLED, TerminationReason.CANCELLED)

    any_face.hold(conversation)


def test_a_cancel_that_comes_after_the_end_is_refused_and_told_the_end(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await sdk.completed()

        with pytest.raises(InvalidState, match="completed"):
            await system.signal("i", SignalType.CANCEL)

        assert (await system.status("i")).status is InstanceStatus.COMPLETED

    any_face.hold(conversation)


def test_events_of_the_programs_own_are_kept_and_change_nothing(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await sdk.custom_event("progress", b'{"done": 1}')
            await sdk.custom_event("progress", b'{"done": 2}')
            await sdk.custom_event("note")
            assert (await sdk.get_status()).status is InstanceStatus.RUNNING

            page = await sdk.perform(ListEvents(event_type="custom", subtype="progress"))

        assert [event.payload for event in page.events] == [b'{"done": 1}', b'{"done": 2}']

    any_face.hold(conversation)


# Signals to the whole instance ---------------------------------------------------------------------------------------


def test_a_signal_waits_until_it_is_acknowledged_by_its_id(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            assert await sdk.poll_signal() is None
            await system.signal("i", SignalType.CANCEL, b"why")

            seen = [await sdk.poll_signal(), await sdk.poll_signal()]

            assert seen[0] == seen[1]
            assert (seen[0].signal_type, seen[0].payload) == (SignalType.CANCEL, b"why")
            for _ in range(2):  # harmless when repeated
                assert await sdk.acknowledge_signal(seen[0]) is InstanceStatus.CANCELLED
            assert await sdk.poll_signal() is None

    any_face.hold(conversation)


def test_a_signal_that_was_never_sent_cannot_be_acknowledged(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with pytest.raises(NotFound):
                await sdk.acknowledge_signal("unknown")
            assert not await sdk.acknowledge(SignalType.CANCEL)

    any_face.hold(conversation)


def test_a_checkpoint_tells_of_the_signal_that_waits_and_a_cancel_first(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            before = await sdk.checkpoint("a", b"")
            await system.signal("i", SignalType.PAUSE)
            paused = await sdk.checkpoint("b", b"")
            await system.signal("i", SignalType.CANCEL)
            cancelled = await sdk.checkpoint("c", b"")

        assert (before.should_pause, before.should_cancel, before.should_exit) == (False, False, False)
        assert (paused.should_pause, paused.should_cancel, paused.should_exit) == (True, False, True)
        assert (cancelled.should_pause, cancelled.should_cancel, cancelled.should_exit) == (False, True, True)

    any_face.hold(conversation)


def test_each_check_raises_for_its_own_signal_also_while_another_waits(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await sdk.check_cancelled()
            await sdk.check_paused()
            await system.signal("i", SignalType.PAUSE)
            await sdk.check_cancelled()
            with pytest.raises(InstancePaused):
                await sdk.check_paused()
            await system.signal("i", SignalType.CANCEL)
            with pytest.raises(InstanceCancelled):
                await sdk.check_cancelled()
            with pytest.raises(InstancePaused):
                await sdk.check_paused()

    any_face.hold(conversation)


def test_a_paused_program_rests_until_it_is_resumed(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await system.signal("i", SignalType.PAUSE)
            assert (await sdk.checkpoint("a", b"A")).should_pause

            assert await sdk.suspended() is InstanceStatus.SUSPENDED

            with pytest.raises(InstancePaused):
                await sdk.checkpoint("b", b"B")
            with pytest.raises(InstancePaused):  # nor may another attempt begin
                await system.sdk("i").register()
            assert await system.signal("i", SignalType.RESUME) is InstanceStatus.RUNNING
            resume = await sdk.poll_signal()
            assert resume.signal_type is SignalType.RESUME
            assert not (await sdk.checkpoint("b", b"B")).should_exit
            assert await sdk.acknowledge_signal(resume) is InstanceStatus.RUNNING
            assert await sdk.completed() is InstanceStatus.COMPLETED

    any_face.hold(conversation)


def test_a_program_that_rests_for_a_pause_that_was_taken_back_is_due_at_once(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await system.signal("i", SignalType.PAUSE)
            assert (await sdk.checkpoint("a", b"A")).should_pause
            await system.signal("i", SignalType.RESUME)

            assert await sdk.suspended() is InstanceStatus.SUSPENDED

            assert (await system.status("i")).wake_at is not None

    any_face.hold(conversation)


def test_a_program_that_rests_on_its_own_account_waits_for_a_resume(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await system.signal("i", SignalType.PAUSE)
            assert await sdk.suspended() is InstanceStatus.SUSPENDED
            await system.signal("i", SignalType.RESUME)

            assert await sdk.suspended() is InstanceStatus.SUSPENDED

            assert (await system.status("i")).wake_at is None

    any_face.hold(conversation)


def test_a_resumed_instance_may_be_taken_over_by_a_new_attempt(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await sdk.checkpoint("a", b"A")
            await system.signal("i", SignalType.PAUSE)
            await sdk.suspended()
        await system.signal("i", SignalType.RESUME)

        async with system.sdk("i") as sdk:
            assert (await sdk.checkpoint("a", b"")).existing_state == b"A"
            assert await sdk.completed() is InstanceStatus.COMPLETED

    any_face.hold(conversation)


def test_a_pause_after_a_resume_that_nobody_acknowledged_is_seen(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await system.signal("i", SignalType.PAUSE)
            await sdk.suspended()
            await system.signal("i", SignalType.RESUME)
            await system.signal("i", SignalType.PAUSE)

            assert (await sdk.checkpoint("a", b"")).should_pause
            with pytest.raises(InstancePaused):
                await sdk.sleep(0, "nap")

    any_face.hold(conversation)


def test_a_pause_that_is_taken_back_before_it_was_seen_never_was(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await system.signal("i", SignalType.PAUSE)
            await system.signal("i", SignalType.RESUME)

            await sdk.check_paused()
            assert not (await sdk.checkpoint("a", b"")).should_exit

    any_face.hold(conversation)


def test_an_attempt_may_suspend_itself_until_an_instant(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        wake_at = datetime(2100, 1, 1, tzinfo=UTC)
        async with system.sdk("i") as sdk:
            assert await sdk.suspended(wake_at) is InstanceStatus.SUSPENDED

            status = await sdk.get_status()

        assert (status.wake_at, status.termination_reason) == (
            wake_at.timestamp() * 1000,
            TerminationReason.SLEEPING,
        )

    any_face.hold(conversation)


def test_a_program_may_send_signals_to_others_of_its_tenant(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("one", "acme") as one, system.sdk("two", "acme") as two:
            assert await one.send_signal("two", SignalType.PAUSE, b"later") is InstanceStatus.RUNNING
            assert await one.send_custom_signal("two", "go", b"now") is InstanceStatus.RUNNING

            assert (await two.poll_signal()).payload == b"later"
            assert (await two.poll_custom_signal("go")).payload == b"now"

    any_face.hold(conversation)


def test_another_tenants_instance_looks_exactly_like_an_unknown_one(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("secret", "theirs"), system.sdk("mine", "ours") as sdk:
            assert await sdk.get_instance_status("secret") == await sdk.get_instance_status("unknown")
            assert not (await sdk.get_instance_status("secret")).found
            assert (await sdk.get_instance_status("mine")).status is InstanceStatus.RUNNING
            ways: list[Callable[[str], Any]] = [
                lambda to: sdk.send_signal(to, SignalType.CANCEL),
                lambda to: sdk.send_custom_signal(to, "go"),
            ]
            for send in ways:
                texts = []
                for to in ("secret", "unknown"):
                    with pytest.raises(RuntaraError) as refused:
                        await send(to)
                    texts.append((type(refused.value), str(refused.value).replace(to, "")))
                assert texts[0] == texts[1]
        assert (await system.status("secret", "theirs")).status is InstanceStatus.RUNNING

    any_face.hold(conversation)


# Custom signals ------------------------------------------------------------------------------------------------------


def test_custom_signals_are_taken_in_order_and_in_a_replay_again(any_face: Face) -> None:
    async def take(sdk: Any) -> list[bytes | None]:
        waited = [(await sdk.wait_for_signal("go")).payload for _ in range(2)]
        polled = await sdk.poll_custom_signal("go")
        other = await sdk.poll_custom_signal("stop")
        return [*waited, polled.payload, other and other.payload]

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            for payload in (b"1", b"2", b"3"):
                await system.custom_signal("i", "go", payload)
            first = await take(sdk)
        await system.custom_signal("i", "go", b"4")
        async with system.sdk("i") as sdk:
            replayed = await take(sdk)
            after = await sdk.poll_custom_signal("go")

        assert first == replayed == [b"1", b"2", b"3", None]
        assert after.payload == b"4"

    any_face.hold(conversation)


def test_that_a_look_has_found_nothing_is_seen_again_in_a_replay(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            first = [await sdk.poll_custom_signal("go")]
            await system.custom_signal("i", "go", b"1")
            first += [await sdk.poll_custom_signal("go") for _ in range(2)]
        await system.custom_signal("i", "go", b"2")
        async with system.sdk("i") as sdk:
            replayed = [await sdk.poll_custom_signal("go") for _ in range(4)]

        assert [signal and signal.payload for signal in first] == [None, b"1", None]
        assert [signal and signal.payload for signal in replayed] == [None, b"1", None, b"2"]

    any_face.hold(conversation)


def test_a_signal_that_comes_later_is_seen_by_who_waits_without_any_asking_in_between(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            commands, pushes = commands_of(sdk), sdk._session.pushes
            when_it_waits(sdk, lambda: outside(system).custom_signal("i", "go", b"now"))

            signal = await sdk.wait_for_signal("go", A_LONG_TIME)

            assert (signal.name, signal.payload) == ("go", b"now")
            assert commands.count("TakeSignal") <= 1 + sdk._session.pushes - pushes  # a look for each push, no more

    any_face.hold(conversation)


def test_a_wait_that_timed_out_has_timed_out_for_ever(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            assert await sdk.wait_for_signal("go", timedelta(milliseconds=5)) is None
        await system.custom_signal("i", "go", b"late")
        async with system.sdk("i") as sdk:
            assert await sdk.wait_for_signal("go", A_LONG_TIME) is None  # at the same place, as before
            assert (await sdk.wait_for_signal("go", A_LONG_TIME)).payload == b"late"

    any_face.hold(conversation)


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "1"])
def test_what_is_no_timeout_is_refused(any_face: Face, timeout: Any) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with pytest.raises(InvalidInput, match="timeout"):
                await sdk.wait_for_signal("go", timeout)

    any_face.hold(conversation)


@pytest.mark.parametrize(
    ("signal", "error"), [(SignalType.CANCEL, InstanceCancelled), (SignalType.PAUSE, InstancePaused)]
)
def test_a_signal_to_the_instance_ends_a_wait_which_may_begin_again(
    any_face: Face, signal: SignalType, error: type[Exception]
) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            when_it_waits(sdk, lambda: outside(system).signal("i", signal))
            with pytest.raises(error):
                await sdk.wait_for_signal("go")
            await system.custom_signal("i", "go", b"1")

            assert (await sdk.wait_for_signal("go")).payload == b"1"  # it is still the first place

    any_face.hold(conversation)


def test_a_custom_signal_named_after_a_checkpoint_is_bound_to_it(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            assert (await sdk.checkpoint("a", b"")).custom_signal is None
            await system.custom_signal("i", "a", b"1")
            await system.custom_signal("i", "a", b"2")
            seen = [(await sdk.checkpoint("a", b"")).custom_signal for _ in range(2)]
        async with system.sdk("i") as sdk:
            seen.append((await sdk.checkpoint("a", b"")).custom_signal)

        assert [signal.payload for signal in seen] == [b"1", b"1", b"1"]

    any_face.hold(conversation)


# Input and the rest --------------------------------------------------------------------------------------------------


def test_who_was_not_started_has_no_input(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            assert await sdk.load_input() is None

    any_face.hold(conversation)


def test_malformed_ids_are_refused_before_anything_is_asked(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        for instance_id, tenant_id in (("../x", "t"), ("", "t"), ("x", "a/b"), ("x" * 129, "t")):
            with pytest.raises(InvalidInput):
                system.sdk(instance_id, tenant_id)
        async with system.sdk("i") as sdk:
            with pytest.raises(InvalidInput):
                await sdk.get_instance_status("../x")

    any_face.hold(conversation)


def test_a_start_is_the_same_only_with_the_same_input(face: Face) -> None:
    async def conversation(system: Any) -> None:
        assert await system.start("idle", "i", b"1") == "i"
        assert await system.start("idle", "i", b"1") == "i"
        with pytest.raises(AlreadyExists):
            await system.start("idle", "i", b"2")
        with pytest.raises(NotFound, match="it has idle"):
            await system.start("unknown", "j")
        assert not (await system.status("j")).found

    face.hold(conversation, programs={"idle": lambda sdk: sdk.suspended()})


def test_every_call_after_the_end_of_the_system_is_refused(face: Face) -> None:
    kept: list[Any] = []

    async def conversation(system: Any) -> None:
        sdk = system.sdk("i")
        await sdk.register()
        kept.append(sdk)

    async def afterwards(_: Any) -> None:
        for name, arguments in {**PROGRAM_CALLS, **OTHER_CALLS}.items():
            with pytest.raises(RuntaraError):
                await getattr(kept[0], name)(*arguments)
        kept[0].close()

    face.hold(conversation)
    face.hold(afterwards)
