"""Two hosts on one database, in this process: whoever is asked, the answer is the owner's."""

import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any

import pytest
import trio

from runtara.errors import Fenced, InstanceNotFound, RuntaraError
from runtara.host import Host, open_host
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status
from runtara.messages import (
    CompleteInstance,
    GetCheckpoint,
    GetStatus,
    ListNodes,
    PollSignals,
    RegisterInstance,
    Request,
    SaveCheckpoint,
    SendSignal,
    StartInstance,
    TakeSignal,
)
from runtara.settings import Settings
from runtara.threads import ForeignEvent
from runtara.transport.quic.client import QuicDoor, ServerSpec, open_quic_door
from tests.actors.village import Village, until
from tests.requirements import require

PATIENCE_S = 30.0
QUICK_S = 5.0
"""Far less than the time after which anybody would look without being told."""

KEY = InstanceKey("default", "one")
REGISTER = RegisterInstance(attempt_id="a")

if sys.platform != "linux":
    require("linux", "programs are launched as processes of Linux")


@asynccontextmanager
async def opened(folder: Path, database: str, name: str, **settings: Any) -> AsyncIterator[Host]:
    """Run a host for the length of the block."""
    given: dict[str, Any] = {
        "database_url": database,
        "data_dir": str(folder / name),
        "programs": str(folder),
        "quic_port": 0,
        "node_name": name,
        "readers": 1,
    }
    with trio.fail_after(PATIENCE_S):
        async with open_host(Settings(**given | settings)) as host:
            yield host


@asynccontextmanager
async def pair(folder: Path, database: str) -> AsyncIterator[tuple[Host, Host]]:
    async with opened(folder, database, "a") as a, opened(folder, database, "b") as b:
        yield a, b


@contextlib.contextmanager
def door_of(*hosts: Host, epoch: int | None = None, instance_id: str = "one") -> Iterator[QuicDoor]:
    """A client's way to one of these hosts."""
    addresses = ",".join(host.address for host in hosts)
    assert hosts[0].identity.fingerprint == hosts[-1].identity.fingerprint, "nodes share their certificate"
    spec = ServerSpec(address=addresses, fingerprint=hosts[0].identity.fingerprint)
    key = InstanceKey("default", instance_id)
    with contextlib.closing(open_quic_door(spec, key, epoch=epoch)) as door:
        yield door


def forwarded(host: Host) -> int:
    """How many calls the host has had answered by others."""
    info = host.runtime.system.inspect()
    for name in ("instances", "forwarder"):
        info = next(child for child in info.children if child.name == name)
    return int(info.facts["passed_on"])


async def test_every_answer_is_the_same_at_the_node_that_does_not_own_the_instance(
    tmp_path: Path, database: str
) -> None:
    async with pair(tmp_path, database) as (a, b):
        with door_of(a) as at_owner, door_of(b, epoch=1) as elsewhere:
            registered = await at_owner.call(REGISTER)
            saved = await elsewhere.call(SaveCheckpoint(checkpoint_id="c", state=b"\0state"))
            signal = SendSignal(kind="custom", name="go", signal_id="s", payload=b"now")
            await elsewhere.call(signal)
            questions: list[Request[Any]] = [GetStatus(), GetCheckpoint(checkpoint_id="c"), PollSignals()]
            answers = [[await door.call(question) for question in questions] for door in (at_owner, elsewhere)]
            again = await elsewhere.call(REGISTER)
            await elsewhere.call(CompleteInstance(output=b"done"))
            ends = [await door.call(GetStatus()) for door in (at_owner, elsewhere)]

        assert forwarded(a) == 0
        assert forwarded(b) >= 6

    assert answers[0] == answers[1]
    assert answers[0][0].checkpoint_id == "c"
    assert saved is not None
    assert again.epoch == registered.epoch == 1
    assert again.token
    assert ends[0] == ends[1]
    assert (ends[0].status, ends[0].output) == (Status.COMPLETED, b"done")


async def test_refusals_are_the_same_at_every_node(tmp_path: Path, database: str) -> None:
    async with pair(tmp_path, database) as (a, b):
        with door_of(a) as at_owner:
            await at_owner.call(REGISTER)
        for host in (a, b):
            with door_of(host, epoch=7) as older, pytest.raises(Fenced):
                await older.call(SaveCheckpoint(checkpoint_id="c", state=b"1"))
            with door_of(host, instance_id="unknown") as door, pytest.raises(InstanceNotFound):
                await door.call(GetStatus())


