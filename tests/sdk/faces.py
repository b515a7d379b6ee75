"""The three faces of the SDK, so that one conversation is held with each: blocking, under trio, and under asyncio.

A conversation is an async function of a system. For the blocking face the system is wrapped so that it can be awaited;
such a conversation never really waits, and is run without a loop.
"""

import asyncio
import functools
import inspect
import itertools
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import trio

from runtara.sdk import AsyncRuntaraSdk, InstanceStatus, RuntaraSdk, SdkConfig, SignalType, durable, embedded, use_sdk
from runtara.sdk._types import StatusResponse
from runtara.sdk.embedded import AsyncEmbedded, Embedded
from tests.transport.quic.serving import Serving

__all__ = ["FACES", "Awaited", "Face", "RemoteFace", "Unspeakable", "commands_of", "outside", "when_it_waits"]

Conversation = Callable[[AsyncEmbedded], Coroutine[Any, Any, Any]]


class Awaited:
    """A blocking object whose methods are awaited."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not callable(found) or name.startswith("_") or name in ("close", "now_ms"):
            return found
        if name in ("sdk", "program", "each"):
            return lambda *args, **kwargs: Awaited(found(*args, **kwargs))

        async def call(*args: Any, **kwargs: Any) -> Any:
            return found(*args, **kwargs)

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "inner":
            super().__setattr__(name, value)
        else:
            setattr(self.inner, name, value)

    async def __aenter__(self) -> Any:
        entered = self.inner.__enter__()
        return self if entered is self.inner else entered

    async def __aexit__(self, *exc_info: Any) -> bool | None:
        swallowed: bool | None = self.inner.__exit__(*exc_info)
        return swallowed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self.inner)
        except StopIteration:
            raise StopAsyncIteration from None


class Face:
    """One way to hold a conversation."""

    def __init__(self, name: str) -> None:
        self.name = name

    def hold(self, conversation: Conversation, **options: Any) -> Any:
        """Open a system, in memory unless told otherwise, and hold the conversation with it."""
        options = {"url": "memory://"} | options
        if self.name != "sync":
            return (trio.run if self.name == "trio" else _run_asyncio)(_hold, conversation, options)
        with embedded.open(**options) as system:
            try:
                conversation(Awaited(system)).send(None)  # type: ignore[arg-type]  # it looks like an AsyncEmbedded
            except StopIteration as end:
                return end.value
            raise AssertionError("a conversation with the blocking face has waited")

    def durable(self, function: Callable[..., Any], **options: Any) -> Callable[..., Awaitable[Any]]:
        """Return a durable function of this face, to be awaited in any case."""
        if self.name == "sync":
            return _awaited(durable(**options)(function))

        return durable(**options)(_awaited(function))

    def use(self, sdk: Any) -> AbstractContextManager[None]:
        """Make the SDK the one that durable functions use."""
        return use_sdk(sdk.inner if isinstance(sdk, Awaited) else sdk)


FACES = [Face(name) for name in ("sync", "trio", "asyncio")]


async def _hold(conversation: Conversation, options: dict[str, Any]) -> Any:
    async with embedded.open(**options) as system:
        return await conversation(system)


def _run_asyncio(hold: Any, *args: Any) -> Any:
    return asyncio.run(hold(*args))


def _awaited(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


class Remote:
    """A server as a conversation sees it, who has a tenant of its own: what it calls is what an embedded system has."""

    def __init__(self, server: Serving, tenant_id: str, kind: type[RuntaraSdk] | type[AsyncRuntaraSdk]) -> None:
        self.server = server
        self.tenant_id = tenant_id
        self._kind = kind
        self._sdks: list[Any] = []
        self._manager = self._open("manager", tenant_id)

    def _config(self, instance_id: str, tenant_id: str) -> SdkConfig:
        config = SdkConfig(instance_id, tenant_id).with_server_addr(self.server.address)
        config = config.with_ca_file(str(self.server.identity.ca_file))
        return config.with_connect_timeout_ms(60_000).with_request_timeout_ms(60_000)  # machines stand still at times

    def sdk(self, instance_id: str, tenant_id: str | None = None) -> Any:
        return self._open(instance_id, self.tenant_id if tenant_id is None else tenant_id)

    def _open(self, instance_id: str, tenant_id: str) -> Any:
        self._sdks.append(self._kind.new(self._config(instance_id, tenant_id)))
        return self._sdks[-1]

    async def status(self, instance_id: str, tenant_id: str | None = None) -> StatusResponse:
        manager = self._manager if tenant_id is None else self._open("manager", tenant_id)
        found: StatusResponse = await _maybe(manager.get_instance_status(instance_id))
        return found

    async def signal(self, instance_id: str, signal_type: SignalType, payload: bytes = b"") -> InstanceStatus:
        status: InstanceStatus = await _maybe(self._manager.send_signal(instance_id, signal_type, payload))
        return status

    async def custom_signal(self, instance_id: str, name: str, payload: bytes = b"") -> InstanceStatus:
        status: InstanceStatus = await _maybe(self._manager.send_custom_signal(instance_id, name, payload))
        return status

    def close(self) -> None:
        for sdk in self._sdks:
            sdk.close()


async def _maybe(found: Any) -> Any:
    return await found if inspect.isawaitable(found) else found


class Outside:
    """A way to a server for another thread."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def __getattr__(self, name: str) -> Any:
        inside = self._remote
        blocking = Remote(inside.server, inside.tenant_id, RuntaraSdk)
        if name == "sdk":
            return blocking.sdk

        def call(*args: Any) -> Any:
            try:
                getattr(blocking, name)(*args).send(None)
            except StopIteration as end:
                return end.value
            finally:
                blocking.close()
            raise AssertionError("a blocking call has waited")

        return call


