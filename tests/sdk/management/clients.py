"""The three faces of the management client, in front of a system in the same process and of a server over QUIC.

A conversation is an async function of a client. The blocking client is wrapped so that it can be awaited; a
conversation with it never really waits, and is run without a loop.
"""

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Self

import trio

from runtara import messages
from runtara.errors import Forbidden
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.records import ImageOptions
from runtara.sdk import embedded
from runtara.sdk._doors import Doors
from runtara.sdk._programs import ProgramHost
from runtara.sdk.management import AsyncioManagement, Management, TrioManagement
from runtara.sdk.sync import RuntaraSdk
from runtara.system import open_runtime
from runtara.transport import Session
from tests.transport.quic.serving import Serving

__all__ = ["CLIENTS", "PROGRAMS", "Client", "Listening", "ServingPrograms", "blocking", "when_it_waits"]

CLIENTS = {"sync": Management, "trio": TrioManagement, "asyncio": AsyncioManagement}


def greet(sdk: RuntaraSdk) -> Any:
    """Two checkpoints, a note and an output that is JSON."""
    sdk.checkpoint("begun", b"")
    sdk.checkpoint("greeted", b"state")
    sdk.custom_event("note", b"half-way")
    return {"hello": (sdk.load_input() or b"nobody").decode()}


def fail(sdk: RuntaraSdk) -> Any:
    """One failed try, and a failure."""
    sdk.checkpoint("begun", b"")
    sdk.record_retry_attempt("step", 1, "no paper")
    raise ValueError("there is no more paper")


def wait(sdk: RuntaraSdk) -> Any:
    """Wait for the word."""
    found = sdk.wait_for_signal("word")
    return b"" if found is None else found.payload


def rest(sdk: RuntaraSdk) -> Any:
    """Wait for the word while nobody keeps the program in memory."""
    sdk.checkpoint("begun", b"")
    sdk.park_after = 0  # type: ignore[misc]  # it is set for as long as a host says so
    found = sdk.wait_for_signal("word")
    return b"" if found is None else found.payload


PROGRAMS: dict[str, Callable[..., Any]] = {"greet": greet, "fail": fail, "wait": wait, "rest": rest}


class ServingPrograms(Serving):
    """A QUIC server in front of a system that runs functions as programs."""

    def __init__(self, folder: Path, programs: Mapping[str, Callable[..., Any]], **settings: Any) -> None:
        super().__init__(folder, **settings)
        self._programs = programs

    async def _main(self) -> None:
        host = ProgramHost(self._programs)
        self._token, self._stopped = trio.lowlevel.current_trio_token(), trio.Event()
        async with (
            open_runtime(self.settings, programs=host.programs) as self.runtime,
            trio.open_nursery() as self._nursery,
        ):
            host.open(Doors(self.runtime))
            self.gate = self._gate(self.runtime)
            await self._start()
            self._ready.set()
            await self._stopped.wait()
            await self._stop()


class AwaitedRows:
    """A list of the blocking client, or what follows something, as an async program sees it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._rows: Any = None

    def __aiter__(self) -> Self:
        self._rows = iter(self._inner)
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self._rows)
        except StopIteration:
            raise StopAsyncIteration from None

    async def page(self, cursor: str | None = None) -> Any:
        return self._inner.page(cursor)

    def pages(self) -> "AwaitedRows":
        return AwaitedRows(self._inner.pages())

    def close(self) -> None:
        self._inner.close()


class AwaitedClient:
    """The blocking client, whose methods are awaited."""

    def __init__(self, inner: Management) -> None:
        self._inner = inner
        self._door = inner._door

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found) or name == "close":
            return found
        if name.startswith(("list_", "follow_")) or name == "watch":
            return lambda *args, **kwargs: AwaitedRows(found(*args, **kwargs))

        async def call(*args: Any, **kwargs: Any) -> Any:
            return found(*args, **kwargs)

        return call


Conversation = Callable[[Any], Coroutine[Any, Any, Any]]


class Client:
    """One face of the client before one door."""

    _tenants = itertools.count(1)

    def __init__(self, name: str, door: str) -> None:
        self.name = name
        self.door = door
        self.server: ServingPrograms | None = None

    def hold(self, conversation: Conversation) -> Any:
        """Hold a conversation with a client of a tenant of its own."""
        if self.name == "trio":
            return trio.run(self._hold, conversation)
        if self.name == "asyncio":
            return asyncio.run(self._hold(conversation))
        if self.server is not None:
            with Management.connect(**self._where()) as client:
                return blocking(conversation, AwaitedClient(client))
        with embedded.open(url="memory://", programs=PROGRAMS) as system, Management.embedded(system) as client:
            return blocking(conversation, AwaitedClient(client))

    async def _hold(self, conversation: Conversation) -> Any:
        kind: Any = CLIENTS[self.name]
        if self.server is not None:
            async with kind.connect(**self._where()) as client:
                return await conversation(client)
        async with embedded.open(url="memory://", programs=PROGRAMS) as system, kind.embedded(system) as client:
            return await conversation(client)

    def _where(self) -> dict[str, Any]:
        assert self.server is not None
        return {
            "address": self.server.address,
            "tenant": f"tenant-{next(self._tenants)}",
            "fingerprint": self.server.identity.fingerprint,
        }


def blocking(conversation: Conversation, client: Any) -> Any:
    """Hold a conversation that never waits."""
    try:
        conversation(client).send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("a conversation with the blocking client has waited")


def when_it_waits(client: Any, action: Callable[[Management], object]) -> None:
    """Have `action` called with a blocking client as soon as the next door beside the client's waits for a push."""
    door, beside = client._door, client._door.beside

    def hook(instance_id: str, *, watch: bool = False) -> Any:
        found = beside(instance_id, watch=watch)
        if not watch:
            return found
        del door.beside
        session = found.session
        on_push = session.on_push

        def waits(since: int, wake: Callable[[], None]) -> None:
            del session.on_push
            on_push(since, wake)
            threading.Thread(target=action, args=(Management(door),)).start()

        session.on_push = waits
        return found

    door.beside = hook


_INFO = messages.InstanceInfo(tenant_id="t", instance_id="a", status=Status.FAILED, epoch=1, created_at=0)
_IMAGE = messages.ImageInfo(
    image_id="a",
    name="a",
    version=1,
    current=True,
    kind="python",
    digest="",
    size=1,
    pushed_at=0,
    description="",
    metadata=b"{}",
    defaults=None,
    options=ImageOptions(),
)
_FIRST: dict[type, Any] = {
    messages.GetStatus: _INFO,
    messages.GetImage: _IMAGE,
    messages.PushImage: messages.ImagePushed(offset=0),
}
"""What is answered before it comes to the command that is meant."""


class Listening:
    """A door that hears whether a certain command is asked, and refuses it."""

    def __init__(self, awaited: type) -> None:
        self.session = Session(InstanceKey("t", "a"))
        self.awaited = awaited
        self.heard = False

    def beside(self, instance_id: str, *, watch: bool = False) -> Self:
        return self

    async def call(self, command: Any, *, timeout: float | None = None) -> Any:
        await trio.lowlevel.checkpoint()
        return self.call_from_thread(command)

    def call_from_thread(self, command: Any, *, timeout: float | None = None) -> Any:
        if type(command) is self.awaited:
            self.heard = True
            raise Forbidden("it was heard")
        return _FIRST[type(command)]

    def connect_from_thread(self) -> None: ...

    def close(self) -> None: ...
