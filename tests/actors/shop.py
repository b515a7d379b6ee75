"""A system that launches real processes, and ways to wait for what becomes of their instances.

The store is in memory and outlives the system, like the folder of the engine: a second shop on the same two continues
where the first has ended.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from runtara.actors import MailboxSpec, Policy, child
from runtara.actors.places import AwaitEmpty, KillAttempts, StopWaking
from runtara.actors.runner import Graces, Runner
from runtara.actors.sessions import Attach
from runtara.messages import Call, GetStatus, InstanceInfo, ListEvents, LogRead, ReadLog, StartInstance
from runtara.system import INSTANCES, PROGRAMS, READER, SCHEDULER, SESSIONS, Launcher
from tests.actors.runners.hall import PATIENCE_S, Hall
from tests.actors.stage import Stage, TrioClock, WatchedStore, key_of, open_stage
from tests.watch import Watch

__all__ = ["Shop", "open_shop"]


class Shop:
    """A stage with a runner of processes."""

    def __init__(self, stage: Stage, hall: Hall) -> None:
        self.stage = stage
        self.hall = hall
        self.runner = stage.system.ref(PROGRAMS)
        self.key = key_of
        self._watchers: dict[str, Watch] = {}

    async def start(self, text: str, name: str = "one", program: str | None = None, **more: Any) -> None:
        """Start an instance of a new program."""
        path = self.hall.write(text, program or f"{name}.sh")
        await self.ask(name, StartInstance(program=path, **more))

    async def ask(self, name: str, command: Any, epoch: int | None = None) -> Any:
        return await self.stage.ask(name, command, epoch)

    async def status(self, name: str = "one") -> InstanceInfo:
        info: InstanceInfo = await self.ask(name, GetStatus())
        return info

    async def wait(self, wanted: Callable[[InstanceInfo], bool], name: str = "one") -> InstanceInfo:
        """Wait until an instance is as wanted."""
        if name not in self._watchers:
            self._watchers[name] = Watch(key_of(name))
            await self.stage.system.ref(SESSIONS).tell(Attach(self._watchers[name]))
        watcher = self._watchers[name]
        while True:
            watcher.heard = trio.Event()
            info = await self.status(name)
            if wanted(info):
                return info
            with trio.fail_after(PATIENCE_S):
                await watcher.heard.wait()

    async def wait_end(self, name: str = "one") -> InstanceInfo:
        """Wait until an instance is finished."""
        return await self.wait(lambda info: info.finished_at is not None, name)

    async def wait_empty(self) -> None:
        """Wait until no attempt is left in the runner's hands."""
        await self.runner.ask(AwaitEmpty())

    async def wait_written(self, text: str, name: str = "one") -> str:
        """Wait until a program has written something; return all that it wrote."""
        return await self.hall.wait_written(text, key=key_of(name))

    async def wait_pid(self, name: str = "one", count: int = 1) -> int:
        """Wait until the `count`-th attempt has written its process number, and return it."""
        text = ""
        while text.count("pid=") < count or not text.endswith("\n"):
            written = self.hall.engine.watch_log(key_of(name))
            text = (await self.hall.read(key=key_of(name))).decode()
            if text.count("pid=") < count or not text.endswith("\n"):
                with trio.fail_after(PATIENCE_S):
                    await written.wait()
        return int(text.split("pid=")[count].split()[0])

    async def read_log(self, name: str = "one", **how: Any) -> LogRead:
        answer: LogRead = await self.runner.ask(Call(key_of(name), ReadLog(**how)))
        return answer

    async def events(self, name: str = "one") -> list[str]:
        return [event.type for event in (await self.ask(name, ListEvents())).events]


@asynccontextmanager
async def open_shop(
    folder: Path,
    store: WatchedStore | None = None,
    *,
    places: int = 32,
    ahead_ms: int = 0,
    leave_running: bool = False,
    **settings: Any,
) -> AsyncIterator[Shop]:
    """Run a system with processes for the length of the block; unless left running, they are killed then.

    Its clock is ahead of that of other systems by so much.
    """
    quick = {"relaunch_after_ms": 10, "cancel_grace_ms": 60_000, "kill_grace_ms": 60_000, "max_auto_restarts": 3}
    options = quick | settings
    of_host = ("kill_grace_ms", "program_log_bytes", "state_max_bytes")
    hall = Hall(folder, **{name: options[name] for name in of_host if name in options})
    clock = TrioClock()
    clock.jump_ms(ahead_ms)
    runner = child(
        "programs",
        Runner,
        kwargs={
            "instances": INSTANCES,
            "reader": READER,
            "scheduler": SCHEDULER,
            "engine": hall.engine,
            "connection": lambda key, epoch: {"RUNTARA_TOKEN": f"{key.instance_id}-{epoch}"},
            "graces": Graces(leave=options["cancel_grace_ms"] / 1000, kill=options["kill_grace_ms"] / 1000),
            "clock": clock,
            "clock_check": 0.05,
        },
        mailbox=MailboxSpec(bound=65_536, policy=Policy.REJECT),
    )
    launcher = Launcher(runner=runner, places=places)
    async with open_stage(store, launcher=launcher, clock=clock, **options) as stage:
        shop = Shop(stage, hall)
        try:
            yield shop
        finally:
            if not leave_running:
                with trio.CancelScope(shield=True):
                    await stage.system.ref(SCHEDULER).ask(StopWaking())
                    await shop.runner.ask(KillAttempts())
                    await shop.wait_empty()
