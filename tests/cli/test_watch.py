"""`runtara watch`, before a real system."""

import io
import re
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from rich.console import Console
from trio.testing import MockClock

from runtara.cli._board import summary_of
from runtara.cli._watch import Watch
from runtara.errors import Draining, Forbidden, Unreachable
from runtara.ids import InstanceKey
from runtara.messages import CompleteInstance, GetStatus, InstanceFilter, ListInstances, RegisterInstance, Request
from runtara.sdk import embedded
from runtara.sdk._doors import Doors
from runtara.sdk.embedded import AsyncEmbedded
from runtara.sdk.management import TrioManagement
from runtara.transport import EmbeddedDoor
from runtara.transport.addresses import parse_address
from runtara.transport.client.door import ServerSpec
from runtara.transport.websocket.live import LiveSpec, follow_instances
from tests.cli.conftest import PROGRAMS
from tests.cli.terminal import SECONDS, popen
from tests.cli.test_login import Screen
from tests.test_host import opened
from tests.transport.quic.serving import Serving

R = TypeVar("R")

WAIT, GREET = "/programs/wait.py", "/programs/greet.py"


class Paper(io.StringIO):
    """What is printed, and a way to wait for some of it."""

    def __init__(self) -> None:
        super().__init__()
        self._more = trio.Event()

    def write(self, text: str) -> int:
        self._more.set()
        return super().write(text)

    async def wait_for(self, pattern: str) -> None:
        while not re.search(pattern, self.getvalue()):
            self._more = trio.Event()
            await self._more.wait()


def watching(system: AsyncEmbedded, console: Console, wanted: InstanceFilter | None = None) -> Watch:
    return Watch(system.open_door("cli", "default"), wanted or InstanceFilter(), console)


async def beside(run: Callable[[], object], act: Callable[[], object]) -> None:
    """Run something for as long as something else takes."""
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)  # type: ignore[arg-type]  # both are async
            await act()  # type: ignore[misc]  # likewise
            nursery.cancel_scope.cancel()


async def test_every_change_is_a_line_where_nobody_looks() -> None:
    paper = Paper()
    async with embedded.open(url="memory://", programs=PROGRAMS) as system:
        manage = TrioManagement.embedded(system)

        async def act() -> None:
            await manage.start(WAIT, instance_id="w")
            await paper.wait_for(r"w  (pending|running)\n")
            await manage.signal("w", "word", b"go")
            await paper.wait_for(r"w  \w+ → completed\n")
            await manage.start("/programs/fail.py", instance_id="f")
            await paper.wait_for(r"f  .*failed \(application-error\)\n")

        await beside(watching(system, Console(file=paper)).run, act)

    assert all(re.match(r"[0-9-]{10} [0-9:.]{12}Z  \w", line) for line in paper.getvalue().splitlines())


async def test_on_a_terminal_it_is_a_picture_that_is_wiped_away() -> None:
    paper = Paper()
    console = Console(file=paper, force_terminal=True, width=100, height=20)
    async with embedded.open(url="memory://", programs=PROGRAMS) as system:
        manage = TrioManagement.embedded(system)

        async def act() -> None:
            await paper.wait_for("q ends")
            await manage.start(WAIT, instance_id="w")
            await paper.wait_for(r"w .*running")
            await manage.cancel("w", grace=0)
            await paper.wait_for(r"w .*cancelled")
            await paper.wait_for(r"cancelled \x1b\[0m1 ")

        await beside(watching(system, console).run, act)

    assert "\x1b[?1049h" in paper.getvalue(), "it has a screen of its own"
    assert paper.getvalue().rstrip().endswith(("\x1b[?1049l", "\x1b[?25h"))


class Overtaken:
    """A door whose answers are late: a list comes when the instance in it has ended, as was told before."""

    def __init__(self, system: AsyncEmbedded) -> None:
        self._door = system.open_door("cli", "default")
        self._program = system.open_door("i", "default")
        door: Any = self  # all that is used of one
        self.paper = Paper()
        self.watch = Watch(door, InstanceFilter(), Console(file=self.paper))
        self.session = self._door.session

    def beside(self, instance_id: str, *, watch: bool = False) -> EmbeddedDoor:
        return self._door.beside(instance_id, watch=watch)

    async def call(self, command: Request[R], *, timeout: float | None = None) -> R:
        reply = await self._door.call(command, timeout=timeout)
        if isinstance(command, ListInstances) and "i" in self.watch._board and self._program.session.status is None:
            await self._program.call(CompleteInstance(output=b""))
            self.watch._hear(summary_of(await self._program.call(GetStatus())))
        return reply