class Ear:
    """Asks a question whenever something is said to have happened, and at no other time."""

    def __init__(self, door: QuicDoor) -> None:
        self._door = door
        self._heard = ForeignEvent()
        door.session.pushed = self._pushed  # type: ignore[method-assign]  # the test listens in its place

    def _pushed(self, _signal: object) -> None:
        self._heard.set()

    async def follow(self, question: Any, wanted: Callable[[Any], bool]) -> Any:
        while True:
            self._heard = ForeignEvent()
            answer = await self._door.call(question)
            if wanted(answer):
                return answer
            await self._heard.wait(inf)


async def test_a_program_that_waits_at_one_node_is_pushed_to_when_another_node_is_told(
    tmp_path: Path, database: str
) -> None:
    wait = TakeSignal(name="go", place="here", timeout_ms=600_000)
    async with pair(tmp_path, database) as (a, b):
        with door_of(a) as owner, door_of(b, epoch=1) as program:
            await owner.call(REGISTER)
            ear = Ear(program)
            await program.call(wait)
            with trio.fail_after(QUICK_S):
                async with trio.open_nursery() as nursery:
                    signal = SendSignal(kind="custom", name="go", signal_id="s", payload=b"now")
                    nursery.start_soon(owner.call, signal)
                    found = await ear.follow(wait, lambda found: found.signal is not None)

    assert found.signal.payload == b"now"


async def test_who_watches_at_one_node_sees_at_once_what_is_completed_at_another(tmp_path: Path, database: str) -> None:
    async with pair(tmp_path, database) as (a, b):
        with door_of(a) as owner, door_of(b, instance_id="somebody") as manager:
            await owner.call(REGISTER)
            watched = manager.beside("one", watch=True)
            ear = Ear(watched)
            with trio.fail_after(QUICK_S):
                before = await watched.call(GetStatus())
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(owner.call, CompleteInstance(output=b"done"))
                    after = await ear.follow(GetStatus(), lambda info: info.status in FINAL)
            watched.close()

    assert (before.status, after.status) == (Status.RUNNING, Status.COMPLETED)


async def test_a_client_of_two_nodes_goes_on_with_the_other_when_one_ends(tmp_path: Path, database: str) -> None:
    async with opened(tmp_path, database, "b") as b:
        async with opened(tmp_path, database, "a") as a:
            door = contextlib.ExitStack()
            client = door.enter_context(door_of(a, b))
            await client.call(REGISTER)
            await a.drain()
        with door:
            for number in range(5):
                await client.call(SaveCheckpoint(checkpoint_id=f"c{number}", state=b"1"), timeout=20)
            info = await client.call(GetStatus())

    assert info.checkpoint_count == 5


async def test_a_program_is_launched_by_one_of_the_nodes_and_answered_by_all(tmp_path: Path, database: str) -> None:
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\ncat "$RUNTARA_INPUT_FILE" > "$RUNTARA_OUTPUT_FILE"\n')
    program.chmod(0o755)
    async with pair(tmp_path, database) as (a, b):
        for number, host in enumerate((a, b, a, b)):
            key = InstanceKey("default", f"i{number}")
            await host.runtime.dispatch.call(key, StartInstance(program=str(program), input=b"%d" % number))
        found = [
            await until(
                lambda: host.runtime.dispatch.call(key, GetStatus()),  # noqa: B023 - called at once
                lambda info: info.status in FINAL,
            )
            for number in range(4)
            for key in [InstanceKey("default", f"i{number}")]
            for host in (a, b)
        ]

    assert [info.status for info in found] == [Status.COMPLETED] * 8
    assert [info.output for info in found] == [b"%d" % (number // 2) for number in range(8)]


async def test_a_host_that_is_declared_lost_is_soon_there_again_behind_the_same_door(
    tmp_path: Path, database: str
) -> None:
    async with pair(tmp_path, database) as (a, b):
        with door_of(a) as door, door_of(b) as other:
            await door.call(REGISTER)
            await Village(database).lose("a")
            await until(lambda: other.call(GetStatus()))

            with contextlib.suppress(RuntaraError):
                await door.call(SaveCheckpoint(checkpoint_id="c", state=b"1"), timeout=1)
            again = await until(lambda: door.call(GetStatus(), timeout=10))
            nodes = (await door.call(ListNodes(), timeout=10)).nodes

    assert again.status is Status.RUNNING
    assert sorted((node.name, node.lost_at is None) for node in nodes) == [("a", False), ("a", True), ("b", True)]
