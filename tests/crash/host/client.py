"""A client of a campaign that registers by itself: ``python -m tests.crash.host.client FOLDER SLOT FACE SCHEME``.

It runs one instance after the other, and goes on where it was when it is killed and started again. When its standard
input has come to an end, it ends the instance that it is in, and then itself.
"""

import asyncio
import select
import sys
import traceback
from collections.abc import Callable, Iterator
from itertools import count

import trio

from runtara.sdk import AsyncRuntaraSdk, RuntaraSdk, SdkConfig
from tests.crash import workload
from tests.crash.host.processes import Born
from tests.crash.host.site import Site
from tests.crash.journal import Journal

__all__ = ["FACES", "config_of", "is_over", "main"]


PATIENCE_MS = 60_000
"""A server may be away for many seconds, on a machine that is busy; what waits for one longer is stuck."""


def main(folder: str, slot: str, face: str, scheme: str) -> None:
    """Run instances until told to end."""
    site = Site.load(folder)
    journal = site.open_journal()
    journal.write("born", "client", slot, value=str(Born.here()))
    client = _Client(site, journal, slot, scheme)
    try:
        FACES[face](client)
    except Exception as error:
        journal.write("error", "client", slot, value="".join(traceback.format_exception(error)))
        raise


def config_of(site: Site, instance_id: str, scheme: str = "quic") -> SdkConfig:
    """Return how to reach the server as an instance, by one of its doors."""
    return SdkConfig(
        instance_id=instance_id,
        server_addr=site.address_by(scheme),
        ca_file=str(site.ca_file),
        heartbeat_interval_ms=500,
        connect_timeout_ms=PATIENCE_MS,
        request_timeout_ms=PATIENCE_MS,
    )


def is_over() -> bool:
    """Whether nothing new is to be begun."""
    ready, _, _ = select.select([sys.stdin], [], [], 0)
    return bool(ready)


class _Client:
    def __init__(self, site: Site, journal: Journal, slot: str, scheme: str) -> None:
        self.journal = journal
        self._site = site
        self._slot = slot
        self._scheme = scheme
        self._place = site.path / "slots" / slot

    def configs(self) -> Iterator[SdkConfig]:
        """The instances that are still to be run; which one it is at is noted outside this process."""
        first = int(self._place.read_text()) if self._place.exists() else 0
        for number in count(first):
            self._note(number)
            yield config_of(self._site, f"{self._slot}.{number}", self._scheme)
            if is_over():
                return

    def _note(self, number: int) -> None:
        fresh = self._place.with_suffix(".new")
        fresh.write_text(str(number))
        fresh.replace(self._place)


def _block(client: _Client) -> None:
    for config in client.configs():
        sdk = RuntaraSdk.new(config)
        workload.run_blocking(workload.registered(client.journal, sdk.instance_id), sdk)
        sdk.close()


async def _wait(client: _Client) -> None:
    for config in client.configs():
        sdk = AsyncRuntaraSdk.new(config)
        await workload.run(workload.registered(client.journal, sdk.instance_id), sdk)
        sdk.close()


FACES: dict[str, Callable[[_Client], None]] = {
    "sync": _block,
    "trio": lambda client: trio.run(_wait, client),
    "asyncio": lambda client: asyncio.run(_wait(client)),
}
"""How the client waits."""


if __name__ == "__main__":
    main(*sys.argv[1:])
