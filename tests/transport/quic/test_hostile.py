"""What hostile clients do to a real door on loopback: it stays small, honest clients are answered, and each gets its
documented answer. The fast tier; `test_hostile_floods` does the same for longer and measures."""

import random
import socket as sockets
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aioquic.quic.packet import QuicErrorCode
from aioquic.tls import AlertDescription

from runtara.messages import GetStatus
from runtara.transport.close_codes import FLOOD, INVALID_FRAME, TOO_LARGE, TOO_SLOW, UNAUTHENTICATED
from runtara.transport.frames import HELLO_MAX_BYTES, Ask, Hello, Watch, encode_frame
from runtara.transport.quic._guard import FRAGMENTS_MAX
from tests.transport.quic.attack import Attacker, resident_mib
from tests.transport.quic.door import Client, Door, open_door

HELLO = encode_frame(Hello(tenant_id="default", instance_id="evil"))


class Scene(NamedTuple):
    """Who is there."""

    door: Door
    honest: Client

    async def facts(self) -> dict[str, Any]:
        """What the door says of itself once it has dealt with everything that was sent before."""
        await self.honest.ask(GetStatus())
        return self.door.server.describe()


@asynccontextmanager
async def attacked(folder: Path, **settings: Any) -> Any:
    """A door with an honest client, which must still be served when the block ends."""
    before = resident_mib()
    async with open_door(folder, **settings) as door, door.client("honest") as honest:
        await honest.register()
        yield Scene(door, honest)
        saved = await honest.save("after the attack")
        assert not saved.found
        assert resident_mib() - before < 100


def gap(attacker: Attacker) -> None:
    for number in range(16):
        attacker.misfit.send_at(0, 2 ** (number + 10) - 1)
        attacker.flush()


def fragments(attacker: Attacker) -> None:
    attacker.misfit.send_pieces(0, 4 * FRAGMENTS_MAX)
    attacker.misfit.quic._loss._cc.congestion_window = 4_000  # no more at once than a socket holds


def too_long_a_greeting(attacker: Attacker) -> None:
    attacker.misfit.send(0, (HELLO_MAX_BYTES + 1).to_bytes(4, "big"))


def too_long_a_frame(attacker: Attacker) -> None:
    attacker.misfit.send(0, HELLO + b"\x7f\xff\xff\xff")


def no_frame(attacker: Attacker) -> None:
    attacker.misfit.send(0, HELLO + b"\0\0\0\x05\xc1\xc1\xc1\xc1\xc1")


def half_a_frame(attacker: Attacker) -> None:
    attacker.misfit.send(0, HELLO)
    attacker.misfit.send(4, encode_frame(Watch(instance_id="x"))[:-2], ended=True)


def no_greeting(attacker: Attacker) -> None:
    attacker.misfit.send(0, encode_frame(Ask(id=1, command=GetStatus())))


def two_greetings(attacker: Attacker) -> None:
    attacker.misfit.send(0, HELLO + HELLO)


def a_wrong_token(attacker: Attacker) -> None:
    attacker.misfit.send(0, encode_frame(Hello(tenant_id="default", instance_id="evil", credential="rti_no")))


def a_stream_too_many(attacker: Attacker) -> None:
    attacker.misfit.send(4 * 64, b"x")


def a_one_way_stream(attacker: Attacker) -> None:
    attacker.misfit.send(2, b"x")


def beyond_the_window(attacker: Attacker) -> None:
    attacker.misfit.send(0, bytes(4 * 1024 * 1024))
    attacker.unbridle()


ANSWERS: dict[Callable[[Attacker], None], int] = {
    gap: QuicErrorCode.FLOW_CONTROL_ERROR,
    fragments: FLOOD,
    too_long_a_greeting: TOO_LARGE,
    too_long_a_frame: TOO_LARGE,
    no_frame: INVALID_FRAME,
    half_a_frame: INVALID_FRAME,
    no_greeting: INVALID_FRAME,
    two_greetings: INVALID_FRAME,
    a_wrong_token: UNAUTHENTICATED,
    a_stream_too_many: QuicErrorCode.STREAM_LIMIT_ERROR,
    a_one_way_stream: QuicErrorCode.STREAM_LIMIT_ERROR,
}
"""What is done, and the code with which the connection is closed for it."""


