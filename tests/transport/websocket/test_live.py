"""A client that follows the instances of a tenant at a real host."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from runtara.actors.edge import Drain
from runtara.errors import Forbidden, Unauthenticated, Unreachable, UntrustedServer
from runtara.host import HTTP, Host
from runtara.ids import InstanceKey
from runtara.messages import InstanceSummary, RegisterInstance, SaveCheckpoint
from runtara.transport.addresses import parse_address
from runtara.transport.client.door import ServerSpec
from runtara.transport.credentials import KeyRing
from runtara.transport.websocket.live import LiveSpec, follow_instance, follow_instances
from tests.test_host import opened


def spec_of(host: Host, *, credential: str | None = None, fingerprint: str | None = None) -> LiveSpec:
    url = host.http_address.replace("http", "ws", 1)
    server = ServerSpec(address=url, ca_file=str(host.identity.ca_file), fingerprint=fingerprint)
    return LiveSpec(server=server, address=parse_address(url), tenant_id="acme", credential=credential)


class Follower:
    """Notes what is told."""

    def __init__(self) -> None:
        self.told: list[InstanceSummary | None] = []
        self.failures: list[Exception] = []
        self.ended = trio.Event()
        self._more = trio.Event()

    def hear(self, row: InstanceSummary | None) -> None:
        self.told.append(row)
        self._more.set()
        self._more = trio.Event()

    async def until(self, count: int) -> None:
        while len(self.told) < count:
            await self._more.wait()

    async def follow(self, spec: LiveSpec) -> None:
        try:
            await follow_instances(spec, self.hear)
        except Exception as error:  # noqa: BLE001 - it is what a test looks at
            self.failures.append(error)
            self.ended.set()


@asynccontextmanager
async def following(spec: LiveSpec) -> AsyncIterator[Follower]:
    follower = Follower()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follower.follow, spec)
        yield follower
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("secure", [False, True])
async def test_whatever_changes_is_told_and_first_that_all_is_to_be_read(tmp_path: Path, secure: bool) -> None:
    async with opened(tmp_path, http_tls=secure) as host, following(spec_of(host)) as follower:
        await follower.until(1)
        for tenant_id in ("rival", "acme"):
            await host.runtime.dispatch.call(InstanceKey(tenant_id, "one"), RegisterInstance(attempt_id="a"))
        await follower.until(2)

    first, second = follower.told
    assert first is None
    assert second is not None
    assert (second.instance_id, second.status.value) == ("one", "running")


async def test_of_one_instance_it_is_told_that_something_has_happened(tmp_path: Path) -> None:
    sender, receiver = trio.open_memory_channel[None](100)

    async def next_told() -> None:
        with trio.fail_after(60):
            await receiver.receive()
            while True:
                try:
                    receiver.receive_nowait()
                except trio.WouldBlock:
                    return

    async with opened(tmp_path, http_tls=False) as host, trio.open_nursery() as nursery:
        key, call = InstanceKey("acme", "one"), host.runtime.dispatch.call
        await call(key, RegisterInstance(attempt_id="a"))
        nursery.start_soon(follow_instance, spec_of(host), "one", partial(sender.send_nowait, None))
        await next_told()
        for number in range(5):
            await call(key, SaveCheckpoint(checkpoint_id=f"c{number}", state=b"1"), 1)
            await next_told()
        nursery.cancel_scope.cancel()


async def test_what_the_server_refuses_with_is_raised(tmp_path: Path) -> None:
    async with opened(tmp_path, http_tls=False, require_credentials=True) as host:
        pusher = KeyRing(tmp_path / "data" / "keys.json").add("acme", role="image-push")
        for credential, refusal in ((None, Unauthenticated), ("rtk_wrong", Unauthenticated), (pusher, Forbidden)):
            with pytest.raises(refusal):
                await follow_instances(spec_of(host, credential=credential), print)


async def test_another_server_than_the_expected_one_is_told_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, http_tls=True) as host:
        with pytest.raises(UntrustedServer):
            await follow_instances(spec_of(host, fingerprint="ab" * 32), print)


async def test_the_end_of_the_stream_is_said_and_nobody_there_as_well(tmp_path: Path) -> None:
    async with opened(tmp_path, http_tls=False) as host, following(spec_of(host)) as follower:
        await follower.until(1)
        await host.runtime.system.ref(HTTP).ask(Drain())
        await follower.ended.wait()
        spec = spec_of(host)
    with pytest.raises(Unreachable):
        await follow_instances(spec, print)

    assert [type(failure) for failure in follower.failures] == [Unreachable]


def test_no_secret_is_shown() -> None:
    spec = LiveSpec(server=ServerSpec(address="a:1"), address=parse_address("a:1"), tenant_id="t", credential="rtk_x")

    assert "rtk_x" not in repr(spec)
