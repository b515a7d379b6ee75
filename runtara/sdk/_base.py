"""What both faces of the SDK share: the session, the places in the program, and the state of the attempt."""

import random
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, Token
from math import inf
from typing import Any, Final

from runtara import messages
from runtara.clock import Clock
from runtara.errors import InvalidInput
from runtara.ids import InstanceKey, new_id
from runtara.sdk import _flows as flows
from runtara.sdk._places import Places
from runtara.transport import EmbeddedDoor

__all__ = ["TENANT", "SdkBase", "sdk_in_use"]

TENANT: Final = "default"
"""The tenant of those who do not say."""

sdk_in_use: ContextVar["SdkBase | None"] = ContextVar("runtara_sdk", default=None)
"""The SDK that durable functions use, in this task or thread."""


class SdkBase:
    """An instance's connection to the runtime. Use `RuntaraSdk` or `AsyncRuntaraSdk`."""

    def __init__(
        self,
        door: EmbeddedDoor,
        clock: Clock,
        *,
        park_after: float = inf,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self._door: Final = door
        self._session: Final = door.session
        self.clock: Final = clock
        self._attempt_id: Final = new_id()
        self.park_after: Final = park_after
        """Seconds from which on a sleep or wait suspends the instance and ends the program; for launched ones only."""
        self._places: Final = Places()
        self._scope: Any = None
        self._in_use: list[Token[SdkBase | None]] = []
        self._on_close = on_close
        self._looked_at = -1
        self.random: Final[Callable[[], float]] = random.random

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

    def now_ms(self) -> int:
        """Return the time of day, in milliseconds since 1970 UTC."""
        return self.clock.now_ms()

    def program_scope(self, make: Callable[[], Any]) -> Any:
        """Return the scope of steps that the program itself calls, made once."""
        if self._scope is None:
            self._scope = make()
        return self._scope

    def look_for_signals(self) -> flows.Flow[None]:
        """Raise if a signal to the whole instance waits; asks the runtime only if one was pushed since last time."""
        since = self._session.pushes
        if since != self._looked_at:
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

    def _check_registered(self, wish: Any) -> None:
        """Raise `InvalidInput` for a wish that only a registered attempt may have."""
        if self._session.epoch is None and not isinstance(wish, messages.RegisterInstance):
            raise InvalidInput(f"instance {self.instance_id} is not registered by this program: call register() first")
