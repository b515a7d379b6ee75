"""A real browser for tests: Chromium without a window, driven over its DevTools protocol.

Owns the connection to one. A test waits for what it wants to see with `Page.wait`, which the page itself
answers at the moment at which it is true; nothing here looks again and again, or waits for a guessed time.
"""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

__all__ = ["PATIENCE_S", "Browser", "BrowserError", "Page", "open_browser"]

PATIENCE_S: Final = 60.0
"""How long anything may take before a test gives up; on a busy machine a page takes its time."""

_MESSAGE_MAX_BYTES: Final = 64 * 1024 * 1024

_WAIT: Final = """
new Promise((resolve) => {
  const holds = () => { try { return (%s); } catch { return false; } };
  const found = holds();
  if (found) { resolve(found); return; }
  const look = () => { const found = holds(); if (found) { observer.disconnect(); resolve(found); } };
  const observer = new MutationObserver(look);
  observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
})
"""

_POINT: Final = """
(() => {
  const element = %s;
  element.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
  const box = element.getBoundingClientRect();
  const x = box.x + box.width / 2, y = box.y + box.height / 2;
  const hit = document.elementFromPoint(x, y);
  const free = hit && (element.contains(hit) || hit.contains(element));
  return { x, y, covered: free ? "" : hit ? hit.outerHTML.slice(0, 200) : "nothing" };
})()
"""

_KEYS: Final = {
    "Enter": (13, "\r"),
    "Tab": (9, ""),
    "Escape": (27, ""),
    " ": (32, " "),
    "ArrowDown": (40, ""),
    "ArrowUp": (38, ""),
    "ArrowLeft": (37, ""),
    "ArrowRight": (39, ""),
    "End": (35, ""),
    "Home": (36, ""),
    "PageDown": (34, ""),
}


class BrowserError(Exception):
    """What the browser or the page refused."""


