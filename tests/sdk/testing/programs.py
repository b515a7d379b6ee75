"""Programs to rehearse: each kind of each, written once."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from runtara.sdk import RuntaraSdk, durable

__all__ = ["KINDS", "Kind"]


class Kind(NamedTuple):
    """A way to run a program: sync, or async under one of the libraries."""

    name: str
    library: Literal["trio", "asyncio"] = "trio"

    def program(self, body: Callable[..., Any]) -> Callable[..., Any]:
        """Return the program that awaits, or the one that blocks. The body is async, and awaits what it is given."""
        if self.name != "sync":

            async def awaiting(sdk: Any, *world: Any) -> Any:
                return await body(sdk, _step(self), *world)

            return awaiting

        def blocking(sdk: RuntaraSdk, *world: Any) -> Any:
            try:
                body(_Awaited(sdk), _step(self), *world).send(None)
            except StopIteration as end:
                return end.value
            raise AssertionError("a blocking program has waited")

        return blocking


KINDS = [Kind("sync"), Kind("trio"), Kind("asyncio", "asyncio")]


class _Awaited:
    def __init__(self, sdk: RuntaraSdk) -> None:
        self._sdk = sdk

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            return getattr(self._sdk, name)(*args, **kwargs)

        return call


def _step(kind: Kind) -> Callable[..., Any]:
    """A durable step that calls what it is given, and returns what comes of it."""
    if kind.name != "sync":

        @durable(key="{name}")
        async def step(name: str, action: Callable[[], Any]) -> Any:
            return action()

        return step

    @durable(key="{name}")
    def blocking(name: str, action: Callable[[], Any]) -> Any:
        return action()

    async def awaited(name: str, action: Callable[[], Any]) -> Any:
        return blocking(name, action)

    return awaited
