"""Images pushed and pulled: over both doors, and over everything that may interrupt that."""

import hashlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from runtara.errors import Busy, InvalidInput, NotFound, Unreachable
from runtara.host import open_host
from runtara.ids import InstanceKey
from runtara.images.pack import pack_folder
from runtara.messages import GetImage, ImageInfo, ImageRead, PushImage, ReadImage, WriteImage
from runtara.records import ImageOptions
from runtara.sdk._doors import Doors
from runtara.sdk.config import SdkConfig
from runtara.sdk.images import PART_BYTES, pull_image, push_image
from runtara.settings import Settings
from runtara.transport.door import Door
from tests.cli.terminal import Server
from tests.house.source import ROOT
from tests.requirements import require

if sys.platform != "linux":
    require("linux", "hosts launch processes of Linux")

SCRIPT = b"#!/bin/sh\necho hello\n"
LARGE = b"#!" + random.Random(8).randbytes(4 * PART_BYTES)


class Client:
    """Pushes and pulls in threads of a trio test."""

    def __init__(self, door: Door) -> None:
        self.door = door

    async def push(self, path: Path, name: str = "report", **more: Any) -> ImageInfo:
        return await trio.to_thread.run_sync(lambda: push_image(self.door, name, path, **more))

    async def pull(self, named: str, path: Path) -> ImageInfo:
        return await trio.to_thread.run_sync(pull_image, self.door, named, path)


@pytest.fixture(params=["embedded", "quic"])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Client]:
    settings = Settings(data_dir=str(tmp_path / "data"), database_url="memory://", quic_port=0, env_http_port=0)
    with trio.fail_after(100):
        async with open_host(settings) as host:
            if request.param == "embedded":
                yield Client(Doors(host.runtime).open(InstanceKey("default", "cli")))
                return
            config = SdkConfig(
                instance_id="cli", server_addr=host.address, server_fingerprint=host.identity.fingerprint
            )
            door = config.open_door()
            yield Client(door)
            await trio.to_thread.run_sync(door.close)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


async def test_a_file_is_pushed_and_pulled_as_it_was(client: Client, tmp_path: Path) -> None:
    options, said = ImageOptions(command=("x",), cpus=1.5), list[tuple[int, int]]()

    pushed = await client.push(
        written(tmp_path / "job", LARGE),
        description="a job",
        metadata={"team": 7},
        defaults={"size": 1},
        options=options,
        progress=lambda sent, size: said.append((sent, size)),
    )
    pulled = await client.pull("report@1", tmp_path / "back")

    assert pulled == pushed
    assert (tmp_path / "back").read_bytes() == LARGE
    assert (pushed.kind, pushed.size, pushed.options) == ("executable", len(LARGE), options)
    assert (pushed.description, pushed.metadata, pushed.defaults) == ("a job", b'{"team":7}', b'{"size":1}')
    assert [sent for sent, _ in said] == [*range(0, len(LARGE), PART_BYTES), len(LARGE), len(LARGE)]
    assert {size for _, size in said} == {len(LARGE)}


async def test_the_same_again_sends_nothing(client: Client, tmp_path: Path) -> None:
    path, said = written(tmp_path / "job", LARGE), list[int]()
    first = await client.push(path)

    again = await client.push(path, progress=lambda sent, _: said.append(sent))

    assert (again, said) == (first, [len(LARGE)])


async def test_a_folder_is_pushed_as_one_file(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    written(folder / "main.py", b"print()\n")

    pushed = await client.push(folder)
    again = await client.push(folder)

    assert (pushed.kind, again) == ("folder", pushed)
    await client.pull("report", tmp_path / "back")
    with (tmp_path / "packed").open("wb") as file:
        pack_folder(folder, file)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "packed").read_bytes()


