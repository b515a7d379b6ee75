"""Where the instances of workflows are kept: in memory, in SQLite, in PostgreSQL, or by a server."""

import threading
from os import PathLike
from typing import Any, Final, Self, cast

from runtara.clock import Clock, SystemClock
from runtara.errors import InvalidInput
from runtara.sdk._base import TENANT
from runtara.sdk.aio import AsyncRuntaraSdk
from runtara.sdk.embedded import AsyncEmbedded, Embedded, Opening
from runtara.sdk.embedded import open as open_embedded
from runtara.sdk.flow._policies import parse_duration
from runtara.sdk.flow.errors import BackendError
from runtara.sdk.flow.tracing import is_tracing
from runtara.sdk.sync import RuntaraSdk
from runtara.transport import Door

__all__ = [
    "Backend",
    "InMemoryBackend",
    "PostgresBackend",
    "RemoteBackend",
    "SqliteBackend",
    "SystemBackend",
    "checked_backend",
]

_MANAGER: Final = "workflows"
"""The instance that a connection names where it is about none."""

_NEVER_MS: Final = 10**12


class Backend:
    """A way to instances. It opens when it is first used, from any thread; `close`, or `with`, ends it."""

    clock: Clock = SystemClock()
    tenant_id: str = TENANT

    def open_door(self, instance_id: str, epoch: int | None = None, *, beats: bool = True) -> Door:
        """Return the way of a program to its own instance: of the attempt `epoch`, or of one yet to be registered.

        Unless it `beats`, it does not say by itself that the attempt is alive.
        """
        raise NotImplementedError

    def sdk(self, instance_id: str, *, replace: bool = False, fresh: bool = False) -> RuntaraSdk:
        """Return the SDK of an instance, for a thread that blocks; with `replace`, of a new one in its place.

        With `fresh`, an instance in which something has been saved is refused with `AlreadyExists`.
        """
        return RuntaraSdk(self.open_door(instance_id), self.clock, replace=replace, fresh=fresh)

    def async_sdk(self, instance_id: str, *, replace: bool = False, fresh: bool = False) -> AsyncRuntaraSdk:
        """Return the SDK of an instance, for a task that awaits; otherwise like `sdk`."""
        return AsyncRuntaraSdk(self.open_door(instance_id), self.clock, replace=replace, fresh=fresh)

    def beside(self, instance_id: str, *, watch: bool = False) -> Door:
        """Return the way of somebody who manages an instance."""
        return self.open_door(_MANAGER).beside(instance_id, watch=watch)

    def close(self) -> None:
        """Let go of what was opened, once everything acknowledged is stored; harmless when repeated."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def checked_backend(backend: object) -> Backend:
    """Return a backend, if it is one. Raises `InvalidInput`, which is a `TypeError`."""
    if not isinstance(backend, Backend):
        raise _NoBackend(f"{backend!r:.80} is no backend: use InMemoryBackend(), SqliteBackend(folder) or another")
    return backend


class _NoBackend(InvalidInput, TypeError):
    """Something else was given."""


class _OwnSystem(Backend):
    """A system of its own, on a thread of its own."""

    def __init__(self, **options: Any) -> None:
        self._options: Final = options
        self._lock: Final = threading.Lock()
        self._opening: Opening | None = None
        self._system: Embedded | None = None

    def open_door(self, instance_id: str, epoch: int | None = None, *, beats: bool = True) -> Door:
        """Return the way of a program to its own instance. Raises what the store refuses with."""
        return _as_attempt(self._opened().open_door(instance_id, self.tenant_id), epoch)

    def beside(self, instance_id: str, *, watch: bool = False) -> Door:
        """Return the way of somebody who manages an instance."""
        return (
            super().beside(instance_id, watch=True)
            if watch
            else self._opened().open_beside(instance_id, self.tenant_id)
        )

    def _opened(self) -> Embedded:
        with self._lock:
            if self._system is None:
                self._opening = open_embedded(**({"otel": True} if is_tracing() else {}) | self._options)
                self._system = self._opening.__enter__()
            return self._system

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def close(self) -> None:
        """Stop the system."""
        with self._lock:
            opening, self._opening, self._system = self._opening, None, None
        if opening is not None:
            opening.__exit__(None, None, None)


class InMemoryBackend(_OwnSystem):
    """Keeps instances in memory: they are gone with `close`, or with the process."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(url="memory://", **settings)


