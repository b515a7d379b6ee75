"""A real host with a real browser in front of it, and what the tests of the console do there again and again."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from runtara.clock import SystemClock
from runtara.endpoints import Role
from runtara.host import Host, open_host
from runtara.ids import InstanceKey
from runtara.messages import GetStatus, InstanceInfo, SendSignal, StartInstance
from runtara.settings import Settings
from runtara.transport.credentials import KeyRing
from tests.console.cdp import PATIENCE_S, Browser, Page, open_browser
from tests.watch import Watch

__all__ = ["PROGRAM", "TENANT", "World", "open_world", "quiet"]

TENANT: Final = "acme"
PROGRAM: Final = "story.py"
_HERE: Final = Path(__file__).parent


class World:
    """A host, a browser, and a key of a tenant."""

    def __init__(self, host: Host, browser: Browser, keys: KeyRing, key: str, folder: Path) -> None:
        self.host: Final = host
        self.browser: Final = browser
        self.keys: Final = keys
        self.key: Final = key
        self.folder: Final = folder
        self.url: Final = host.http_address

    async def start(self, instance_id: str, *steps: Sequence[object], **more: Any) -> None:
        """Start an instance that does these steps."""
        content = json.dumps({"steps": steps}).encode()
        await self.ask(instance_id, StartInstance(program=PROGRAM, input=content, **more))

    async def signal(self, instance_id: str, name: str, content: object) -> None:
        """Send a custom signal."""
        payload = json.dumps(content).encode()
        await self.ask(instance_id, SendSignal(kind="custom", signal_id=name, name=name, payload=payload))

    async def status(self, instance_id: str) -> InstanceInfo:
        """Return how an instance stands."""
        info: InstanceInfo = await self.ask(instance_id, GetStatus())
        return info

    async def visit(self, place: str = "#/instances", *, url: str | None = None, **options: Any) -> Page:
        """Open the console at a place, signed in by its own form."""
        page = await self.browser.open_page(**options)
        await page.go(f"{url or self.url}/{place}")
        await page.wait_for("#key")
        await page.fill("#key", self.key)
        await page.press("Enter")
        await page.wait("!document.querySelector('#key') && document.querySelector('#main h1')")
        return page

    async def wait_until(self, instance_id: str, status: str) -> InstanceInfo:
        """Wait until an instance stands so."""
        with trio.fail_after(PATIENCE_S):
            while True:
                watch = Watch(InstanceKey(TENANT, instance_id))
                self.host.gate.attach(watch)
                info = await self.status(instance_id)
                if info.status == status:
                    return info
                with trio.move_on_after(1):  # an instance that rests tells nobody that it begins again
                    await watch.heard.wait()

    async def ask(self, instance_id: str, command: Any) -> Any:  # as `Dispatch.call`
        """Ask the host itself, on behalf of the tenant."""
        return await self.host.runtime.dispatch.call(InstanceKey(TENANT, instance_id), command)


@asynccontextmanager
async def open_world(folder: Path, chromium: str, *, role: Role = "admin", **settings: Any) -> AsyncIterator[World]:
    """Run a host that asks for credentials, and connect to the browser."""
    given: dict[str, Any] = {
        "data_dir": str(folder / "data"),
        "programs": str(_HERE),
        "quic_port": 0,
        "env_http_port": 0,
        "require_credentials": True,
        "relaunch_after_ms": 1,
        "park_after_ms": 200,
        "max_concurrent_instances": 4,
    }
    wanted = Settings(**given | settings)
    (folder / "data").mkdir(mode=0o700, exist_ok=True)
    keys = KeyRing(Path(wanted.data_dir) / "keys.json", SystemClock())
    key = keys.add(TENANT, role)
    async with open_host(wanted) as host, open_browser(chromium) as browser:
        try:
            yield World(host, browser, keys, key, folder)
        finally:
            with trio.CancelScope(shield=True):
                host.hurry()
                await host.drain()


def quiet(page: Page) -> bool:
    """Whether the page had nothing to complain of, and asked nobody but its own server."""
    return not page.complaints and not page.left
