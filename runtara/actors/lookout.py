"""Work that goes on by itself, as an actor: under supervision like everything else, and seen in the tree."""

from collections.abc import Awaitable, Callable

from runtara.actors._service import Actor

__all__ = ["Lookout"]


class Lookout(Actor):
    """Does what `watch` does, which never ends, for as long as this incarnation lives."""

    def __init__(self, watch: Callable[[], Awaitable[None]]) -> None:
        self._watch = watch

    async def on_start(self) -> None:
        """Begin."""
        self.start_soon(self._watch)