class RemoteFace(Face):
    """A way to hold a conversation with a server, over QUIC."""

    _tenants = itertools.count(1)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.server: Serving | None = None
        """The one that serves all conversations without settings of their own."""

    def hold(self, conversation: Any, **options: Any) -> Any:
        """Hold the conversation with a server that has these settings."""
        if options:
            with TemporaryDirectory() as folder, Serving(Path(folder) / "data", **options) as server:
                return self._hold(conversation, server)
        assert self.server is not None
        return self._hold(conversation, self.server)

    def _hold(self, conversation: Any, server: Serving) -> Any:
        remote = Remote(server, f"tenant-{next(self._tenants)}", RuntaraSdk if self.name == "sync" else AsyncRuntaraSdk)
        try:
            if self.name != "sync":
                return (trio.run if self.name == "trio" else _run_asyncio)(conversation, remote)
            remote_sdk = remote.sdk
            remote.sdk = lambda *args: Awaited(remote_sdk(*args))  # type: ignore[method-assign]
            try:
                conversation(remote).send(None)
            except StopIteration as end:
                return end.value
            raise AssertionError("a conversation with the blocking face has waited")
        finally:
            remote.close()


def outside(system: Any) -> Any:
    """Return a way into the same system for another thread."""
    if isinstance(system, Remote):
        return Outside(system)
    return Embedded(system._doors, system._programs)


def when_it_waits(sdk: Any, action: Callable[[], object]) -> None:
    """Have `action` called on another thread as soon as the program waits for a push; once."""
    session = sdk._session
    on_push = session.on_push

    def hook(since: int, wake: Callable[[], None]) -> None:
        del session.on_push
        on_push(since, wake)
        threading.Thread(target=action).start()

    session.on_push = hook


class Unspeakable(Exception):
    """An error whose words fail, and all else that is asked of it."""

    def __str__(self) -> str:
        raise LookupError("no words")

    __repr__ = __str__

    @property
    def retry_after(self) -> float:
        raise KeyError("Retry-After")


def commands_of(sdk: Any) -> list[str]:
    """Return a list that will name every command that the program sends."""
    door, names = sdk._door, []
    call, call_from_thread = door.call, door.call_from_thread

    async def noted(command: Any, **options: Any) -> Any:
        names.append(type(command).__name__)
        return await call(command, **options)

    def noted_blocking(command: Any, **options: Any) -> Any:
        names.append(type(command).__name__)
        return call_from_thread(command, **options)

    door.call, door.call_from_thread = noted, noted_blocking
    return names
