"""The three faces of the SDK, so that one conversation is held with each: blocking, under trio, and under asyncio.

A conversation is an async function of a system. For the blocking face the system is wrapped so that it can be awaited;
such a conversation never really waits, and is run without a loop.
"""

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any, Self

import trio

from runtara.sdk import durable, embedded, use_sdk
from runtara.sdk.embedded import AsyncEmbedded, Embedded

__all__ = ["FACES", "Awaited", "Face", "commands_of", "outside", "when_it_waits"]

Conversation = Callable[[AsyncEmbedded], Coroutine[Any, Any, Any]]


class Awaited:
    """A blocking object whose methods are awaited."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not callable(found) or name.startswith("_") or name in ("close", "now_ms"):
            return found
        if name == "sdk":
            return lambda *args, **kwargs: Awaited(found(*args, **kwargs))

        async def call(*args: Any, **kwargs: Any) -> Any:
            return found(*args, **kwargs)

        return call

    async def __aenter__(self) -> Self:
        self.inner.__enter__()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        self.inner.__exit__(*exc_info)


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


def outside(system: Any) -> Embedded:
    """Return a way into the same system for another thread."""
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
