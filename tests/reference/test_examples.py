"""The examples of the reference's page on its SDK, one to one, on every way; its quick start is examples/06_quickstart.

What a page cannot show is added: who sends the signals, and what comes of it.
"""

import json
from typing import Any

import pytest

from runtara.errors import InstanceCancelled
from runtara.sdk import InstanceStatus, RuntaraSdk, SdkConfig, SignalType
from tests.doors.matrix import Way

ITEMS = ("a", "b", "c")


async def work(sdk: Any, processed: list[str]) -> str:
    """Checkpointing: save and resume by one call, and see signals in its answer."""
    state: dict[str, str] = {}
    for number, item in enumerate(ITEMS):
        result = await sdk.checkpoint(f"step-{number}", json.dumps({**state, item: item.upper()}).encode())
        if result.should_pause:
            await sdk.suspended()
            return "paused"  # to be resumed later
        if result.existing_state is not None:
            state = json.loads(result.existing_state)
            continue  # done already
        processed.append(item)
        state[item] = item.upper()
    await sdk.completed(json.dumps(state).encode())
    return "completed"


def test_checkpointing_resumes_behind_what_was_saved(way: Way) -> None:
    processed: list[str] = []

    async def conversation(system: Any) -> Any:
        async with system.sdk("i") as sdk:
            await sdk.checkpoint("step-0", b'{"a": "A"}')  # by an attempt that went no further
        async with system.sdk("i") as sdk:
            assert await work(sdk, processed) == "completed"
        return json.loads((await system.status("i")).output)

    assert way.hold(conversation) == {"a": "A", "b": "B", "c": "C"}
    assert processed == ["b", "c"]


def test_checkpointing_pauses_when_it_is_asked_to(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await system.signal("i", SignalType.PAUSE)
            assert await work(sdk, []) == "paused"
        assert (await system.status("i")).status is InstanceStatus.SUSPENDED
        await system.signal("i", SignalType.RESUME)
        async with system.sdk("i") as sdk:
            assert await work(sdk, []) == "completed"

    way.hold(conversation)


def test_a_durable_sleep_keeps_its_state(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            assert await sdk.sleep(0.02, "after-sleep", b"state") is None
        async with system.sdk("i") as sdk:
            assert await sdk.sleep(60, "after-sleep", b"other") == b"state"  # over, and at once

    way.hold(conversation)


def test_a_simple_check_for_cancellation_raises(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await sdk.check_cancelled()
            await system.signal("i", SignalType.CANCEL)
            with pytest.raises(InstanceCancelled):
                await sdk.check_cancelled()

    way.hold(conversation)


@pytest.mark.parametrize(
    ("kind", "becomes"),
    [(SignalType.CANCEL, InstanceStatus.CANCELLED), (SignalType.PAUSE, InstanceStatus.SUSPENDED)],
)
def test_a_signal_is_polled_and_acknowledged(way: Way, kind: SignalType, becomes: InstanceStatus) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            assert await sdk.poll_signal() is None
            await system.signal("i", kind)
            signal = await sdk.poll_signal()
            if signal.signal_type is SignalType.PAUSE:
                await sdk.checkpoint("paused", b"state")
            assert await sdk.acknowledge_signal(signal) is becomes
        assert (await system.status("i")).status is becomes

    way.hold(conversation)


def test_configuration_in_code_is_that_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtara.sdk.config._warned", [])  # it warns once per process
    config = (
        SdkConfig("my-instance", "my-tenant")
        .with_server_addr("192.168.1.100:7001")
        .with_skip_cert_verification(True)
        .with_signal_poll_interval_ms(500)
    )

    assert (config.server_addr, config.skip_cert_verification, config.signal_poll_interval_ms) == (
        "192.168.1.100:7001",
        True,
        500,
    )
    with pytest.warns(RuntimeWarning, match="not verified"):
        sdk = RuntaraSdk.new(config)
    assert (sdk.instance_id, sdk.tenant_id) == ("my-instance", "my-tenant")
