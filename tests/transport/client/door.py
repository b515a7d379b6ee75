"""What tests of clients do to a server, whatever kind of connection leads there."""

import threading
from typing import Any

import trio

from runtara.messages import RegisterInstance, SaveCheckpoint
from runtara.transport.client.door import RemoteDoor, ServerSpec
from tests.transport.quic.serving import Serving

__all__ = ["A_LONG_TIME", "connections_end", "pushed", "registered", "save", "spec"]

A_LONG_TIME = 60.0


def spec(server: Serving, **options: Any) -> ServerSpec:
    """Say where a server is, and that it may take long to be reached: nothing is wrong with a machine that is busy."""
    given = {"address": server.address, "ca_file": str(server.identity.ca_file)}
    patience = {"connect_timeout": A_LONG_TIME, "request_timeout": A_LONG_TIME}
    return ServerSpec(**given | patience | options)


def registered(door: RemoteDoor, attempt_id: str = "a") -> RemoteDoor:
    door.call_from_thread(RegisterInstance(attempt_id=attempt_id))
    return door


def save(door: RemoteDoor, name: str, state: bytes = b"state", request: int | None = None) -> bool:
    """Save a checkpoint; return whether it was there."""
    return door.call_from_thread(SaveCheckpoint(checkpoint_id=name, state=state, request=request)).found


def pushed(door: RemoteDoor, since: int = 0) -> threading.Event:
    """Return what is set at the first push after the `since`-th."""
    event = threading.Event()
    door.session.on_push(since, event.set)
    return event


def connections_end(server: Serving) -> bool:
    """Wait until the server has no connection; each one that ends wakes its loop."""

    async def ended() -> bool:
        with trio.move_on_after(A_LONG_TIME):
            while server.facts["connections"]:
                await trio.lowlevel.checkpoint()
            return True
        return False

    return bool(trio.from_thread.run(ended, trio_token=server._token))
