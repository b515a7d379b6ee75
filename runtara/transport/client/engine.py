"""The thread that all doors of a process to servers share: an event loop of its own, so that no program can starve it.

It starts with the first call, says goodbye to the servers when the process ends, and is started anew in a child that
was forked.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import trio

from runtara.errors import ActorStopped
from runtara.threads import Ingress

if TYPE_CHECKING:
    from runtara.transport.client.link import Link

__all__ = ["Engine", "current_engine"]

GOODBYE: Final = 1.0
"""Seconds that saying goodbye may take when the process ends."""


class Engine:
    """A running event loop on a daemon thread."""

    def __init__(self) -> None:
        self._ingress: Ingress
        self._nursery: trio.Nursery
        self._links: WeakSet[Link] = WeakSet()
        self._scopes: dict[Link, trio.CancelScope] = {}
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,), name="runtara-client", daemon=True)
        self._thread.start()
        self._is_ready.wait()

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Have `callback` called on the loop, from any thread; it must not raise. Raises `ActorStopped` at the end."""
        self._ingress.post(callback, *args)

    def run(self, link: Link) -> None:
        """Keep a link up from now on."""
        self._links.add(link)
        self.post(self._start, link)

    def drop(self, link: Link) -> None:
        """Let a link go, of which nobody wants anything any more."""
        self.post(self._drop, link)

    def check_thread(self) -> None:
        """Raise `RuntimeError` on the engine's own thread, which must not wait for itself."""
        if threading.get_ident() == self._thread.ident:
            raise RuntimeError("a blocking call from the engine's own thread would stop it: use another thread")

    def stop(self) -> None:
        """Say goodbye to all servers, and end."""
        try:
            self.post(self._hang_up)
        except ActorStopped:
            return
        self._thread.join(GOODBYE)

    def let_go(self) -> None:
        """In a child process, where the thread does not exist: close what was inherited of it."""
        for link in tuple(self._links):
            link.let_go()

    async def _main(self) -> None:
        self._ingress = Ingress("the connection to the server", self._failed)
        async with trio.open_nursery() as self._nursery:
            self._is_ready.set()
            await trio.sleep_forever()

    def _start(self, link: Link) -> None:
        self._scopes[link] = trio.CancelScope()
        self._nursery.start_soon(self._run, link, self._scopes[link])

    async def _run(self, link: Link, scope: trio.CancelScope) -> None:
        try:
            with scope:
                await link.run()
        except Exception as error:  # noqa: BLE001 - a bug in one connection must not end the others
            link.break_down(error)
        finally:
            self._scopes.pop(link, None)

    def _drop(self, link: Link) -> None:
        link.hang_up()
        scope = self._scopes.get(link)
        if scope is not None:
            scope.cancel()

    def _hang_up(self) -> None:
        for link in tuple(self._scopes):
            link.hang_up()
        self._ingress.close()
        self._nursery.cancel_scope.cancel()

    def _failed(self, error: Exception) -> None:
        """A callback has failed, which is a bug: nobody may wait for it in vain."""
        for link in tuple(self._scopes):
            link.break_down(error)


_lock = threading.Lock()
_engine: Engine | None = None


def current_engine() -> Engine:
    """Return this process's engine, started with the first call."""
    global _engine  # noqa: PLW0603 - one per process
    with _lock:
        if _engine is None:
            _engine = Engine()
        return _engine


@atexit.register
def _stop() -> None:
    global _engine
    engine, _engine = _engine, None
    if engine is not None:
        engine.stop()


def _begin_anew() -> None:
    """After a fork: the child has neither the thread nor, perhaps, the lock in order."""
    global _engine, _lock  # noqa: PLW0603 - likewise
    _lock = threading.Lock()
    engine, _engine = _engine, None
    if engine is not None:
        engine.let_go()


os.register_at_fork(after_in_child=_begin_anew)
