"""The way out of a container without a network: from its loopback to the server, and to nowhere else.

A container has a network namespace of its own. In it, a *door* is a UDP socket on loopback that belongs to the shim.
What a program sends to a door is passed on to the server's address, from a socket of the host's, one for each sender;
what comes back goes to that sender. So a program reaches its server, and no network.

Like the shim it imports nothing of this package: the shim loads it by its path.
"""

import select
import socket
from contextlib import suppress

TYPE_CHECKING = False  # the module `typing` would cost every launch some milliseconds
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Relay"]

_DATAGRAM_BYTES = 1 << 16
_BATCH = 32
"""Most datagrams of one socket in a turn, so that what the program writes is taken meanwhile."""
_SENDERS = 64
"""Most senders at a time; the one that was silent for the longest makes room."""


class Relay:
    """Passes datagrams on, a turn at a time."""

    def __init__(self, doors: "list[socket.socket]", servers: "list[list[str | int]]", most: int = _SENDERS) -> None:
        """Take the doors, and the address behind each: numbers, not names."""
        self._most = most
        self._poll = select.epoll()
        self._doors = {door.fileno(): (door, tuple(server)) for door, server in zip(doors, servers, strict=True)}
        self._senders: dict[tuple[int, Any], socket.socket] = {}
        """The socket of each sender, by door and address; the one that was used last is the last."""
        self._ways_back: dict[int, tuple[int, Any]] = {}
        for door in doors:
            door.setblocking(False)
            self._poll.register(door, select.EPOLLIN)

    def fileno(self) -> int:
        """Return what becomes readable when there is something to pass on."""
        return self._poll.fileno()

    def turn(self, _: int) -> bool:
        """Pass on what waits; return True. What cannot be passed on is lost, as datagrams are."""
        for descriptor, _ in self._poll.poll(0):
            for _ in range(_BATCH):
                if not (self._pass_out(descriptor) if descriptor in self._doors else self._pass_back(descriptor)):
                    break
        return True

    def close(self) -> None:
        """Close everything."""
        for one in (*self._senders.values(), *(door for door, _ in self._doors.values())):
            one.close()
        self._poll.close()

    def _pass_out(self, descriptor: int) -> bool:
        try:
            data, sender = self._doors[descriptor][0].recvfrom(_DATAGRAM_BYTES)
        except OSError:
            return False
        with suppress(OSError):
            self._way_out(descriptor, sender).send(data)
        return True

    def _pass_back(self, descriptor: int) -> bool:
        key = self._ways_back.get(descriptor)
        if key is None:  # it has just made room for another one
            return False
        try:
            data = self._senders[key].recv(_DATAGRAM_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # nobody listens there; the program finds out by hearing nothing
            return True
        with suppress(OSError):
            self._doors[key[0]][0].sendto(data, key[1])
        return True

    def _way_out(self, door: int, sender: "Any") -> socket.socket:
        """Return the socket of a sender."""
        key = (door, sender)
        if key in self._senders:
            self._senders[key] = self._senders.pop(key)
            return self._senders[key]
        if len(self._senders) >= self._most:
            oldest = self._senders.pop(next(iter(self._senders)))
            del self._ways_back[oldest.fileno()]
            oldest.close()
        server = self._doors[door][1]
        out = socket.socket(socket.AF_INET6 if ":" in str(server[0]) else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            out.setblocking(False)
            out.connect(server)
            self._poll.register(out, select.EPOLLIN)
        except OSError:
            out.close()
            raise
        self._senders[key], self._ways_back[out.fileno()] = out, key
        return out
