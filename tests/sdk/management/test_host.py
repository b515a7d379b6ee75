"""Images, schedules and the server managed from Python."""

import asyncio
import io
import random
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from runtara import __version__
from runtara.errors import InvalidInput, NotFound
from runtara.host import Host, open_host
from runtara.lifecycle import Status
from runtara.records import ImageOptions
from runtara.sdk.images import PART_BYTES
from runtara.sdk.management import Management, TrioManagement, new_start
from runtara.sdk.management._async import AsyncioManagement
from runtara.settings import Settings
from tests.requirements import require
from tests.sdk.management.clients import AwaitedClient, Client, Conversation, blocking
from tests.sdk.management.test_instances import SECONDS, listed

if sys.platform != "linux":
    require("linux", "hosts launch processes of Linux")

JOB = b"#!/bin/sh\necho out; echo err >&2; read word; echo $word\n"
LARGE = b"#!/bin/true\n" + random.Random(8).randbytes(4 * PART_BYTES)


# Schedules and the server ---------------------------------------------------------------------------------------------


def test_a_schedule_is_made_changed_and_removed(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        until = datetime(2999, 1, 1, tzinfo=UTC)
        made = await manage.put_schedule("daily", new_start("greet", "Ada"), cron="30 6 * * *", until=until)
        changed = await manage.put_schedule("daily", new_start("greet"), every=timedelta(hours=12), catch_up="one")
        paused = await manage.pause_schedule("daily")
        resumed = await manage.resume_schedule("daily")

        assert (made.plan.cron, made.plan.start.input, made.plan.until) == ("30 6 * * *", b'"Ada"', 32472144000000)
        assert (changed.plan.every_ms, changed.plan.catch_up) == (43_200_000, "one")
        assert (paused.next_at, resumed.next_at is None) == (None, False)
        assert await manage.schedule("daily") == resumed
        assert [row.name for row in await listed(manage.list_schedules(limit=1))] == ["daily"]
        assert [(await manage.delete_schedule("daily")).deleted for _ in range(2)] == [True, False]
        with pytest.raises(NotFound):
            await manage.schedule("daily")

    client.hold(conversation)


def test_the_server_says_how_it_is(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        health, tree = await manage.health(), await manage.tree()

        assert (health.draining, health.version) == (False, __version__)
        assert (tree.path, len(tree.children) > 3) == ("root", True)
        assert await manage.nodes() == ()

    client.hold(conversation)


def test_a_tenant_sees_how_much_it_gets_done(client: Client) -> None:
    async def conversation(manage: Any) -> None:
        await manage.run("greet", instance_id="g", wait=SECONDS)
        created = datetime.fromtimestamp((await manage.status("g")).created_at / 1000, UTC)
        hour = timedelta(hours=1)
        buckets = await manage.tenant_metrics(created - hour, created + hour)

        assert len(buckets) in (2, 3)
        assert sum(bucket.started for bucket in buckets) == sum(bucket.completed for bucket in buckets) == 1

    client.hold(conversation)


# With a host that keeps images and launches processes -----------------------------------------------------------------


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    (tmp_path / "job").write_bytes(JOB)
    (tmp_path / "job").chmod(0o755)
    settings = Settings(
        data_dir=str(tmp_path / "data"), database_url="memory://", quic_port=0, env_http_port=0, programs=str(tmp_path)
    )
    with trio.fail_after(100):
        async with open_host(settings) as opened:
            yield opened


async def hold(face: str, host: Host, conversation: Conversation, **given: str) -> None:
    """Hold a conversation with a client of one face, on a thread of its own unless it runs under trio."""
    where: dict[str, Any] = {"address": host.address, "fingerprint": host.identity.fingerprint} | given
    if face == "trio":
        async with TrioManagement.connect(**where) as client:
            await conversation(client)
        return

    async def under_asyncio() -> None:
        async with AsyncioManagement.connect(**where) as client:
            await conversation(client)

    def on_thread() -> None:
        if face == "asyncio":
            asyncio.run(under_asyncio())
        else:
            with Management.connect(**where) as client:
                blocking(conversation, AwaitedClient(client))

    await trio.to_thread.run_sync(on_thread)


faces = pytest.mark.parametrize("face", ["sync", "trio", "asyncio"])


@faces
async def test_an_image_is_pushed_used_pulled_and_deleted(face: str, host: Host, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(LARGE)

    async def conversation(manage: Any) -> None:
        said = list[tuple[int, int]]()
        options = ImageOptions(max_concurrent=2)
        first = await manage.push_image(
            "report",
            tmp_path / "large",
            metadata={"team": 7},
            options=options,
            progress=lambda sent, size: said.append((sent, size)),
        )
        second = await manage.push_image("report", io.BytesIO(JOB), kind="executable", defaults={"size": 1})
        rolled = await manage.use_image("report@1")

        assert (first.version, first.options, first.metadata, second.version) == (1, options, b'{"team":7}', 2)
        assert [sent for sent, _ in said] == [*range(0, len(LARGE), PART_BYTES), len(LARGE), len(LARGE)]
        assert (rolled.version, (await manage.image("report")).version) == (1, 1)
        assert [row.version for row in await listed(manage.list_image_versions("report", limit=1))] == [2, 1]
        assert [row.name for row in await listed(manage.list_images())] == ["report"]
        assert (await manage.pull_image("report", tmp_path / "back")) == rolled
        assert (tmp_path / "back").read_bytes() == LARGE
        assert (await manage.delete_image("report")).image_id == first.image_id
        with pytest.raises(NotFound):
            await manage.image("report")
        with pytest.raises(InvalidInput, match="say its kind"):
            await manage.push_image("report", io.BytesIO(JOB))

    await hold(face, host, conversation)


@faces
async def test_a_program_of_an_image_is_run_and_its_output_read(face: str, host: Host, tmp_path: Path) -> None:
    async def conversation(manage: Any) -> None:
        await manage.push_image("job", tmp_path / "job")
        ended = await manage.run("job", image=True, instance_id="i", wait=SECONDS)
        await manage.run("job", image=True, instance_id="j", wait=SECONDS)

        assert (ended.status, ended.exit_code) == (Status.COMPLETED, 0)
        assert [row.instance_id for row in await listed(manage.list_instances(image="job", limit=1))] == ["i", "j"]
        assert await listed(manage.list_instances(image="job", status=Status.FAILED)) == []
        with pytest.raises(NotFound):
            await listed(manage.list_instances(image="other"))
        assert (await manage.log("i"), await manage.log("i", "stderr")) == (b"out\n\n", b"err\n")
        assert await manage.log("i", offset=-2) == b"\n\n"
        assert b"".join(await listed(manage.follow_log("i"))) == b"out\n\n"

    await hold(face, host, conversation)


@faces
async def test_what_a_program_writes_is_told_as_it_comes(face: str, host: Host, tmp_path: Path) -> None:
    script = tmp_path / "talk"
    script.write_text("#!/bin/sh\necho begun\ntail -f /dev/null\n")
    script.chmod(0o755)

    async def conversation(manage: Any) -> None:
        await manage.start(str(script), instance_id="t")
        seen = b""
        async for piece in manage.follow_log("t"):
            seen += piece
            await manage.cancel("t", grace=0)

        assert seen == b"begun\n"
        assert (await manage.status("t")).status is Status.CANCELLED

    await hold(face, host, conversation)


@faces
async def test_a_chore_is_done_at_once(face: str, host: Host) -> None:
    async def conversation(manage: Any) -> None:
        dry = await manage.run_chore("images", dry_run=True)
        done = await manage.run_chore("images")

        assert (dry.dry_run, dry.removed, done.dry_run, done.chore) == (True, 0, False, "images")

    await hold(face, host, conversation)


@faces
async def test_keys_are_made_rotated_and_revoked(face: str, host: Host) -> None:
    async def conversation(manage: Any) -> None:
        made = await manage.add_key("read-only", expires_at=datetime(2999, 1, 1, tzinfo=UTC))
        rotated = await manage.rotate_key(made.key.key_id, grace=60)
        ids = [key.key_id for key in await manage.keys()]

        assert (made.key.role, rotated.key.role) == ("read-only", "read-only")
        assert made.secret != rotated.secret
        assert {made.key.key_id, rotated.key.key_id} <= set(ids)
        assert [(await manage.revoke_key(rotated.key.key_id)).revoked for _ in range(2)] == [True, False]

    await hold(face, host, conversation)


async def test_a_push_that_is_cancelled_goes_on_where_it_was(host: Host, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(LARGE)
    sent = list[int]()
    scope = trio.CancelScope()

    def progress(count: int, _size: int) -> None:
        sent.append(count)
        if len(sent) == 3:
            scope.cancel()

    async with TrioManagement.connect(host.address, fingerprint=host.identity.fingerprint) as manage:
        push = partial(manage.push_image, "report", tmp_path / "large", progress=progress)
        with scope:
            await push()
        pushed = await push()

    assert scope.cancelled_caught
    assert sent[:3] == [0, PART_BYTES, 2 * PART_BYTES]
    assert sent[3] in (2 * PART_BYTES, 3 * PART_BYTES)
    assert pushed.size == len(LARGE)


@pytest.mark.parametrize("scheme", ["ws", "http"])
@faces
async def test_every_door_of_a_host_leads_to_the_same(face: str, scheme: str, host: Host, tmp_path: Path) -> None:
    async def conversation(manage: Any) -> None:
        pushed = await manage.push_image("job", tmp_path / "job")
        ended = await manage.run("job", image=True, instance_id="i", wait=SECONDS)
        await manage.pull_image("job", tmp_path / "back")

        assert (pushed.version, ended.status) == (1, Status.COMPLETED)
        assert (tmp_path / "back").read_bytes() == JOB
        assert await manage.log("i") == b"out\n\n"
        assert [row.instance_id for row in await listed(manage.list_instances(image="job", order="-created"))] == ["i"]
        assert [event.type for event in await listed(manage.follow_events("i"))][-1] == "usage"
        assert (await manage.tree()).path == "root"
        with pytest.raises(NotFound):
            await manage.image("other")

    address = host.http_address.replace("http", scheme, 1)
    await hold(face, host, conversation, address=address)
