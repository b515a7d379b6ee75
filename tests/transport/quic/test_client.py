"""The QUIC client on bad networks. What every client does is tested in tests/transport/client/test_door.py."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtara.errors import DeadlineExceeded
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import (
    CompleteInstance,
    GetCheckpoint,
    GetStatus,
    ListEvents,
    RecordEvent,
    SaveCheckpoint,
)
from runtara.transport.remote import open_remote_door
from tests.transport.client.door import A_LONG_TIME, registered, save, spec
from tests.transport.quic.serving import Serving
from tests.transport.udp_proxy import STORM, UdpProxy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, so that one certificate is made for all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def server(folder: Path) -> Iterator[Serving]:
    with Serving(folder) as running:
        yield running


def test_a_server_that_falls_silent_leaves_the_call_in_doubt(server: Serving) -> None:
    with UdpProxy(server.port) as proxy:
        door = registered(open_remote_door(spec(server, address=proxy.address), InstanceKey("default", "i")))
        proxy.swallow()

        with pytest.raises(DeadlineExceeded, match=r"SaveCheckpoint was sent and not answered within 1 s"):
            door.call_from_thread(SaveCheckpoint(checkpoint_id="c", state=b""), timeout=1)

        proxy.swallow(False)
        assert not save(door, "d")
        door.close()


def session_through(proxy: UdpProxy, server: Serving, name: str, steps: int) -> None:
    """Hold a session through a bad network, and check what came of it at the server itself."""
    key = InstanceKey("default", name)
    door = open_remote_door(spec(server, address=proxy.address), key)
    registered(door)
    states = [os.urandom(10 + 400 * (n % 7)) for n in range(steps)]
    for n, state in enumerate(states):
        assert not save(door, f"c{n}", state, request=2 * n + 1)
        door.call_from_thread(RecordEvent(subtype="step", payload=b"%d" % n, request=2 * n + 2))
    assert not save(door, "large", bytes(100_000), request=2 * steps + 1)
    door.call_from_thread(CompleteInstance(output=b"done"))
    door.close()

    info = server.call(name, GetStatus())
    events = server.call(name, ListEvents(event_type="custom", limit=1000)).events
    assert (info.status, info.output, info.epoch, info.checkpoint_count) == (Status.COMPLETED, b"done", 1, steps + 1)
    assert [event.payload for event in events] == [b"%d" % n for n in range(steps)]
    for n, state in enumerate(states):
        assert server.call(name, GetCheckpoint(checkpoint_id=f"c{n}")).state == state


@pytest.mark.parametrize("seed", range(3))
def test_a_session_through_a_storm_has_right_results(server: Serving, seed: int) -> None:
    with UdpProxy(server.port, STORM, seed) as proxy:
        session_through(proxy, server, "i", steps=3)


def test_a_session_goes_on_when_its_address_changes(server: Serving) -> None:
    with UdpProxy(server.port) as proxy:
        door = registered(open_remote_door(spec(server, address=proxy.address), InstanceKey("default", "i")))
        for n in range(3):
            proxy.rebind()
            assert not save(door, f"c{n}")

        assert server.server.describe()["accepted"] == 1  # the connection itself has moved
        door.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_sessions_through_many_storms_have_right_results(server: Serving, seed: int) -> None:
    failures: list[BaseException] = []

    def hold(proxy: UdpProxy, name: str) -> None:
        try:
            session_through(proxy, server, name, steps=15)
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            failures.append(error)

    with UdpProxy(server.port, STORM, seed) as proxy:
        threads = [threading.Thread(target=hold, args=(proxy, f"i{n}")) for n in range(3)]
        for thread in threads:
            thread.start()
        proxy.swallow()
        for _ in range(20):
            assert proxy.swallowed.acquire(timeout=A_LONG_TIME)
        proxy.swallow(False)
        for thread in threads:
            thread.join()

    assert failures == []
