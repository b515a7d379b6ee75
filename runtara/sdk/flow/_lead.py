"""How a worker leads an instance that it has claimed: from where that was to its next rest, or to its end."""

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from runtara.clock import Clock
from runtara.errors import InstanceCancelled, Retry, RuntaraError
from runtara.logs import LOG
from runtara.messages import LeadClaim, Replay
from runtara.sdk import _flows as flows
from runtara.sdk._drive import drive
from runtara.sdk._types import SignalType
from runtara.sdk.aio import AsyncRuntaraSdk
from runtara.sdk.flow._ear import Ear
from runtara.sdk.flow._faces import Resting
from runtara.sdk.flow._held import Held
from runtara.sdk.flow._kept import instant_at
from runtara.sdk.flow._programs import Served
from runtara.sdk.flow._runs import Run
from runtara.sdk.flow._sharing import Sharing, Slot
from runtara.sdk.flow._tries import Bench, Tries
from runtara.sdk.flow._walk import walk
from runtara.sdk.flow.backend import Backend
from runtara.transport import Door

__all__ = ["Lead"]

REST_AFTER: Final = 2.0
"""Seconds from which on a wait for another try frees the slot: the instance rests meanwhile."""


_LOOK_AGAIN: Final = 0.5
"""Seconds after which it is looked again for a cancel where the runtime could not say whether there is one."""


class Lead:
    """One attempt at one instance. `is_over` tells whether the worker goes home; `start_soon` starts a task beside."""

    def __init__(
        self,
        backend: Backend,
        served: Served,
        claim: LeadClaim,
        *,
        tags: tuple[str, ...],
        bench: Bench,
        is_over: Callable[[], bool],
        start_soon: Callable[[Callable[[], Awaitable[None]]], object],
    ) -> None:
        self._workflow: Final = served.workflow
        self._claim: Final = claim
        door = backend.open_door(claim.instance_id, claim.epoch)
        self._sdk: Final = _LeadSdk(door, backend.clock, is_over)
        self._slot: Final = Slot(claim.program, self._sdk, door, tries=Tries(self._sdk, bench), tags=tags)
        self._held: Final = Held()
        self._ear: Final = Ear(self._look, start_soon)
        self._is_over: Final = is_over
        self._walking: Final = trio.CancelScope()
        self._told: Exception | None = None

    def lose(self) -> None:
        """Stop: somebody else leads it, or nobody needs to any more."""
        self._stop(_Lost())

    def look_again(self) -> None:
        """Wake what waits, to see that the worker goes home."""
        self._sdk.session.pushed(None)

    async def run(self) -> None:
        """Lead it. What the runtime could not do is left to whoever leads it next."""
        try:
            self._held.replay(await self._sdk.register_to_replay())  # under the epoch that was claimed
            async with self._sdk:
                await self._run()
        except RuntaraError as error:
            if error.retry is not Retry.NEVER:
                LOG.warning("an instance is let go", extra={**self._about(), "reason": str(error)})
        except _Lost:
            LOG.warning("an instance was given to somebody else", extra=self._about())
        except Exception:  # noqa: BLE001 - what an instance fails with, as it was told, is no end of its worker
            LOG.exception("an instance has failed in a way of its own", extra=self._about())
        finally:
            self._sdk.close()

    async def _run(self) -> None:
        run = Run(self._workflow, self._sdk, waits=False, held=self._held)
        try:
            value = await drive(run.begin_submitted(), self._sdk.perform)
            output = await self._walk(run, value)
            await drive(run.complete(output), self._sdk.perform)
        except _Lost:
            raise
        except Exception as raised:  # noqa: BLE001 - what it means is decided there
            await drive(run.conclude(raised), self._sdk.perform)

    async def _walk(self, run: Run, value: bytes) -> bytes:
        """Take the walk, until it is told to stop. Raises what it was told, or what the walk has failed with."""
        output, error = b"", None
        with self._ear.listening(self._sdk.session):
            try:
                with self._walking:
                    sharing = Sharing(run.means, self._held, self._slot, self._is_over)
                    output = await sharing.take(walk(self._workflow, value))
            except Exception as raised:  # noqa: BLE001 - what it was told goes first
                error = raised
        raised_last = self._told or error
        if raised_last is not None:
            raise raised_last
        return output

    async def _look(self) -> None:
        """Stop if the instance is cancelled, also in the middle of a task; look until that is known."""
        while True:
            try:
                return await drive(flows.check(SignalType.CANCEL), self._sdk.perform)
            except InstanceCancelled as error:
                return self._stop(error)
            except RuntaraError as error:
                if error.retry is Retry.NEVER:
                    return self.lose()
            await trio.sleep(_LOOK_AGAIN)

    def look_if_late(self) -> None:
        """Look for a cancel, if that was not done for long: a push may be lost."""
        self._ear.look_if_late()

    def _stop(self, why: Exception) -> None:
        if self._told is None:
            self._told = why
            self._walking.cancel()

    def _about(self) -> dict[str, object]:
        return {"instance_id": self._claim.instance_id, "epoch": self._claim.epoch}


class _Lost(Exception):
    """The instance is not ours any more: nothing is reported."""


class _LeadSdk(AsyncRuntaraSdk):
    """The SDK of an instance whose tasks rest rather than wait long for another try."""

    def __init__(self, door: Door, clock: Clock, is_over: Callable[[], bool]) -> None:
        super().__init__(door, clock)
        self._is_over: Final = is_over

    async def register_to_replay(self) -> Replay | None:
        """Begin the attempt; return what it need not ask for."""
        return (await self._run(flows.register(None, self._attempt_id, replay=True))).replay

    def pause(self, seconds: float) -> flows.Flow[None]:
        """Wait, if it is not for long. Raises `Resting` else, and once the worker goes home."""
        while True:
            since = self._session.pushes
            yield from self.look_for_signals()
            if seconds <= 0:
                return
            if seconds > REST_AFTER or self._is_over():
                raise Resting("", wake_at=instant_at(self.now_ms() + int(seconds * 1000)))
            seconds -= yield flows.AwaitPush(min(seconds, flows.RECHECK), since)
