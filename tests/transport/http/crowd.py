"""Many slow clients at once, as a process of its own: ``python -m tests.transport.http.crowd HOST PORT COUNT``.

A quarter says nothing, a quarter trickles a head, a quarter a body, and a quarter asks for much and never reads.
Whoever is sent away comes again. It says ``ready`` when all are there, and goes on until its input ends.
"""

import select
import socket as sockets
import sys
from contextlib import suppress
from typing import Any

__all__ = ["main"]

BEGINNINGS = (
    b"",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + bytes(8_000),
    b"GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n",
)
PIECES = (b"", b"x", b"x" * 8_000, b"")
"""What each kind says in every round; of a body just enough to be listened to."""

PAUSE = 2.0


class Sloth:
    """One of them."""

    def __init__(self, address: Any, kind: int) -> None:
        self.address = address
        self.kind = kind
        self.connect()

    def connect(self) -> None:
        self.socket = sockets.socket(sockets.AF_INET6 if ":" in self.address[0] else sockets.AF_INET)
        if self.kind == 3:
            self.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
        self.socket.settimeout(60)
        self.socket.connect(self.address)
        self.socket.sendall(BEGINNINGS[self.kind])
        self.socket.setblocking(False)

    def trickle(self) -> None:
        """Say one byte more, and come again if nobody listens."""
        try:
            self.socket.send(PIECES[self.kind])
            if self.kind != 3 and not self.socket.recv(1_000):
                self.again()
        except BlockingIOError:
            return
        except OSError:
            self.again()

    def again(self) -> None:
        self.socket.close()
        with suppress(OSError):  # then it is for the next round
            self.connect()


def main(host: str, port: int, count: int) -> None:
    """Be all of them."""
    crowd = [Sloth((host, port), number % 4) for number in range(count)]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        for sloth in crowd:
            sloth.trickle()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
