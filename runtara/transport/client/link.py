"""The way of one door to its server: connects when there is a reason to, and again whenever the connection is lost.

Where there are several servers, any of them will do: it keeps to the one that has welcomed it, and goes on to the next
one when that one is away, or going down. Runs as one task of the engine.
"""

import socket
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Final

import trio

from runtara.errors import Internal, RuntaraError, Unreachable
from runtara.transport.addresses import Address, resolve
from runtara.transport.client.call import Call
from runtara.transport.client.calls import Calls
from runtara.transport.client.connection import TRY, Connection, Connector
from runtara.transport.session import Session

__all__ = ["Link"]

BACKOFF: Final = 0.02
"""Seconds before the second try to connect; doubled with each further one."""

BACKOFF_MAX: Final = 0.5
"""The longest such wait while somebody waits for an answer."""

BACKOFF_IDLE_MAX: Final = 5.0
"""The longest such wait while nobody does."""


class Link:
    """Carries the calls of one door. Its methods are called on the engine's loop, except where they say otherwise."""

    def __init__(
        self, addresses: Sequence[Address], connect: Connector, calls: Calls, random: Callable[[], float]
    ) -> None:
        self.calls = calls
        self._addresses = deque(addresses)
        """The next one to try comes first."""
        if len({address.scheme for address in addresses}) == 1:  # else the order says what is preferred
            self._addresses.rotate(int(random() * len(addresses)))  # so that clients are spread over the servers
        self._connect = connect
        self._random = random
        self._connection: Connection | None = None
        self._scope = trio.CancelScope()
        self._failures = 0
        self._next_try_at = -inf
        """When to try again while somebody waits for an answer."""
        self._next_idle_try_at = -inf

    def ask(self, call: Call) -> None:
        """Have a call answered."""
        self.calls.add(call, trio.current_time())
        self.changed()

    def withdraw(self, call: Call) -> None:
        """Nobody waits for the answer any more."""
        self.calls.withdraw(call)

    def watch(self, session: Session) -> None:
        """Tell a session of what happens to its instance."""
        self.calls.watch(session)
        self.changed()

    def unwatch(self, session: Session) -> None:
        """Take `watch` back."""
        self.calls.unwatch(session)
        self.changed()

    def stop_heartbeat(self) -> None:
        """Say no more by itself that the attempt is alive."""
        self.calls.stop_heartbeat()

    def detach(self) -> None:
        """The program wants to hear of nothing any more, until its next call."""
        self.calls.detach()
        self.changed()

    def changed(self) -> None:
        """Look again at what is wanted: something may have to be sent, or ended, at once."""
        try:
            if self._connection is not None:
                self._connection.flush()
            else:
                self._scope.deadline = -inf
        except Exception as error:  # noqa: BLE001 - nobody else would tell those who wait
            self.break_down(error)

    def break_down(self, bug: Exception) -> None:
        """Tell everybody who asks, from now on, that a bug was met."""
        failure = Internal(f"the connection to the server has failed: {bug!r}")
        failure.__cause__ = bug
        self.calls.break_down(failure)

    def hang_up(self) -> None:
        """Say goodbye to the server, because the process ends."""
        if self._connection is not None:
            self._connection.close()

    def let_go(self) -> None:
        """In a child process: let go of the parent's socket, without a word to the server. From any thread."""
        if self._connection is not None:
            self._connection.close_socket()

    async def run(self) -> None:
        """Keep up the connection for as long as there is a reason to, again and again."""
        while True:
            now = trio.current_time()
            self.calls.tick(now)
            due = self._due()
            if now >= due:
                await self._try()
            else:
                with trio.CancelScope(deadline=min(due, self.calls.alarm)) as self._scope:
                    await trio.sleep_forever()

    def _due(self) -> float:
        if not self.calls.wants_connection:
            return inf
        return self._next_try_at if self.calls.is_asking else self._next_idle_try_at

    async def _try(self) -> None:
        """Try every address of every server until one welcomes us; return when that connection is over."""
        refusals: list[RuntaraError] = []
        for address in tuple(self._addresses):
            try:
                if await self._try_server(address):
                    self._next_server()
                    return
            except RuntaraError as error:
                self.calls.lost(str(error))
                if not isinstance(error, Unreachable):
                    refusals.append(error)
            self._next_server()
            if not self.calls.wants_connection:
                break
        if len(refusals) == len(self._addresses):  # trying again would help nowhere
            self.calls.fail_all(refusals[-1])
        self._back_off()

    async def _try_server(self, address: Address) -> bool:
        """Try every address of one server; return whether it has welcomed us."""
        for family, where in await self._resolve(address):
            if await self._converse(address, family, where):
                return True
            if not self.calls.wants_connection:
                break
        return False

    def _next_server(self) -> None:
        """Try another server next, if there is one."""
        self._addresses.rotate(-1)

    async def _resolve(self, address: Address) -> list[tuple[socket.AddressFamily, Any]]:
        with trio.move_on_after(TRY):
            return await resolve(address)
        raise Unreachable(f"host {address.host!a} could not be looked up within {TRY:g} s")

    async def _converse(self, server: Address, family: socket.AddressFamily, address: Any) -> bool:
        """Connect to one address, and carry calls until that is over. Return whether the server has welcomed us."""
        connection = self._connection = self._connect(server, family, address, self.calls)
        try:
            await connection.run()
        finally:
            self._connection = None
            connection.close_socket()
        if connection.was_welcome:
            self._failures = 0
            rest = self.calls.retry_after if len(self._addresses) == 1 else 0.0  # another one need not be left alone
            self._next_try_at = self._next_idle_try_at = trio.current_time() + rest
        self.calls.lost(f"no server can be reached at {server} ({connection.why})")
        if connection.error is not None:
            raise connection.error
        return connection.was_welcome

    def _back_off(self) -> None:
        wait = BACKOFF * 2.0 ** min(self._failures, 30) * (0.5 + self._random() / 2)
        self._failures += 1
        now = trio.current_time()
        least = self.calls.retry_after if len(self._addresses) == 1 else 0.0
        self._next_try_at = now + max(least, min(wait, BACKOFF_MAX))
        self._next_idle_try_at = now + max(least, min(wait, BACKOFF_IDLE_MAX))
