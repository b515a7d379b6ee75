"""Two hosts on one database, in this process: whoever is asked, the answer is the owner's."""

import contextlib
import hashlib
import json
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed

from runtara.actors.places import StopWaking
from runtara.errors import Fenced, InstanceNotFound, NotFound, RuntaraError, Unreachable
from runtara.host import Host, open_host
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status
from runtara.messages import (
    AddKey,
    CompleteInstance,
    GetCheckpoint,
    GetStatus,
    ImageInfo,
    InstanceInfo,
    ListNodes,
    LogRead,
    PollSignals,
    PushImage,
    ReadImage,
    ReadLog,
    RegisterInstance,
    Request,
    RevokeKey,
    SaveCheckpoint,
    SendSignal,
    StartInstance,
    TakeSignal,
    WriteImage,
)
from runtara.settings import Settings
from runtara.system import SCHEDULER
from runtara.threads import ForeignEvent
from runtara.transport.certificates import ensure_certificate
from runtara.transport.client.door import RemoteDoor, ServerSpec
from runtara.transport.remote import open_remote_door
from tests.actors.village import Village, until
from tests.requirements import require
from tests.transport.http.serving import open_websocket

PATIENCE_S = 100.0
QUICK_S = 60.0
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
        "env_http_port": 0,
        "node_name": name,
        "readers": 1,
        "node_lease_ms": 60_000,  # that no machine which stalls for a while loses
        "database_timeout_ms": 60_000,
    }
    with trio.fail_after(PATIENCE_S):
        async with open_host(Settings(**given | settings)) as host:
            yield host


@asynccontextmanager
async def pair(folder: Path, database: str) -> AsyncIterator[tuple[Host, Host]]:
    async with opened(folder, database, "a") as a, opened(folder, database, "b") as b:
        yield a, b


@contextlib.contextmanager
def door_of(*hosts: Host, epoch: int | None = None, instance_id: str = "one") -> Iterator[RemoteDoor]:
    """A client's way to one of these hosts."""
    addresses = ",".join(host.address for host in hosts)
    assert hosts[0].identity.fingerprint == hosts[-1].identity.fingerprint, "nodes share their certificate"
    spec = ServerSpec(address=addresses, fingerprint=hosts[0].identity.fingerprint)
    key = InstanceKey("default", instance_id)
    with contextlib.closing(open_remote_door(spec, key, epoch=epoch)) as door:
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


async def test_a_node_that_shows_another_certificate_is_still_found_by_the_others(
    tmp_path: Path, database: str
) -> None:
    ensure_certificate(tmp_path / "shown")
    files = {"tls_cert_file": str(tmp_path / "shown/cert.pem"), "tls_key_file": str(tmp_path / "shown/key.pem")}

    async with opened(tmp_path, database, "a", **files) as a, opened(tmp_path, database, "b") as b:
        with door_of(a) as at_owner, door_of(b, epoch=1) as elsewhere:
            await at_owner.call(REGISTER)
            shutil.rmtree(tmp_path / "shown")
            ensure_certificate(tmp_path / "shown")
            await a.renew()
            await elsewhere.call(SaveCheckpoint(checkpoint_id="c", state=b"state"))
            await at_owner.call(GetStatus())

        assert forwarded(b) >= 1


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

    def __init__(self, door: RemoteDoor) -> None:
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


# What a program has written -------------------------------------------------------------------------------------------


async def ask(host: Host, command: Request[Any], instance_id: str = "one", tenant_id: str = "default") -> Any:
    return await host.runtime.dispatch.call(InstanceKey(tenant_id, instance_id), command)


def script(folder: Path, text: str) -> str:
    program = folder / "program"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return str(program)


async def ended(host: Host, instance_id: str = "one") -> InstanceInfo:
    """Wait until an instance is finished, as a host sees it."""
    info: InstanceInfo = await until(lambda: ask(host, GetStatus(), instance_id), lambda info: info.status in FINAL)
    return info


async def rest(host: Host) -> None:
    """Have a host launch nothing more, so that others do."""
    await host.runtime.system.ref(SCHEDULER).ask(StopWaking())


