"""The WebSocket client against the real server."""

from pathlib import Path

import pytest

from runtara.ids import InstanceKey
from runtara.messages import GetHealth, RegisterInstance, SaveCheckpoint
from runtara.transport.client.door import ServerSpec
from runtara.transport.remote import open_remote_door
from tests.transport.websocket.serving import TcpServing


@pytest.mark.parametrize("is_secure", [False, True])
def test_first(tmp_path: Path, is_secure: bool) -> None:
    with TcpServing(tmp_path, scheme="wss" if is_secure else "ws") as server:
        spec = ServerSpec(address=server.address, ca_file=str(server.identity.ca_file))
        door = open_remote_door(spec, InstanceKey("default", "i"))
        print(door.call_from_thread(GetHealth()))
        door.call_from_thread(RegisterInstance(attempt_id="a"))
        import time

        t = time.perf_counter()
        for i in range(200):
            door.call_from_thread(SaveCheckpoint(checkpoint_id=f"c{i}", state=b"x"))
        print(time.perf_counter() - t)
        door.call_from_thread(SaveCheckpoint(checkpoint_id="big", state=bytes(60_000_000)))
        server.kill()
        server.start()
        door.call_from_thread(SaveCheckpoint(checkpoint_id="d", state=b"x"))
        server.drain()
        server.start()
        door.call_from_thread(SaveCheckpoint(checkpoint_id="e", state=b"x"))
        door.close()
        assert not server.failures
