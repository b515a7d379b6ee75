"""What both faces of the SDK share: the session, the places in the program, and the state of the attempt."""

import os
import random
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, Token
from itertools import count
from math import inf
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from runtara import messages
from runtara.clock import Clock
from runtara.errors import InvalidInput
from runtara.ids import InstanceKey, new_id
from runtara.sdk import _flows as flows
from runtara.sdk._scopes import Scope, scope_in_use
from runtara.sdk.progress import Reporter
from runtara.transport import Door, Session

__all__ = ["TENANT", "SdkBase", "registered_sdk", "sdk_in_use"]

TENANT: Final = "default"
"""The tenant of those who do not say."""

sdk_in_use: ContextVar["SdkBase | None"] = ContextVar("runtara_sdk", default=None)
"""The SDK that durable functions use, in this task or thread."""

Face = TypeVar("Face", bound="SdkBase")

registered_sdk: list["SdkBase"] = []
"""The SDK that durable functions use where none is in use, if there is one."""


class SdkBase:
    """An instance's connection to the runtime. Use `RuntaraSdk` or `AsyncRuntaraSdk`."""

    def __init__(
        self,
        door: Door,
        clock: Clock,
        *,
        park_after: float = inf,
        on_close: Callable[[], None] | None = None,
        replace: bool = False,
        fresh: bool = False,
    ) -> None:
        self._door: Final = door
        self._session: Final = door.session
        self.clock: Final = clock
        self._attempt_id: Final = new_id()
        self.park_after: Final = park_after
        """Seconds from which on a sleep or wait suspends the instance and ends the program; for launched ones only."""
        self._program: Final = Scope(self)
        self._progress: Final = Reporter()
        self._in_use: list[Token[SdkBase | None]] = []
        self._on_close = on_close
        self._replace: Final = replace
        """Whether the block of a `with` begins a new instance in the place of whatever has the id."""
        self._fresh: Final = fresh
        """Whether it is refused with `AlreadyExists` where something has been saved under the id."""
        self._looked_at = -1
        self.random: Final[Callable[[], float]] = random.random
        self._requests: Final = _Requests()
        self._others: Final[dict[type[SdkBase], SdkBase]] = {}

    @property
    def session(self) -> Session:
        """What was pushed, and what the instance was after the last report."""
        return self._session

    @property
    def instance_id(self) -> str:
        """The instance that this program is."""
        return self._session.key.instance_id

    @property
    def tenant_id(self) -> str:
        """Whose instance it is."""
        return self._session.key.tenant_id

    @property
    def key(self) -> InstanceKey:
        """Tenant and instance."""
        return self._session.key

    @property
    def is_registered(self) -> bool:
        """Whether the attempt has begun."""
        return self._session.epoch is not None

    @property
    def epoch(self) -> int | None:
        """The number of the attempt, from 1; None until it is registered."""
        return self._session.epoch

    @property
    def is_resumed(self) -> bool:
        """Whether an earlier attempt may have left something behind."""
        return self._session.epoch is not None and self._session.epoch > 1

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to the server right now; calls make one where there is none."""
        return self._door.is_connected

    def in_face(self, face: "type[Face]") -> "Face":
        """Return the SDK of the same attempt with another face: the same one each time."""
        if isinstance(self, face):
            return self
        other = self._others.get(face)
        if other is None:
            other = self._others[face] = face(self._door, self.clock, park_after=self.park_after)
        assert isinstance(other, face), "they are kept by what they are"
        return other

    def stop_heartbeat(self) -> None:
        """Say no more by itself that the program is alive; from then on, only its calls do."""
        self._door.stop_heartbeat()

    def now_ms(self) -> int:
        """Return the time of day, in milliseconds since 1970 UTC."""
        return self.clock.now_ms()

    @property
    def scope(self) -> Scope:
        """The part of the program that runs here: a durable function, an item of a loop, or the program itself."""
        scope = scope_in_use.get()
        return scope if scope is not None and scope.owner is self else self._program

    def hand_in(self, checkpoint_id: str, state: bytes) -> bool:
        """Have a checkpoint saved before anything else that this attempt says is answered; False where a call must.

        Raises what earlier ones are refused with.
        """
        return self._door.hand_in(checkpoint_id, state)

    def look_for_signals(self) -> flows.Flow[None]:
        """Raise if a signal to the whole instance waits; asks the runtime only if one was pushed since last time."""
        since = self._session.pushes
        if since != self._looked_at:
            if not self._door.is_left_alone():
                yield from flows.look()
            self._looked_at = since  # only now: a signal that was raised is raised again, until the program has ended

    def pause(self, seconds: float) -> flows.Flow[None]:
        """Wait, but raise as soon as a signal to the whole instance comes."""
        while True:
            since = self._session.pushes
            yield from self.look_for_signals()
            if seconds <= 0:
                return
            seconds -= yield flows.AwaitPush(min(seconds, flows.RECHECK), since)

    def _closed(self) -> None:
        if registered_sdk == [self]:
            registered_sdk.clear()
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()

    def _begin_use(self) -> None:
        """Become the SDK that durable functions use, in this task or thread."""
        self._in_use.append(sdk_in_use.set(self))

    def _end_use(self) -> None:
        """Give way to the SDK that was in use before."""
        with suppress(ValueError):  # left in another context than entered in, which is gone then
            sdk_in_use.reset(self._in_use.pop())

    def _prepare(self, wish: Any) -> Any:
        """Return a wish as it is to be sent. Raises `InvalidInput` for one that only a registered attempt may have."""
        kind = wish.__class__
        self.scope.check()
        if self._session.epoch is None and kind not in _OF_ANYBODY:
            raise InvalidInput(
                f"instance {self.instance_id} is not registered by this program: call register() first, "
                "or enter the SDK with `with`"
            )
        return replace(wish, request=self._requests.next()) if kind in _NUMBERED else wish


_OF_ANYBODY: Final = frozenset({messages.RegisterInstance, messages.GetHealth})
"""What may be asked before the attempt is registered."""

_NUMBERED: Final = frozenset({messages.SaveCheckpoint, messages.Sleep, messages.RecordEvent})
"""Commands that carry a number, by which the instance tells one that was sent again from another one like it."""


class _Requests:
    """Numbers for the calls of an attempt. They begin anywhere, and anew in a child process.

    Two processes may speak for one attempt, one after the other or at once: none must take the other's number.
    """

    def __init__(self) -> None:
        self._begin()

    def next(self) -> int:
        """Return a number that no other call of the attempt has."""
        if self._pid != os.getpid():
            self._begin()
        return next(self._numbers)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._numbers = count(random.getrandbits(52) + 1)