class Browser:
    """A connection to a running browser."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection
        self._answers: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}
        self._contexts: list[str] = []
        self._last = 0

    async def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Ask the browser, or a page by its session, to do something. Raises `BrowserError`."""
        self._last += 1
        number = self._last
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        send, receive = trio.open_memory_channel[dict[str, Any]](1)
        self._answers[number] = send
        try:
            await self._connection.send_message(json.dumps(message))
            answer = await receive.receive()
        finally:
            del self._answers[number]
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def open_page(self, *, dark: bool = False, width: int = 1360, height: int = 860) -> "Page":
        """Open a page with cookies and storage of its own."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        self._contexts.append(context)
        target = (await self.call("Target.createTarget", url="about:blank", browserContextId=context))["targetId"]
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network", "Performance"):
            await page.call(f"{domain}.enable")
        await page.call("Emulation.setFocusEmulationEnabled", enabled=True)
        await page.resize(width, height)
        await page.prefer(dark=dark)
        return page

    async def close(self) -> None:
        """Close all pages that were opened here."""
        for context in self._contexts:
            await self.call("Target.disposeBrowserContext", browserContextId=context)

    async def listen(self) -> None:
        """Hand out what the browser says, until it is gone."""
        while True:
            try:
                message = json.loads(await self._connection.get_message())
            except ConnectionClosed:
                return
            if "id" in message:
                if message["id"] in self._answers:
                    self._answers[message["id"]].send_nowait(message)
            elif message.get("sessionId") in self._pages:
                self._pages[message["sessionId"]].hear(message["method"], message["params"])


class Page:
    """One page: what a person does with it, and what it says."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.complaints: list[str] = []
        """Exceptions nobody caught, what broke the content security policy, and errors that the page has logged."""
        self.refused: list[str] = []
        """Requests that were answered with an error, as "401 URL"."""
        self.left: list[str] = []
        """Requests that went to anybody but the server."""
        self.asked: list[str] = []
        """All requests."""
        self._loaded = trio.Event()
        self._origin = ""

    def hear(self, method: str, said: dict[str, Any]) -> None:
        """Take in what the browser tells about the page."""
        if method == "Runtime.exceptionThrown":
            details = said["exceptionDetails"]
            self.complaints.append(str(details.get("exception", {}).get("description", details["text"])))
        elif method == "Log.entryAdded" and said["entry"]["level"] == "error":
            if said["entry"]["source"] != "network":
                self.complaints.append(said["entry"]["text"])
        elif method == "Network.responseReceived" and said["response"]["status"] >= 400:
            self.refused.append(f"{said['response']['status']} {said['response']['url']}")
        elif method == "Network.requestWillBeSent":
            url = said["request"]["url"]
            self.asked.append(url)
            if self._origin and not url.startswith((self._origin, "data:", "blob:")):
                self.left.append(url)
        elif method == "Page.loadEventFired":
            self._loaded.set()

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the page, in the words of the protocol."""
        return await self._browser.call(method, self._session, **parameters)

    async def go(self, url: str) -> None:
        """Load a page afresh, and wait until it is there."""
        self._origin = "/".join(url.split("/")[:3])
        await self._load("Page.navigate", url=url)

    async def reload(self) -> None:
        """Load the page that is there again."""
        await self._load("Page.reload")

    async def _load(self, method: str, **parameters: str) -> None:
        self._loaded = trio.Event()
        await self.call(method, **parameters)
        with trio.fail_after(PATIENCE_S):
            await self._loaded.wait()

    async def evaluate(self, expression: str) -> Any:  # what a script returns, as JSON
        """Return the value of an expression, or what its promise becomes. Raises `BrowserError` for an exception."""
        said = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in said:
            details = said["exceptionDetails"]
            raise BrowserError(str(details.get("exception", {}).get("description", details["text"])))
        return said["result"].get("value")

    async def wait(self, condition: str, seconds: float = PATIENCE_S) -> Any:  # as `evaluate`
        """Return what `condition`, an expression, is as soon as a change of the document makes it true."""
        with trio.move_on_after(seconds):
            return await self.evaluate(_WAIT % condition)
        text = await self.evaluate("document.body.innerText.slice(0, 2000)")
        raise BrowserError(f"it never came true: {condition}\nthe page said: {text}\ncomplaints: {self.complaints}")

    async def wait_for(self, selector: str, text: str | None = None) -> None:
        """Wait until something that one can see fits a selector and, where given, has the text in it."""
        await self.wait(f"Boolean({_find(selector, text)})")

    async def text(self, selector: str) -> str:
        """Return the text of the first thing that fits."""
        return str(await self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def click(
        self, selector: str, text: str | None = None, meanwhile: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        """Click what fits, as a mouse does; raises `BrowserError` where something else lies above it.

        `meanwhile` happens between press and release.
        """
        await self.wait_for(selector, text)
        point = await self.evaluate(_POINT % _find(selector, text))
        if point["covered"]:
            raise BrowserError(f"{selector} ({text}) lies below {point['covered']}")
        for kind in ("mousePressed", "mouseReleased"):
            await self.call(
                "Input.dispatchMouseEvent", type=kind, x=point["x"], y=point["y"], button="left", clickCount=1
            )
            if meanwhile is not None and kind == "mousePressed":
                await meanwhile()

    async def fill(self, selector: str, text: str) -> None:
        """Click into a field and write, in the place of what is there."""
        await self.click(selector)
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).select?.()")
        await self.write(text)

    async def write(self, text: str) -> None:
        """Write where the focus is."""
        await self.call("Input.insertText", text=text)

    async def attach(self, selector: str, file: Path) -> None:
        """Choose a file."""
        await self.wait_for(selector)
        found = await self.call("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")
        await self.call("DOM.setFileInputFiles", files=[str(file)], objectId=found["result"]["objectId"])

    async def choose(self, selector: str, value: str) -> None:
        """Choose in a list of choices."""
        place = f"document.querySelector({json.dumps(selector)})"
        await self.evaluate(
            f"({place}.value = {json.dumps(value)}, {place}.dispatchEvent(new Event('change', {{bubbles: true}})))"
        )

    async def press(
        self, key: str, *, shift: bool = False, meanwhile: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        """Press a key; `meanwhile` happens between press and release."""
        code, text = _KEYS.get(key, (0, key))
        common = {
            "key": key,
            "windowsVirtualKeyCode": code,
            "code": "Space" if key == " " else key,
            "modifiers": 8 if shift else 0,
        }
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        await self.call("Input.dispatchKeyEvent", **down, **common)
        if meanwhile is not None:
            await meanwhile()
        await self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    async def resize(self, width: int, height: int) -> None:
        """Give the page a window of this size."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def prefer(self, *, dark: bool, calm: bool = True) -> None:
        """Say which colours the person likes, and whether things may move."""
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if calm else "no-preference"},
        ]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def screenshot(self, path: Path) -> Path:
        """Keep a picture of what is on the screen."""
        said = await self.call("Page.captureScreenshot", format="png")
        await trio.Path(path).write_bytes(base64.b64decode(said["data"]))
        return path


@asynccontextmanager
async def open_browser(address: str) -> AsyncIterator[Browser]:
    """Connect to a browser for the time of the block. Its pages are closed at the end."""
    async with (
        open_websocket_url(address, max_message_size=_MESSAGE_MAX_BYTES) as connection,
        trio.open_nursery() as nursery,
    ):
        browser = Browser(connection)
        nursery.start_soon(browser.listen)
        yield browser
        await browser.close()
        nursery.cancel_scope.cancel()


def _find(selector: str, text: str | None) -> str:
    """Return the expression for the first visible thing that fits; `text` may be a part of what it says."""
    fits = "true" if text is None else f"(e.innerText || e.textContent || '').includes({json.dumps(text)})"
    return f"[...document.querySelectorAll({json.dumps(selector)})].find((e) => e.getClientRects().length && {fits})"
