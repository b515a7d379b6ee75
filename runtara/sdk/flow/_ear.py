"""Who looks whenever something is pushed to a session. There is no task for it until something is."""

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import trio

from runtara.sdk._flows import RECHECK
from runtara.transport import Session

__all__ = ["Ear"]


class Ear:
    """Has `look` called after each push, in a task that `start_soon` starts; one look at a time."""

    def __init__(
        self, look: Callable[[], Awaitable[None]], start_soon: Callable[[Callable[[], Awaitable[None]]], object]
    ) -> None:
        self._look: Final = look
        self._start_soon: Final = start_soon
        self._session: Session | None = None
        """Of which it hears; None while it does not listen."""
        self._looking = trio.CancelScope()
        self._looked_at = 0.0
        self._token: trio.lowlevel.TrioToken
        self._is_called = False

    @contextlib.contextmanager
    def listening(self, session: Session) -> Iterator[None]:
        """Listen for as long as the block runs; a look that is under way then is cancelled."""
        self._token = trio.lowlevel.current_trio_token()
        self._looked_at = trio.current_time()
        self._session = session
        session.on_push(session.pushes, self._pushed)
        try:
            yield
        finally:
            self._session = None
            session.forget(self._pushed)
            self._looking.cancel()

    def look_if_late(self) -> None:
        """Look, if that was not done for long."""
        if trio.current_time() - self._looked_at >= RECHECK:
            self._call()

    def _pushed(self) -> None:
        """Hear of a push, on whatever thread."""
        with contextlib.suppress(trio.RunFinishedError):  # then nobody listens any more
            self._token.run_sync_soon(self._call)

    def _call(self) -> None:
        if self._session is not None and not self._is_called:
            self._is_called = True
            self._start_soon(self._run)

    async def _run(self) -> None:
        session = self._session
        if session is not None:
            await self._look_once(session)
        self._is_called = False

    async def _look_once(self, session: Session) -> None:
        since, self._looked_at = session.pushes, trio.current_time()
        with trio.CancelScope() as self._looking:
            await self._look()
        if self._session is session:
            session.forget(self._pushed)  # where nothing was pushed, and it was late
            session.on_push(since, self._pushed)