async def test_what_cannot_be_pushed_is_refused_by_its_name(client: Client, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    for path, more, said in (
        (tmp_path / "missing", {}, "missing cannot be read: No such file"),
        (tmp_path / "missing.py", {}, r"missing\.py cannot be read: No such file"),
        (written(tmp_path / "text", b"hello"), {}, "text is no folder, script"),
        (tmp_path / "project", {"kind": "oci"}, "project is a folder, and cannot be pushed as oci"),
        (written(tmp_path / "job", SCRIPT), {"kind": "wasm"}, "no image of the kind wasm"),
        (tmp_path / "job", {"name": "a b"}, "image 'a b' is not allowed"),
        (tmp_path / "job", {"options": ImageOptions(pids=0)}, "pids 0"),
    ):
        with pytest.raises(InvalidInput, match=said):
            await client.push(path, **{"name": "report"} | more)


async def test_a_file_that_exists_is_not_written_over(client: Client, tmp_path: Path) -> None:
    await client.push(written(tmp_path / "job", SCRIPT))
    there = written(tmp_path / "there", b"precious")
    (tmp_path / "link").symlink_to("nowhere")

    for path in (there, tmp_path / "link", tmp_path):
        with pytest.raises(InvalidInput, match="cannot be written"):
            await client.pull("report", path)
    with pytest.raises(InvalidInput, match="cannot be written: No such file"):
        await client.pull("report", tmp_path / "missing" / "back")
    with pytest.raises(NotFound, match="there is no image 'missing'"):
        await client.pull("missing", tmp_path / "back")

    assert there.read_bytes() == b"precious"
    assert not (tmp_path / "back").exists()


class Meddling:
    """A door that does something before each command that goes through it, and may change what comes back."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.before: Callable[[Any], None] = lambda command: None
        self.after: Callable[[Any], Any] = lambda reply: reply

    def call_from_thread(self, command: Any, *, timeout: float | None = None) -> Any:
        self.before(command)
        return self.after(self.door.call_from_thread(command, timeout=timeout))


def meddled(client: Client) -> tuple[Client, Meddling]:
    door = Meddling(client.door)
    return Client(door), door  # type: ignore[arg-type]  # pushes and pulls use no more of a door


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (LARGE[:100], "has become shorter meanwhile: push it again"),
        (LARGE + b"more", None),
        (LARGE[:-1] + b"?", "has the digest .* hash the file again"),
        (b"", "has become shorter meanwhile"),
    ],
    ids=["shorter", "longer", "other", "empty"],
)
async def test_a_file_that_changes_meanwhile_is_never_pushed_as_what_it_was_not(
    changed: bytes, said: str | None, client: Client, tmp_path: Path
) -> None:
    path = written(tmp_path / "job", LARGE)
    meddling, door = meddled(client)

    def change(command: Any) -> None:
        if isinstance(command, WriteImage) and command.offset == PART_BYTES:
            path.write_bytes(changed)

    door.before = change
    if said is None:
        assert (await meddling.push(path)).digest == hashlib.sha256(LARGE).hexdigest()
    else:
        with pytest.raises(InvalidInput, match=said):
            await meddling.push(path)
        with pytest.raises(NotFound):
            await client.pull("report", tmp_path / "back")

    door.before = lambda command: None
    assert (await client.push(written(path, LARGE))).version == 1


async def test_a_push_that_was_interrupted_sends_only_what_is_missing(client: Client, tmp_path: Path) -> None:
    path, sent = written(tmp_path / "job", LARGE), list[int]()
    meddling, door = meddled(client)

    def interrupt(command: Any) -> None:
        if isinstance(command, WriteImage):
            sent.append(command.offset)
            if len(sent) == 3:
                raise Unreachable("the cable was pulled")

    door.before = interrupt
    with pytest.raises(Unreachable):
        await meddling.push(path)
    await meddling.push(path)
    await client.pull("report", tmp_path / "back")

    assert sent == [0, PART_BYTES, 2 * PART_BYTES, *range(2 * PART_BYTES, len(LARGE), PART_BYTES)]
    assert (tmp_path / "back").read_bytes() == LARGE


async def test_a_pull_that_fails_leaves_nothing_and_can_be_repeated(client: Client, tmp_path: Path) -> None:
    await client.push(written(tmp_path / "job", LARGE))
    meddling, door = meddled(client)
    home, failing = tmp_path / "home", [True]
    home.mkdir()

    def interrupt(command: Any) -> None:
        if isinstance(command, ReadImage) and command.offset and failing:
            raise Unreachable(f"the cable was pulled {failing.pop()}")

    door.before = interrupt
    with pytest.raises(Unreachable):
        await meddling.pull("report", home / "back")
    assert list(home.iterdir()) == []

    await meddling.pull("report", home / "back")

    assert (home / "back").read_bytes() == LARGE
    assert [path.name for path in home.iterdir()] == ["back"]


async def test_what_comes_garbled_or_ends_early_is_not_kept(client: Client, tmp_path: Path) -> None:
    await client.push(written(tmp_path / "job", LARGE))
    meddling, door = meddled(client)
    home = tmp_path / "home"
    home.mkdir()

    def garble(times: int, reply: Any) -> Any:
        return replace(reply, data=bytes(len(reply.data)) * times) if isinstance(reply, ImageRead) else reply

    for times in (1, 0):
        door.after = partial(garble, times)
        with pytest.raises(Busy, match="is not what was pushed: pull it again"):
            await meddling.pull("report", home / "back")

    assert list(home.iterdir()) == []


# Killed ---------------------------------------------------------------------------------------------------------------


def pushing(server: Server, path: Path, log: Path) -> "subprocess.Popen[bytes]":
    """Push from a process of its own that stops in the middle."""
    code = (
        "import os, signal, sys; from runtara.cli._reach import Where, open_door\n"
        "from runtara.sdk.images import push_image\n"
        "stopped = []\n"
        "def progress(sent, size):\n"
        f"    if sent >= {2 * PART_BYTES} and not stopped:\n"
        "        stopped.append(print(sent, flush=True)); os.kill(os.getpid(), signal.SIGSTOP)\n"
        "push_image(open_door(Where(data_dir=sys.argv[1])), 'report', sys.argv[2], progress=progress)\n"
    )
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(server.folder / ".data"), str(path)],
            env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    assert process.stdout is not None
    assert process.stdout.readline() == b"%d\n" % (2 * PART_BYTES), log.read_text()
    os.waitpid(process.pid, os.WUNTRACED)  # until it has stopped
    return process


def killed(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def offset_of(server: Server, content: bytes) -> int:
    from runtara.cli._reach import Where, open_door

    door = open_door(Where(data_dir=str(server.folder / ".data")))
    try:
        digest = hashlib.sha256(content).hexdigest()
        return door.call_from_thread(
            PushImage(name="report", kind="executable", digest=digest, size=len(content))
        ).offset
    finally:
        door.close()


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["pusher", "both"])
def test_a_push_of_which_somebody_was_killed_is_completed_by_the_same_push(victim: str, tmp_path: Path) -> None:
    server, path = Server(tmp_path), written(tmp_path / "job", LARGE)
    pusher = pushing(server, path, tmp_path / "log")

    killed(pusher)
    if victim != "pusher":
        server.stop(signal.SIGKILL)
        server = Server(tmp_path)
    try:
        arrived = offset_of(server, LARGE)
        done = server("image", "push", "report", str(path))
        pulled = server("image", "pull", "report", str(tmp_path / "back"))
    finally:
        code, log = server.stop()

    assert 2 * PART_BYTES <= arrived < len(LARGE)
    assert (done.exit_code, done.stdout) == (0, "report@1\n"), done.stderr
    assert (pulled.exit_code, code) == (0, 0), log
    assert (tmp_path / "back").read_bytes() == LARGE


@pytest.mark.slow
def test_a_push_outlives_its_server(tmp_path: Path) -> None:
    server, path = Server(tmp_path), written(tmp_path / "job", LARGE)
    pusher = pushing(server, path, tmp_path / "log")

    server.stop(signal.SIGKILL)
    server = Server(tmp_path)
    try:
        pusher.send_signal(signal.SIGCONT)
        assert pusher.wait(100) == 0, (tmp_path / "log").read_text()
        pulled = server("image", "pull", "report", str(tmp_path / "back"))
    finally:
        killed(pusher)
        server.stop()

    assert pulled.exit_code == 0, pulled.stderr
    assert (tmp_path / "back").read_bytes() == LARGE


async def test_an_image_is_only_there_when_all_of_it_is(client: Client, tmp_path: Path) -> None:
    meddling, door = meddled(client)
    seen: list[str] = []

    def look(command: Any) -> None:
        if isinstance(command, WriteImage):
            with pytest.raises(NotFound):
                client.door.call_from_thread(GetImage(image="report"))
            seen.append("nothing")

    door.before = look

    await meddling.push(written(tmp_path / "job", SCRIPT))

    assert seen == ["nothing"]
