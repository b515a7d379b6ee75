"""The console in a real browser, in front of a host in this process, over loopback."""

import statistics
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from runtara.clock import SystemClock
from runtara.host import Host, open_host
from runtara.ids import InstanceKey
from runtara.messages import GetStatus, SendSignal, StartInstance
from runtara.settings import Settings
from tests.console.cdp import Browser, open_browser
from tests.console.chromium import run_chromium

LOADS = 9
CHANGES = 100
ROWS = 1_000
DAY_MS = 86_400_000

SEEN = """
new Promise((seen) => {
  const badge = document.querySelector("[data-id='%s'] .badge");
  const look = () => { if (badge.dataset.status === "cancelled") { observer.disconnect(); seen(Date.now()); } };
  const observer = new MutationObserver(look);
  observer.observe(badge, { attributes: true });
  look();
})
"""
"""When a row of the list has changed, by the clock that the host has, too."""


def first_paint() -> float:
    """Milliseconds from the request for the console until something is painted, with nothing cached; median."""

    async def measure(browser: Browser, host: Host) -> float:
        taken = []
        for _ in range(LOADS):
            page = await browser.open_page()
            await page.go(host.http_address)
            await page.wait("document.querySelector('.row .id a')?.textContent")
            entries = "performance.getEntriesByType('paint').find((one) => one.name === 'first-contentful-paint')"
            taken.append(float(await page.evaluate(f"{entries}.startTime")))
            await page.call("Page.close")
        return statistics.median(taken)

    return _with_console(measure)


def first_rows() -> float:
    """Milliseconds from the request for the console until the first instances are listed; median."""

    async def measure(browser: Browser, host: Host) -> float:
        taken = []
        for _ in range(LOADS):
            page = await browser.open_page()
            await page.go(host.http_address)
            listed = "document.querySelector('.row .id a')?.textContent && performance.now()"
            taken.append(float(await page.wait(listed)))
            await page.call("Page.close")
        return statistics.median(taken)

    return _with_console(measure)


def commit_to_console() -> float:
    """Milliseconds from the instant that a change is decided, before its commit, until it is in the document; p99."""

    async def measure(browser: Browser, host: Host) -> float:
        page = await browser.open_page()
        await page.go(host.http_address)
        await page.wait_for("#connection", "Live")
        late: list[float] = []
        for number in range(CHANGES):
            key = await _start(host, f"new-{number:05}")
            await page.wait_for(f"[data-id={key.instance_id}]")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel, host, key)
                seen = float(await page.evaluate(SEEN % key.instance_id))
            info = await host.runtime.dispatch.call(key, GetStatus())
            assert info.finished_at is not None
            late.append(max(0.0, seen - info.finished_at))
        return statistics.quantiles(late, n=100)[98]

    return _with_console(measure)


async def _start(host: Host, instance_id: str) -> InstanceKey:
    """Create an instance that is not launched before tomorrow."""
    key = InstanceKey("default", instance_id)
    start = StartInstance(program="none.py", start_at=SystemClock().now_ms() + DAY_MS)
    await host.runtime.dispatch.call(key, start)
    return key


async def _cancel(host: Host, key: InstanceKey) -> None:
    await host.runtime.dispatch.call(key, SendSignal(kind="cancel", signal_id="enough"))


def _with_console(measure: Callable[[Browser, Host], Awaitable[float]]) -> float:
    """Run a host with some instances and a browser, and measure."""

    async def main(folder: Path, chromium: str) -> float:
        programs = folder / "programs"
        programs.mkdir()
        (programs / "none.py").touch()
        settings = Settings(data_dir=str(folder / "data"), programs=str(programs), quic_port=0, env_http_port=0)
        async with open_host(settings) as host, open_browser(chromium) as browser:
            for number in range(ROWS):
                await _start(host, f"row-{number:05}")
            return await measure(browser, host)

    with tempfile.TemporaryDirectory() as folder, run_chromium(Path(folder) / "profile") as chromium:
        return trio.run(main, Path(folder), chromium)
