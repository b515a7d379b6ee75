"""What hostile clients do to sessions on loopback: the server stays small and sound, and honest clients are served."""

import random
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from runtara.messages import GetStatus, ListEvents, RegisterInstance, SaveCheckpoint
from runtara.transport.frames import Ask, Hello, Watch, Welcome
from tests.transport.quic.attack import resident_mib
from tests.transport.websocket.visitor import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    Scene,
    Visitor,
    body_of,
    open_scene,
    piece,
)

HELLO = body_of(Hello(tenant_id="acme", instance_id="evil"))
FRAMES = [
    HELLO,
    body_of(Ask(id=1, command=GetStatus())),
    body_of(Ask(id=2, command=SaveCheckpoint(checkpoint_id="c", state=b"state"))),
    body_of(Ask(id=3, command=ListEvents(limit=5), instance_id="honest", timeout_ms=1)),
    body_of(Watch(instance_id="honest")),
]


@asynccontextmanager
async def attacked(folder: Path, greet_within_ms: int = 3_000) -> AsyncIterator[Scene]:
    """A server with an honest client, which must still be served when the block ends.

    Others are to greet in time; the honest one may be as late as the machine is.
    """
    before = resident_mib()
    async with open_scene(folder, http_write_timeout_ms=1_000) as scene, scene.visitor() as honest:
        assert isinstance(await honest.greet("honest"), Welcome)
        scene.sessions._settings = replace(scene.sessions._settings, http_head_timeout_ms=greet_within_ms)
        await honest.ask(RegisterInstance(attempt_id="a"))
        yield scene
        assert not (await honest.ask(SaveCheckpoint(checkpoint_id="after the attack", state=b""))).found
        assert resident_mib() - before < 100


async def finish(visitor: Visitor) -> None:
    """Say no more, and wait until the server has gone, too."""
    await visitor.say(piece(CLOSE, struct.pack(">H", 1000)))
    await visitor.end()
    await visitor.until(visitor.over.is_set)


def _mutated(chance: random.Random) -> bytes:
    body = bytearray(chance.choice(FRAMES))
    for _ in range(chance.randint(0, 4)):
        place = chance.randrange(len(body) + 1)
        match chance.randrange(4):
            case 0:
                body[place:place] = chance.randbytes(chance.randint(1, 9))
            case 1:
                del body[place : place + chance.randint(1, 9)]
            case 2 if body:
                body[place % len(body)] = chance.randrange(256)
            case _:
                body += chance.choice(FRAMES)
    return bytes(body)


def _fragments(chance: random.Random) -> bytes:
    """Return a message as pieces, some of which are not as they should be."""
    body, pieces, opcode = _mutated(chance), [], chance.choice((BINARY, BINARY, BINARY, TEXT))
    while body:
        size = chance.randint(1, len(body))
        odd = chance.random() < 0.05
        pieces.append(
            piece(
                chance.choice((0, 1, 2, 3, 8, 9, 10, 11)) if odd else opcode,
                body[:size],
                last=size == len(body),
                masked=chance.random() > 0.02,
                reserved=chance.randrange(8) if odd else 0,
            )
        )
        body, opcode = body[size:], CONTINUATION
    return b"".join(pieces)


async def hurt(scene: Scene, seed: int) -> None:
    """Hold one conversation that goes wrong in a way that the seed decides."""
    chance = random.Random(seed)
    async with scene.visitor() as visitor:
        if chance.random() < 0.7:
            await visitor.say(piece(BINARY, HELLO))
        for _ in range(chance.randint(1, 12)):
            await visitor.say(chance.randbytes(chance.randint(1, 400)) if chance.random() < 0.1 else _fragments(chance))
        if chance.random() < 0.3:
            return  # without a word
        await finish(visitor)


async def test_fuzzed_conversations_end_in_order(tmp_path: Path) -> None:
    async with attacked(tmp_path) as scene:
        for first in range(0, 120, 10):
            async with trio.open_nursery() as nursery:
                for seed in range(first, first + 10):
                    nursery.start_soon(hurt, scene, seed)


@pytest.mark.slow
async def test_many_fuzzed_conversations_end_in_order(tmp_path: Path) -> None:
    async with attacked(tmp_path) as scene:
        for first in range(1_000, 4_000, 20):
            async with trio.open_nursery() as nursery:
                for seed in range(first, first + 20):
                    nursery.start_soon(hurt, scene, seed)


def _empty_pieces() -> bytes:
    return piece(BINARY, b"", last=False) + piece(CONTINUATION, b"", last=False) * 20_000


def _single_bytes() -> bytes:
    return piece(BINARY, b"\x84", last=False) + piece(CONTINUATION, b"x", last=False) * 20_000


def _pings() -> bytes:
    return piece(PING, bytes(125)) * 10_000


def _empty_messages() -> bytes:
    return piece(BINARY) * 20_000


def _unknown_calls() -> bytes:
    return b"".join(piece(BINARY, b"\x83\xa4type\xa3Ask\xa2id%c\xa7command\x80" % (n % 100 + 1)) for n in range(10_000))


def _watches() -> bytes:
    return b"".join(piece(BINARY, body_of(Watch(instance_id=f"i{n}"))) for n in range(10_000))


@pytest.mark.parametrize(
    "flood",
    [_empty_pieces, _single_bytes, _pings, _empty_messages, _unknown_calls, _watches],
    ids=lambda flood: flood.__name__[1:],
)
@pytest.mark.parametrize("listening", [True, False], ids=["heard", "deaf"])
async def test_a_flood_is_borne_or_ended_while_others_are_served(
    tmp_path: Path, flood: Callable[[], bytes], listening: bool
) -> None:
    async with attacked(tmp_path) as scene, scene.visitor(listening=listening) as visitor:
        await visitor.say(piece(BINARY, HELLO))
        await visitor.say(flood())
        if listening:
            await finish(visitor)


async def test_whoever_announces_more_than_there_may_be_is_ended_by_the_first_byte_too_many(tmp_path: Path) -> None:
    async with attacked(tmp_path) as scene, scene.visitor() as visitor:
        head = piece(BINARY, b"", masked=False)[:1] + b"\xff" + struct.pack(">Q", 2**62) + b"mask"
        await visitor.say(head, bytes(64 * 1024), b"x")

        assert await visitor.sent_away() in (1_009, 1_002)


async def test_whoever_stalls_in_the_middle_of_a_greeting_is_sent_away(tmp_path: Path) -> None:
    async with attacked(tmp_path, greet_within_ms=200) as scene, scene.visitor() as visitor:
        await visitor.say(piece(BINARY, HELLO[:5], last=False))

        assert await visitor.sent_away() == 4_006


async def test_many_who_never_greet_are_sent_away_in_time(tmp_path: Path) -> None:
    async with attacked(tmp_path, greet_within_ms=300) as scene, trio.open_nursery() as nursery:

        async def linger() -> None:
            async with scene.visitor() as visitor:
                assert await visitor.sent_away() == 4_006

        for _ in range(100):
            nursery.start_soon(linger)
