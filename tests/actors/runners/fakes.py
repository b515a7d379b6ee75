"""A hall in which nothing runs: the fake engine, and the same ways to wait for what it does."""

from pathlib import Path
from typing import Any

import trio

from runtara.actors.runners import Attempt, Ended, Plan
from runtara.actors.runners.fake import FakeEngine, FakeProgram
from runtara.ids import InstanceKey
from tests.actors.runners.hall import KEY, PATIENCE_S

__all__ = ["FakeHall"]


class FakeHall:
    """An engine in memory."""

    def __init__(
        self, _folder: Path | None = None, programs: dict[str, FakeProgram] | None = None, **more: Any
    ) -> None:
        self.engine = FakeEngine(programs, **more)

    def another(self) -> "FakeHall":
        """The hall of a host that has come back: its engine lives on."""
        return self

    async def act(self, acts: str, **plan: Any) -> Attempt:
        """Launch a line."""
        return await self.engine.launch(Plan(**{"key": KEY, "epoch": 1, "program": acts} | plan))

    async def end(self, attempt: Attempt) -> Ended:
        """Wait for the end of an attempt, and forget it."""
        with trio.fail_after(PATIENCE_S):
            ended = await attempt.wait_ended()
        attempt.close()
        await attempt.forget()
        return ended

    async def read(self, stream: str = "stdout", key: InstanceKey = KEY) -> bytes:
        """All that is kept of a stream."""
        return (await self.engine.read_log(key, stream, 0, 1 << 30))[0]

    async def wait_written(self, text: str, stream: str = "stdout", key: InstanceKey = KEY) -> str:
        """Wait until a program has written something; return all of the stream."""
        while True:
            written = self.engine.watch_log(key)
            found = (await self.read(stream, key)).decode()
            if text in found:
                return found
            with trio.fail_after(PATIENCE_S):
                await written.wait()
