"""A host inside a command: clients on the same machine can find it, and the keyboard or a signal brings it to rest."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from runtara import __version__
from runtara.host import Host, open_host
from runtara.settings import Settings
from runtara.transport.connection_file import ConnectionFile, remove_connection_file, write_connection_file

__all__ = ["STOPPING", "Signals", "announce", "drain_at_leisure", "open_announced_host"]

Signals = AsyncIterator[int]

STOPPING: Final = (signal.SIGINT, signal.SIGTERM)
"""Each of them asks for a drain the first time, and for haste the second time."""


@asynccontextmanager
async def open_announced_host(settings: Settings) -> AsyncIterator[Host]:
    """Open a host, and write into its data folder where it is for as long as the block lasts."""
    async with open_host(settings) as host:
        announce(host)
        try:
            yield host
        finally:
            remove_connection_file(Path(settings.data_dir), os.getpid())


def announce(host: Host) -> None:
    """Write into the data folder of a host where it is, and how to know it."""
    ca_file = host.identity.ca_file
    content = ConnectionFile(
        address=host.address,
        ca_file=None if ca_file is None else str(ca_file.resolve()),
        fingerprint=host.identity.fingerprint,
        pid=os.getpid(),
        version=__version__,
        http_address=host.http_address,
    )
    write_connection_file(Path(host.runtime.settings.data_dir), content)


async def drain_at_leisure(host: Host, signals: Signals, on_haste: Callable[[int], Any]) -> None:
    """Bring a host to rest; if another signal comes meanwhile, kill what still runs, and say so with `on_haste`."""

    async def watch() -> None:
        async for number in signals:
            on_haste(number)
            host.hurry()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await host.drain()
        nursery.cancel_scope.cancel()
