import socket as sockets
from pathlib import Path
from typing import Any

import pytest
import trio
from aioquic.quic.packet import QuicErrorCode

from runtara.errors import ConfigError, Internal, Unreachable
from runtara.messages import GetCheckpoint, GetHealth, GetStatus
from runtara.settings import Settings
from runtara.transport.close_codes import GOING_AWAY, TOO_SLOW, UNAUTHENTICATED
from runtara.transport.frames import Goodbye, Refusal, Welcome, encode_frame
from runtara.transport.quic._guard import GuardedConnection
from runtara.transport.quic.protocol import (
    Disconnected,
)
from runtara.transport.quic.server import open_socket, self_test
from tests.transport.quic.door import Door, open_door
from tests.transport.quic.fray import server_tls


async def test_a_checkpoint_is_saved_and_found_again(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door, door.client() as client:
        await client.register()
        saved = await client.save("a", b"one")
        found = await client.ask(GetCheckpoint(checkpoint_id="a"))

    assert not saved.found
    assert found.state == b"one"


async def test_every_call_may_have_a_stream_of_its_own(tmp_path: Path) -> None:
    async with open_door(tmp_path, quic_max_bi_streams=4) as door, door.client() as client:
        await client.register()
        for number in range(20):
            await client.ask(GetStatus(), client.wire.open_stream(), ended=True)
            await client.until(lambda number=number: 4 * (number + 1) in client.ended)

    assert len(client.ended) == 20


async def test_large_frames_go_both_ways(tmp_path: Path) -> None:
    state = bytes(range(256)) * 8192
    async with open_door(tmp_path, quic_frames_max_bytes=3_000_000) as door, door.client() as client:
        await client.register()
        await client.save("large", state)
        found = await client.ask(GetCheckpoint(checkpoint_id="large"))
        facts = door.server.describe()

    assert found.state == state
    assert facts["frame_bytes"] == 0


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
async def test_host_names_and_both_kinds_of_addresses_are_listened_at(tmp_path: Path, host: str) -> None:
    async with open_door(tmp_path, host=host) as door, door.client() as client:
        await client.register()

        assert door.address[1] != 0


async def test_all_addresses_of_ipv6_are_those_of_ipv4_too(tmp_path: Path) -> None:
    async with open_door(tmp_path, host="::") as door:
        door.address = ("127.0.0.1", door.address[1])
        async with door.client() as client:
            await client.register()


async def test_an_address_of_another_machine_cannot_be_listened_at(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not an address"):
        await open_socket(Settings(host="256.256.256.256"))


async def test_a_port_that_is_taken_is_named() -> None:
    with sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))

        with pytest.raises(Unreachable, match=f"UDP port {taken.getsockname()[1]}"):
            await open_socket(Settings(quic_port=taken.getsockname()[1]))


async def test_a_client_without_the_credential_that_is_asked_for_is_told_so(tmp_path: Path) -> None:
    async with open_door(tmp_path, require_credentials=True) as door, door.client() as client:
        answer = await client.greet()
        await client.until(lambda: client.over)

    assert isinstance(answer, Refusal)
    assert answer.code == "unauthenticated"
    assert client.over is not None
    assert client.over.code == UNAUTHENTICATED


async def test_who_is_idle_when_its_key_is_revoked_is_told_why_and_sent_away(tmp_path: Path) -> None:
    async with (
        open_door(tmp_path, require_credentials=True) as door,
        door.client() as client,
        door.client("two") as other,
    ):
        key = door.keys.add("default")
        assert isinstance(await client.greet(credential=key), Welcome)
        assert isinstance(await other.greet(credential=door.keys.add("default")), Welcome)

        door.keys.revoke(door.keys.check(key).key_id)
        await client.until(lambda: client.over)
        health = await other.ask(GetHealth())

    last = client.frames[-1][1]
    assert isinstance(last, Refusal)
    assert (last.id, last.code) == (0, "unauthenticated")
    assert client.over is not None
    assert (client.over.code, client.over.reason) == (UNAUTHENTICATED, last.message)
    assert not isinstance(health, Refusal)
    assert other.over is None


async def test_who_does_not_greet_is_sent_away(tmp_path: Path) -> None:
    async with open_door(tmp_path, quic_handshake_timeout_ms=50) as door, door.client() as client:
        await client.until(lambda: client.over)
        facts = door.server.describe()

    assert client.over is not None
    # Whoever is not even through with the handshake is told no code of ours (RFC 9000, 10.2.3).
    assert client.over.code in (TOO_SLOW, QuicErrorCode.APPLICATION_ERROR)
    assert facts["connections"] == 0


async def test_a_farewell_is_said_before_the_door_closes(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door, door.client() as client:
        await client.register()
        with trio.fail_after(60):
            await door.server.drain(1500)
        await client.until(lambda: client.over)
        async with door.client() as late:
            refused = late.over

    assert client.frames[-1] == (0, Goodbye(retry_after_ms=1500))
    assert client.over == Disconnected(GOING_AWAY, "the server is going down")
    assert refused is not None


async def test_a_drain_without_clients_is_over_at_once(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        with trio.fail_after(60):
            await door.server.drain()


async def test_a_server_that_is_stopped_tells_its_clients(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door, door.client() as client:
        await client.register()
        door.stop.cancel()
        await client.until(lambda: client.over)

    assert client.over == Disconnected(GOING_AWAY, "the server is going down")


async def test_a_bug_in_one_connection_is_shown_and_ends_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_door(tmp_path) as door, door.client("one") as one, door.client("two") as two:
        await one.register()
        await two.register()
        links: dict[Any, Any] = door.server._links
        wire = next(wire for wire, link in links.items() if link._talk._caller.key.instance_id == "one")

        def stumble(*_: object, **__: object) -> None:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(wire._connection, "_payload_received", stumble)
        await one.say(encode_frame(Goodbye()))
        saved = await two.save("a")
        facts = door.server.describe()

    assert not saved.found
    assert (facts["failures"], facts["connections"]) == (1, 1)
    assert "a bug" in facts["last_failure"]


async def test_a_guard_that_is_not_in_force_keeps_the_server_from_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(GuardedConnection, "_write_stream_limits")

    with pytest.RaisesGroup(
        pytest.RaisesExc(Internal, match="the window of a stream"), allow_unwrapped=True, flatten_subgroups=True
    ):
        async with open_door(tmp_path):
            pytest.fail("it serves")


def test_a_certificate_can_be_tried_without_a_socket() -> None:
    self_test(server_tls())


async def test_the_facts_say_how_many_there_are(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door, door.client("one") as one, door.client("two"):
        assert isinstance(await one.greet(), Welcome)
        facts = door.server.describe()

    assert (facts["connections"], facts["accepted"], facts["half_open"], facts["calls"]) == (2, 2, 0, 0)


async def test_a_connection_that_is_closed_is_forgotten(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        await _come_and_go(door)
        async with door.client("two") as two:
            await two.register()
            facts = door.server.describe()

    assert facts["connections"] == 1
    assert len(door.server._links) == 0


async def _come_and_go(door: Door) -> None:
    async with door.client("one") as one:
        await one.register()
        one.wire.close()
        await one.flush()