async def test_a_log_is_read_and_followed_at_a_node_that_did_not_run_the_program(tmp_path: Path, database: str) -> None:
    go = tmp_path / "go"
    program = script(tmp_path, f"echo one; while [ ! -e {go} ]; do sleep 0.05; done; echo two")
    async with pair(tmp_path, database) as (a, b):
        await rest(b)
        await ask(b, StartInstance(program=program))
        first = await until(lambda: ask(b, ReadLog()), lambda log: log.data == b"one\n")
        found: list[LogRead] = []

        async def follow() -> None:
            found.append(await ask(b, ReadLog(offset=4, wait_ms=20_000, node=first.node)))
            found.append(await ask(b, ReadLog(offset=8, wait_ms=20_000, node=first.node)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await trio.sleep(0.2)
            go.touch()
        at_owner = await ask(a, ReadLog())

    assert [(log.data, log.ended, log.node) for log in (first, *found)] == [
        (b"one\n", False, "a"),
        (b"two\n", False, "a"),
        (b"", True, "a"),
    ]
    assert (at_owner.data, at_owner.node) == (b"one\ntwo\n", "a")


async def test_what_a_program_wrote_at_a_node_that_is_gone_is_refused_with_its_name_until_that_is_back(
    tmp_path: Path, database: str
) -> None:
    async with opened(tmp_path, database, "a") as a:
        await ask(a, StartInstance(program=script(tmp_path, "echo one")))
        await ended(a)
    async with opened(tmp_path, database, "b") as b:
        with pytest.raises(Unreachable, match="kept by node 'a', which does not answer"):
            await ask(b, ReadLog())
        await Village(database).lose("a")
        with pytest.raises(NotFound, match="kept by node 'a', which is gone: start that node again"):
            await ask(b, ReadLog(wait_ms=1_000))
        info = await ended(b)
        async with opened(tmp_path, database, "a"):
            back = await ask(b, ReadLog())

    assert info.status is Status.COMPLETED
    assert (back.data, back.ended) == (b"one\n", False)


async def test_whoever_follows_begins_anew_at_the_node_where_the_program_goes_on(tmp_path: Path, database: str) -> None:
    quick = {"shutdown_grace_ms": 1, "kill_grace_ms": 1_000, "relaunch_after_ms": 1}
    program = script(tmp_path, 'echo "a long first line at $RUNTARA_DATA_DIR"; exec sleep 600')
    async with opened(tmp_path, database, "a", **quick) as a:
        await ask(a, StartInstance(program=program))
        first = await until(lambda: ask(a, ReadLog()), lambda log: log.data)
        async with opened(tmp_path, database, "b", **quick) as b:
            a.hurry()
            await a.drain()
            on = ReadLog(offset=len(first.data), node=first.node, wait_ms=200)
            second = await until(lambda: ask(b, on), lambda log: log.data)
            stays = await ask(b, ReadLog(offset=len(second.data), node=second.node))
            b.hurry()
            await b.drain()

    assert (first.node, second.node, second.offset, second.data) == ("a", "b", 0, first.data)
    assert (stays.data, stays.ended) == (b"", False)


# What was pushed ------------------------------------------------------------------------------------------------------

TEXT = b'#!/bin/sh\necho hello > "$RUNTARA_OUTPUT_FILE"\n# ' + bytes(range(97, 123)) * 100_000


async def push(host: Host, content: bytes = TEXT) -> ImageInfo:
    digest = hashlib.sha256(content).hexdigest()
    command = PushImage(name="hello", kind="executable", digest=digest, size=len(content))
    pushed = await ask(host, command)
    while pushed.offset < len(content):
        part = content[pushed.offset : pushed.offset + 1_000_000]
        await ask(host, WriteImage(digest=digest, offset=pushed.offset, data=part))
        pushed = await ask(host, command)
    assert isinstance(pushed.image, ImageInfo)
    return pushed.image


def is_at(folder: Path, name: str, image: ImageInfo) -> bool:
    """Whether a node has what was pushed in a folder of its own."""
    return (folder / name / "images" / "blobs" / image.digest[:2] / image.digest).is_file()


async def test_what_was_pushed_to_one_node_is_launched_by_another_also_when_the_first_is_gone(
    tmp_path: Path, database: str
) -> None:
    async with opened(tmp_path, database, "b") as b:
        async with opened(tmp_path, database, "a") as a:
            image = await push(a)
            await rest(a)
            await ask(a, StartInstance(program="hello", image=True))
            first = await ended(a)
        fetched = is_at(tmp_path, "b", image)
        await ask(b, StartInstance(program="hello", image=True), "two")
        second = await ended(b, "two")

    assert fetched
    assert [(info.status, info.output) for info in (first, second)] == [(Status.COMPLETED, b"hello\n")] * 2


async def test_an_image_that_no_node_has_is_waited_for(
    tmp_path: Path, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def failures() -> list[str]:
        found = [vars(record).get("error", "") for record in caplog.records if record.message == "not-launched"]
        return [error for error in found if "cannot be fetched from any of the" in error]

    async with opened(tmp_path, database, "a") as a:
        await push(a)
    async with opened(tmp_path, database, "b", relaunch_after_ms=1) as b:
        await ask(b, StartInstance(program="hello", image=True))
        await until(failures)
        waiting = await ask(b, GetStatus())
        async with opened(tmp_path, database, "a") as a:
            await rest(a)
            info = await ended(b)

    assert waiting.status not in FINAL
    assert (info.status, info.output) == (Status.COMPLETED, b"hello\n")


async def test_what_was_pushed_is_read_at_every_node_by_its_tenant_only(tmp_path: Path, database: str) -> None:
    async with pair(tmp_path, database) as (a, b):
        image = await push(a)
        read = await ask(b, ReadImage(image="hello", offset=2, limit=7))
        with pytest.raises(NotFound):
            await ask(b, ReadImage(image=image.image_id), tenant_id="other")
    async with opened(tmp_path, database, "b") as b:
        with pytest.raises(NotFound, match="not on this node, nor on another one"):
            await ask(b, ReadImage(image="hello"))

    assert (read.data, read.size) == (TEXT[2:9], len(TEXT))


async def test_nothing_is_fetched_where_nodes_have_one_folder_of_images(tmp_path: Path, database: str) -> None:
    shared = {"images_dir": str(tmp_path / "images")}
    async with opened(tmp_path, database, "b", **shared) as b:
        async with opened(tmp_path, database, "a", **shared) as a:
            image = await push(a)
        await ask(b, StartInstance(program="hello", image=True))
        info = await ended(b)

    assert (info.status, info.output) == (Status.COMPLETED, b"hello\n")
    assert not is_at(tmp_path, "b", image)


@pytest.mark.parametrize("where", [0, 1], ids=["here", "at another node"])
async def test_who_watches_is_sent_away_when_its_key_is_revoked_at_any_node(
    tmp_path: Path, database: str, where: int
) -> None:
    async with (
        opened(tmp_path, database, "a", require_credentials=True) as a,
        opened(tmp_path, database, "b", require_credentials=True) as b,
    ):
        made = await a.runtime.dispatch.call(KEY, AddKey(role="read-only", request_id="one"))
        url = (a.http_address or "").replace("http", "ws", 1) + "/api/v1/live"
        headers = [(b"authorization", f"Bearer {made.secret}".encode())]
        async with open_websocket(url, extra_headers=headers) as socket:
            await socket.send_message(json.dumps({"type": "watch", "id": 1, "stream": "instances"}))
            assert json.loads(await socket.get_message())["type"] == "watching"

            await (a, b)[where].runtime.dispatch.call(KEY, RevokeKey(key_id=made.key.key_id))
            with trio.fail_after(QUICK_S):
                told = json.loads(await socket.get_message())
                with pytest.raises(ConnectionClosed):
                    await socket.get_message()

            assert (told["type"], told["code"]) == ("refused", "unauthenticated")
            assert socket.closed is not None
            assert socket.closed.code == 1008
