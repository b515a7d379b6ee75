"""Many hostile clients at once, as a process of its own: ``python -m tests.transport.quic.floods DEED PORT``."""

import os
import random
import socket as sockets
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import trio

from runtara.transport.frames import Hello, encode_frame
from tests.transport.quic.attack import Attacker

__all__ = ["DEEDS", "gap"]

HELLO = encode_frame(Hello(tenant_id="default", instance_id="evil"))
AT_ONCE = 10


def gap(attacker: Attacker) -> None:
    attacker.misfit.send(0, HELLO)
    for number in range(60):
        attacker.misfit.send_at(4 * number + 4, 200_000)


def fragments(attacker: Attacker) -> None:
    attacker.misfit.send_pieces(0, 1_000)
    attacker.misfit.quic._loss._cc.congestion_window = 4_000


def half_frames(attacker: Attacker) -> None:
    attacker.misfit.send(0, HELLO)
    for number in range(1, 60):
        attacker.misfit.send(4 * number, (64 * 1024 * 1024).to_bytes(4, "big") + bytes(5_000))


def resets(attacker: Attacker) -> None:
    attacker.misfit.send(0, HELLO)
    for number in range(1, 60):
        attacker.misfit.send(4 * number, b"\0\0\1\0abc")
        attacker.misfit.quic.reset_stream(4 * number, 0)


async def misbehave(deed: Callable[[Attacker], None], address: Any) -> None:
    """Connect, do it, stay a moment, and come again from elsewhere."""
    while True:
        with suppress(trio.TooSlowError):
            async with Attacker(address) as attacker:
                await attacker.connect()
                deed(attacker)
                with trio.move_on_after(0.5):
                    await attacker.until_closed()
        await trio.sleep(0.05)


async def knock(address: Any) -> None:
    """Begin handshakes that nobody goes on with."""
    while True:
        Attacker(address).knock()
        await trio.sleep(0.01)


async def make_noise(address: Any) -> None:
    noise = random.Random(1)
    with sockets.socket(sockets.AF_INET, sockets.SOCK_DGRAM) as socket:
        while True:
            for _ in range(10):
                socket.sendto(bytes([noise.randrange(256)]) + noise.randbytes(noise.randrange(1400)), address)
            await trio.sleep(0.01)


DEEDS: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "gaps": (AT_ONCE, partial(misbehave, gap)),
    "fragments": (AT_ONCE, partial(misbehave, fragments)),
    "half frames": (AT_ONCE, partial(misbehave, half_frames)),
    "resets": (AT_ONCE, partial(misbehave, resets)),
    "half-open handshakes": (1, knock),
    "noise": (1, make_noise),
}
"""What is done, and by how many at once."""


async def main(deed: str, port: int) -> None:
    os.nice(19)  # attackers come from elsewhere: they take no time that the server or honest clients could use
    many, act = DEEDS[deed]
    async with trio.open_nursery() as nursery:
        for _ in range(many):
            nursery.start_soon(act, ("127.0.0.1", port))
        sys.stdout.write("begun\n")
        sys.stdout.flush()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
