"""A program that uses the SDK as strict type checkers see it; it is checked, and never run (see `test_public_api`).

`assert_type` holds what the SDK promises. An ignore stands where the checker must complain: were it to be silent, the
ignore would be an error of its own.
"""

from datetime import timedelta
from typing import assert_type

from runtara.sdk import (
    AsyncRuntaraSdk,
    CheckpointResult,
    CustomSignal,
    InstanceStatus,
    RuntaraSdk,
    SdkConfig,
    Signal,
    SignalType,
    StatusResponse,
    durable,
    embedded,
)


@durable
def plain(number: int, text: str = "x") -> list[str]:
    """Return the text as often as the number says."""
    return [text] * number


@durable(max_retries=1, key="{number}", retry_on=(OSError,))
async def awaited(number: int) -> float:
    """Return the half."""
    return number / 2


def blocking(sdk: RuntaraSdk) -> None:
    """What the sync face promises."""
    assert_type(sdk.checkpoint("a", b""), CheckpointResult)
    assert_type(sdk.get_checkpoint("a"), bytes | None)
    assert_type(sdk.sleep(timedelta(days=1), "b"), bytes | None)
    assert_type(sdk.wait_for_signal("go", timeout=1), CustomSignal | None)
    assert_type(sdk.poll_signal(), Signal | None)
    assert_type(sdk.completed(b"done"), InstanceStatus)
    assert_type(sdk.get_status(), StatusResponse)
    assert_type(plain(2), list[str])
    loop = sdk.each({"one": 1}.items(), name="pairs", state=0)
    for pair in loop:
        assert_type(pair, tuple[str, int])
    with sdk.program() as program:
        program.output = {"any": "thing"}
    sdk.checkpoint("a", "text")  # type: ignore[arg-type]
    bytes(sdk.wait_for_signal("go").payload)  # type: ignore[union-attr]
    sdk.send_signal("b", "cancel")  # type: ignore[arg-type]
    plain("two")  # type: ignore[arg-type]


async def awaiting(sdk: AsyncRuntaraSdk) -> None:
    """What the async face promises."""
    assert_type(await sdk.checkpoint("a", b""), CheckpointResult)
    assert_type(await sdk.load_input(), bytes | None)
    assert_type(await sdk.wait_for_signal("go"), CustomSignal | None)
    assert_type(await awaited(3), float)
    async for number in sdk.each([1, 2], name="numbers"):
        assert_type(number, int)
    async with sdk.program() as program:
        program.output = b"done"
    sdk.completed(b"done")  # type: ignore[unused-coroutine]
    await awaited("three")  # type: ignore[arg-type]


def opened() -> None:
    """What a system in the same process promises."""
    with embedded.open("data", programs={"blocking": blocking, "awaiting": awaiting}) as system:
        assert_type(system.start("blocking"), str)
        assert_type(system.signal("a", SignalType.PAUSE), InstanceStatus)
        with system.sdk("a") as sdk:
            assert_type(sdk, RuntaraSdk)
    config = SdkConfig("a").with_server_addr("localhost:8001").with_request_timeout_ms(5_000)
    assert_type(config, SdkConfig)
    assert_type(RuntaraSdk.new(config), RuntaraSdk)
    assert_type(AsyncRuntaraSdk.from_env(), AsyncRuntaraSdk)