async def test_an_instance_that_ends_while_it_is_looked_does_not_seem_to_go_on() -> None:
    async with embedded.open(url="memory://") as system:
        door = Overtaken(system)
        await door._program.call(RegisterInstance(attempt_id="a"))

        await door.watch._look()
        await door.watch._look()
        await door.watch._look()

    lines = door.paper.getvalue().splitlines()
    assert [line.partition("  ")[2] for line in lines] == ["i  running", "i  running → completed"]


async def test_only_what_is_wanted_is_shown() -> None:
    paper = Paper()
    async with embedded.open(url="memory://", programs=PROGRAMS) as system:
        manage = TrioManagement.embedded(system)
        await manage.start(WAIT, instance_id="other")

        async def act() -> None:
            await manage.start(WAIT, instance_id="order-1")
            await paper.wait_for("order-1")

        await beside(watching(system, Console(file=paper), InstanceFilter(prefix="order-")).run, act)

    assert "other" not in paper.getvalue()


async def test_where_a_stream_tells_of_changes_nobody_looks_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOOK_EVERY", "RECHECK"):
        monkeypatch.setattr(f"runtara.cli._watch.{name}", 3_600.0)
    paper = Paper()
    async with opened(tmp_path, http_tls=False) as host:
        url = host.http_address.replace("http", "ws", 1)
        live = LiveSpec(server=ServerSpec(address=url), address=parse_address(url), tenant_id="default")
        door = Doors(host.runtime).open_beside(InstanceKey("default", "cli"))
        watch = Watch(door, InstanceFilter(), Console(file=paper), partial(follow_instances, live))

        async def act() -> None:
            for number in range(3):
                key = InstanceKey("default", f"i{number}")
                await host.runtime.dispatch.call(key, RegisterInstance(attempt_id="a"))
                await paper.wait_for(f"i{number}  running\n")
                await host.runtime.dispatch.call(key, CompleteInstance(output=b""), 1)
                await paper.wait_for(f"i{number}  running → completed\n")

        await beside(watch.run, act)

    assert watch._watched == set()


@pytest.mark.parametrize("refusal", [Forbidden("not for you"), Unreachable("not now")])
async def test_where_the_stream_is_not_to_be_had_it_is_looked_as_elsewhere(refusal: Exception) -> None:
    paper = Paper()

    async def follow(_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise refusal

    async with embedded.open(url="memory://", programs=PROGRAMS) as system:
        watch = Watch(system.open_door("cli", "default"), InstanceFilter(), Console(file=paper), follow)

        async def act() -> None:
            await TrioManagement.embedded(system).start(WAIT, instance_id="w")
            await paper.wait_for("w  running|pending → running")

        await beside(watch.run, act)


async def test_a_server_that_is_away_is_waited_for(autojump_clock: MockClock) -> None:
    paper = Paper()

    class Away:
        async def call(self, _: object, *, timeout: float | None = None) -> object:
            await trio.lowlevel.checkpoint()
            raise Draining("it goes down for a while")

    console = Console(file=paper, force_terminal=True, width=100, height=20)
    watch = Watch(Away(), InstanceFilter(), console)  # type: ignore[arg-type]  # all that is used of a door
    await beside(watch.run, lambda: paper.wait_for("it goes down for a while"))

    assert trio.current_time() < SECONDS


def test_a_signal_ends_it_cleanly(tmp_path: Path) -> None:
    with Serving(tmp_path / "data") as server:
        process = popen("watch", "--server", server.address, "--fingerprint", server.identity.fingerprint, cwd=tmp_path)
        server.call("i", RegisterInstance(attempt_id="a"))
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=SECONDS)

    assert b"  i  running" in line
    assert (process.returncode, errors) == (0, b"")


def test_q_ends_it_and_gives_the_terminal_back(tmp_path: Path) -> None:
    with Serving(tmp_path / "data") as server:
        where = ("--server", server.address, "--fingerprint", server.identity.fingerprint)
        screen = Screen("watch", *where, TERM="xterm", COLUMNS="100", LINES="20")
        screen.answer("q ends", "xq")
        code = screen.end()

    assert code == 0, screen.seen
    assert "\x1b[?1049l" in screen.seen
