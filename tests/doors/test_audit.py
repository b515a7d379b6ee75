"""What the audit log tells, on every way: why somebody was cancelled or paused, and what has happened last."""

from typing import Any, Final

from runtara.messages import ListEvents, SendSignal, SignalKind
from runtara.sdk import SignalType
from tests.doors.matrix import Way, ask

KINDS: Final[tuple[SignalKind, ...]] = ("pause", "resume", "pause", "cancel")


def test_what_a_pause_and_a_cancel_carry_can_be_read_back(way: Way) -> None:
    async def conversation(system: Any) -> None:
        sdk = system.sdk("i")
        await sdk.register()
        for number, kind in enumerate(KINDS):
            note = b"why \0" + bytes([number])
            await ask(sdk, SendSignal(kind=kind, signal_id=f"s{number}", payload=note), "i")
            if kind == "pause":
                await sdk.acknowledge(SignalType.PAUSE)

        async def newest(kind: str) -> bytes:
            wanted = ListEvents(event_type="signal-sent", subtype=kind, limit=1, newest_first=True)
            (event,) = (await ask(sdk, wanted, "i")).events
            return event.payload or b""

        assert await newest("pause") == b"s2\nwhy \0\x02"
        assert await newest("cancel") == b"s3\nwhy \0\x03"
        sdk.close()

    way.hold(conversation)


def test_events_can_be_read_from_the_last_one_on(way: Way) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            for number in range(5):
                await sdk.custom_event("note", str(number).encode())

            found: list[bytes | None] = []
            wanted, more = ListEvents(subtype="note", limit=2, newest_first=True), True
            while more:
                page = await ask(sdk, wanted, "i")
                found += [event.payload for event in page.events]
                wanted = ListEvents(subtype="note", limit=2, newest_first=True, cursor=page.cursor)
                more = page.cursor is not None

            assert found == [b"4", b"3", b"2", b"1", b"0"]

    way.hold(conversation)