class SqliteBackend(_OwnSystem):
    """Keeps instances in the SQLite file of a data folder, for one process at a time."""

    def __init__(self, data_dir: str | PathLike[str], **settings: Any) -> None:
        if cast(object, data_dir) is None:
            raise BackendError("there is no folder to keep instances in: give the path of one")
        super().__init__(data_dir=data_dir, **settings)


class PostgresBackend(_OwnSystem):
    """Keeps instances in PostgreSQL (``postgresql://user@host/database``), for any number of processes.

    `statement_timeout_secs` is how long one statement may take. What else the field's Python binding says of its pool
    of connections is taken and changes nothing: there is no pool, but a handful of connections that stay. `settings`
    are fields of `Settings`. It connects when it is first used.
    """

    def __init__(
        self,
        url: str,
        *,
        max_connections: int | None = None,
        min_connections: int | None = None,
        acquire_timeout_secs: float | None = None,
        idle_timeout_secs: float | None = None,
        max_lifetime_secs: float | None = None,
        statement_timeout_secs: float | None = None,
        idle_in_transaction_session_timeout_secs: float | None = None,
        **settings: Any,
    ) -> None:
        if not (isinstance(cast(object, url), str) and url.startswith(("postgresql://", "postgres://"))):
            raise BackendError(  # the address itself stays unsaid: there may be a password in it
                "this is no address of a PostgreSQL database: use one like postgresql://user:password@host:5432/name"
            )
        if statement_timeout_secs is not None:
            settings.setdefault("database_timeout_ms", int(parse_duration(statement_timeout_secs) * 1000))
        super().__init__(url=url, **settings)


class SystemBackend(Backend):
    """The instances of a system that somebody else has opened in this process, and closes."""

    def __init__(self, system: Embedded | AsyncEmbedded, tenant_id: str = TENANT) -> None:
        self._system: Final = system
        self.tenant_id = tenant_id
        self.clock = system.runtime.clock

    def open_door(self, instance_id: str, epoch: int | None = None, *, beats: bool = True) -> Door:
        """Return the way of a program to its own instance."""
        return _as_attempt(self._system.open_door(instance_id, self.tenant_id), epoch)

    def beside(self, instance_id: str, *, watch: bool = False) -> Door:
        """Return the way of somebody who manages an instance."""
        return (
            super().beside(instance_id, watch=True) if watch else self._system.open_beside(instance_id, self.tenant_id)
        )


def _as_attempt(door: Door, epoch: int | None) -> Door:
    door.session.epoch = epoch
    return door


class RemoteBackend(Backend):
    """The instances of a server: `config` gives the configuration of the SDK for an instance id."""

    def __init__(self, address: str, tenant_id: str = TENANT, **options: Any) -> None:
        self._address: Final = address
        self._options: Final = options
        self._lock: Final = threading.Lock()
        self._door: Door | None = None
        self.tenant_id = tenant_id

    def open_door(self, instance_id: str, epoch: int | None = None, *, beats: bool = True) -> Door:
        """Return the way of a program to its own instance; it connects when it is used."""
        from runtara.sdk.config import SdkConfig

        options = ({"otel": True} if is_tracing() else {}) | self._options
        config = SdkConfig(instance_id, self.tenant_id, self._address, epoch=epoch, **options)
        return (config if beats else config.with_heartbeat_interval_ms(_NEVER_MS)).open_door()

    def beside(self, instance_id: str, *, watch: bool = False) -> Door:
        """Return the way of somebody who manages an instance, over one connection for all of them."""
        with self._lock:
            if self._door is None:
                self._door = self.open_door(_MANAGER)
            return self._door.beside(instance_id, watch=watch)

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            door, self._door = self._door, None
        if door is not None:
            door.close()
