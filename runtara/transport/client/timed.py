"""What time does to a connection over TCP: when to look again, and when it is over because nobody is heard any more."""

from math import inf

import trio

from runtara.errors import RuntaraError
from runtara.transport.client.connection import TRY, Talk
from runtara.transport.client.pulse import Pulse

__all__ = ["TimedConnection"]


class TimedConnection:
    """One connection, as far as time is concerned. Whoever is one moves the bytes, and says how to leave.

    `run` returns when it is over; `why` says why, and `error` what askers are told.
    """

    def __init__(self, calls: Talk) -> None:
        now = trio.current_time()
        self.was_welcome = False
        self.why: str | None = None
        self.error: RuntaraError | None = None
        """What every asker is told, where trying again would not help."""
        self._calls = calls
        self._pulse = Pulse(now)
        self._welcome_by = now + TRY
        self._is_asking = False
        """Whether the server was asked for a sign of life, and has not given it yet."""
        self._to_do = trio.Event()
        self._nap = trio.CancelScope()
        self._scope = trio.CancelScope()
        """All that the connection does; cancelled when it is over."""

    def flush(self) -> None:
        """Send what there is to be sent, and look again at what is wanted."""
        if self.why is None:
            self._to_do.set()
            self._look_again()

    def close(self) -> None:
        """Leave the server at once."""
        self._end("closed by this side")

    async def _ping(self) -> None:
        """Ask the server for a sign of life, and return when it has given one."""
        raise NotImplementedError

    async def _part(self) -> None:
        """Say goodbye to the server, because the connection is not needed any more."""

    def _look_again(self) -> None:
        """Have the clock looked at again in time for what is due now."""
        self._nap.deadline = -inf if self._is_needless else self._alarm()

    @property
    def _is_needless(self) -> bool:
        calls = self._calls
        return calls.is_done or (calls.is_leaving and not calls.is_owed)

    def _alarm(self) -> float:
        return min(self._calls.alarm, self._pulse.alarm if self.was_welcome else self._welcome_by)

    async def _keep_time(self, nursery: trio.Nursery) -> None:
        """Do what is due, until the connection is over."""
        while self.why is None:
            with trio.CancelScope(deadline=self._alarm()) as self._nap:
                await trio.sleep_forever()
            now = trio.current_time()
            self._calls.tick(now)
            if self._calls.is_ready:
                self._to_do.set()
            if self._is_needless:
                self.why = "not needed any more"
                await self._part()
                self._scope.cancel()
            elif not self.was_welcome and now >= self._welcome_by:
                self._end(f"no welcome within {TRY:g} s")
            elif self.was_welcome:
                self._feel_pulse(now, nursery)

    def _feel_pulse(self, now: float, nursery: trio.Nursery) -> None:
        self._pulse.looked(now)
        if self._pulse.is_dead(now):
            self._end("nothing is heard of the server any more")
        elif self._pulse.should_ask(now):
            self._pulse.asked(now)
            if not self._is_asking:
                nursery.start_soon(self._ask_for_sign)

    async def _ask_for_sign(self) -> None:
        self._is_asking = True
        await self._ping()
        self._is_asking = False

    def _heard(self) -> None:
        """Take note of a sign of life."""
        self._pulse.heard(trio.current_time(), owed=self._calls.is_owed)

    def _end(self, why: str, error: RuntaraError | None = None) -> None:
        if self.why is None:
            self.why, self.error = why, error
            self._scope.cancel()
