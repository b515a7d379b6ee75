"""Ports for servers of tests that have to know theirs before they start, or to find it again when they come back."""

import os
import socket
import sys
from itertools import count
from typing import Final

__all__ = ["free_port"]

LOWEST_PORT, PORTS = 20_000, 12_000
"""Below those that systems give to clients: a server that is away must find its port free when it comes back."""

_OWN: Final = 97
"""So many ports belong to one process, until others' follow."""

_numbers: Final = count()


def free_port() -> int:
    """Return a port that nobody uses, for UDP and TCP, and that no client is given by chance; each only once."""
    for _ in range(PORTS):
        port = LOWEST_PORT + (os.getpid() * _OWN + next(_numbers)) % PORTS
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            try:
                udp.bind(("127.0.0.1", port))
                tcp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    sys.exit("no port is free")
