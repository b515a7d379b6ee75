"""The limits that a program can reach, on every way: what fits is taken, the rest is refused and changes nothing."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from runtara.errors import Busy, DeadlineExceeded, InvalidInput, TooLarge, Unreachable
from runtara.ids import CHECKPOINT_ID_MAX_BYTES, new_id
from runtara.messages import ListCheckpoints, ListEvents, SendSignal
from runtara.sdk import InstanceStatus
from tests.doors.matrix import SETTINGS, Way, ask

SIZE: Final = SETTINGS["state_max_bytes"]

PAYLOADS: Final[dict[str, Callable[[Any, Any, bytes], Awaitable[Any]]]] = {
    "checkpoint": lambda system, sdk, payload: sdk.checkpoint("large", payload),
    "sleep": lambda system, sdk, payload: sdk.sleep(0, "nap", payload),
    "custom event": lambda system, sdk, payload: sdk.custom_event("kind", payload),
    "custom signal": lambda system, sdk, payload: system.custom_signal("i", "go", payload),
    "output": lambda system, sdk, payload: sdk.completed(payload),
}
"""Calls that carry a payload; the last one ends the instance."""


def test_a_payload_of_the_largest_size_is_taken_and_one_byte_more_is_not(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            for carry in PAYLOADS.values():
                with pytest.raises(TooLarge, match=str(SIZE)):
                    await carry(system, sdk, bytes(SIZE + 1))
            assert (await sdk.get_status()).checkpoint_count == 0

            for carry in PAYLOADS.values():
                await carry(system, sdk, bytes(SIZE))

            status = await system.status("i")
            assert (status.status, status.output) == (InstanceStatus.COMPLETED, bytes(SIZE))

    way.hold(conversation)


def test_signals_that_nobody_takes_are_refused_from_a_number_on(way: Way) -> None:
    def signal() -> SendSignal:
        return SendSignal(kind="custom", name="go", signal_id=new_id())

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            for _ in range(SETTINGS["pending_signals_max"]):
                await ask(sdk, signal(), "i")

            # Who is far away asks again until there is room; when time is up, the last answer may still be on its way,
            # or the question on a machine that is busy.
            with pytest.raises((Busy, DeadlineExceeded, Unreachable)):
                await ask(sdk, signal(), "i", timeout=0.2)
            assert await sdk.poll_custom_signal("go") is not None
            await ask(sdk, signal(), "i")

            for _ in range(SETTINGS["pending_signals_max"]):
                assert await sdk.poll_custom_signal("go") is not None

    way.hold(conversation)


@pytest.mark.parametrize("command", [ListCheckpoints, ListEvents], ids=lambda command: str(command.__name__))
def test_a_page_has_a_size_and_says_how_to_go_on(way: Way, command: Any) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            for number in range(5):
                await sdk.checkpoint(f"c{number}", b"")
                await sdk.custom_event("kind")
            for limit in (0, -1, 10**9):
                with pytest.raises(InvalidInput, match="limit"):
                    await ask(sdk, command(limit=limit))

            pages: list[Any] = []
            cursor = None
            while not pages or cursor is not None:
                page = await ask(sdk, command(limit=2, cursor=cursor))
                pages.append(page.checkpoints if command is ListCheckpoints else page.events)
                cursor = page.cursor

            whole = await ask(sdk, command(limit=1000))
            assert [row for page in pages for row in page] == list(
                whole.checkpoints if command is ListCheckpoints else whole.events
            )
            assert max(map(len, pages)) == 2

    way.hold(conversation)


@pytest.mark.parametrize("length", [1024, 1025, 100_000])
def test_an_id_that_is_too_long_is_refused_and_one_that_fits_is_kept(way: Way, length: int) -> None:
    async def conversation(system: Any) -> list[str]:
        async with system.sdk("i") as sdk:
            try:
                await sdk.checkpoint("x" * length, b"state")
            except InvalidInput:
                assert (await sdk.get_status()).checkpoint_count == 0
                return ["refused"]
            assert await sdk.get_checkpoint("x" * length) == b"state"
            return ["kept"]

    assert way.hold(conversation) == (["kept"] if length <= LONGEST else ["refused"])


LONGEST: Final = CHECKPOINT_ID_MAX_BYTES