@pytest.mark.parametrize("deed", ANSWERS, ids=lambda deed: deed.__name__)
async def test_each_deed_gets_its_documented_answer(tmp_path: Path, deed: Callable[[Attacker], None]) -> None:
    async with attacked(tmp_path) as scene, Attacker(scene.door.address) as attacker:
        await attacker.connect()

        deed(attacker)
        await attacker.until_closed()

    assert attacker.misfit.closed_with == ANSWERS[deed]


async def test_bytes_beyond_the_window_are_not_taken(tmp_path: Path) -> None:
    async with attacked(tmp_path) as scene, Attacker(scene.door.address) as attacker:
        await attacker.connect()
        beyond_the_window(attacker)
        await attacker.until_closed()

    assert attacker.misfit.closed_with in {QuicErrorCode.FLOW_CONTROL_ERROR, TOO_LARGE}


async def test_another_protocol_is_refused_by_an_alert(tmp_path: Path) -> None:
    async with attacked(tmp_path) as scene, Attacker(scene.door.address, alpn="h3") as attacker:
        await attacker.until_closed()

    assert attacker.misfit.closed_with == QuicErrorCode.CRYPTO_ERROR + AlertDescription.no_application_protocol


@pytest.mark.parametrize("when", ["before the greeting", "within the greeting", "within a frame"])
async def test_who_stalls_is_sent_away(tmp_path: Path, when: str) -> None:
    said = {"before the greeting": b"", "within the greeting": HELLO[:9], "within a frame": HELLO + b"\0\0\1\0abc"}
    limits = {"quic_handshake_timeout_ms": 300, "quic_frame_timeout_ms": 100}
    async with attacked(tmp_path, **limits) as scene, Attacker(scene.door.address) as attacker:
        await attacker.connect()

        attacker.misfit.send(0, said[when])
        await attacker.until_closed()

    assert attacker.misfit.closed_with == TOO_SLOW


async def test_noise_is_counted_and_nothing_more(tmp_path: Path) -> None:
    noise = random.Random(1)
    facts: dict[str, Any] = {}
    async with attacked(tmp_path) as scene:
        with sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM) as socket:
            for length in range(0, 1500, 5):
                socket.sendto(noise.randbytes(length), scene.door.address)
                socket.sendto(bytes([0xC0]) + (1).to_bytes(4, "big") + noise.randbytes(length), scene.door.address)
                if length % 100 == 0:
                    facts = await scene.facts()

    assert facts["garbage"] > 100
    assert facts["connections"] == 1
    assert facts["half_open"] == 0


async def test_half_open_handshakes_are_bounded_and_newcomers_must_prove_their_address(tmp_path: Path) -> None:
    facts: dict[str, Any] = {}
    async with attacked(tmp_path, quic_max_incoming=32, quic_handshake_timeout_ms=60_000) as scene:
        for _ in range(100):
            Attacker(scene.door.address).knock()
            facts = await scene.facts()
        async with scene.door.client("late") as late:
            await late.register()

    assert (facts["half_open"], facts["retry"]) == (8, 92)
    assert not late.over


async def test_streams_that_are_opened_and_reset_over_and_over_cost_nothing_that_lasts(tmp_path: Path) -> None:
    ask = encode_frame(Ask(id=1, command=GetStatus()))
    async with attacked(tmp_path) as scene, Attacker(scene.door.address) as attacker:
        await attacker.connect()
        attacker.misfit.send(0, HELLO)
        for number in range(1, 40):
            attacker.misfit.send(4 * number, ask[:-1])
            attacker.misfit.quic.reset_stream(4 * number, 0)
            attacker.flush()
        facts = await scene.facts()
        links = list(scene.door.server._links.values())

        assert (facts["calls"], facts["frame_bytes"]) == (0, 0)
        assert all(set(link._streams) <= {0} for link in links)


async def test_somebody_elses_id_looks_like_an_unknown_one(tmp_path: Path) -> None:
    async with attacked(tmp_path) as scene, scene.door.client("evil") as evil:
        await evil.greet(credential=None)
        answers = [await evil.ask(GetStatus())]
        evil.instance_id = "nobody"
        answers.append(await evil.ask(GetStatus()))

    assert [answer.code for answer in answers] == ["instance-not-found", "instance-not-found"]
