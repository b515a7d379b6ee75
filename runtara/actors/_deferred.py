"""An answer that an actor gives later, while it hears on."""

from collections.abc import Awaitable, Callable
from math import inf

import trio

from runtara.actors._reply import Reply
from runtara.errors import RuntaraError

__all__ = ["Deferred"]


class Deferred:
    """What a handler returns in place of a reply that will come from another task, while the actor hears on.

    Only in an actor that is not `AT_ONCE`. Whoever holds it answers, also when the actor goes down in the meantime.
    """

    __slots__ = ("_reply",)

    def __init__(self) -> None:
        self._reply: Reply | None = None

    @property
    def deadline(self) -> float:
        """Until when somebody waits, on the clock of the loop; after the handler has returned."""
        return inf if self._reply is None else self._reply.deadline

    @property
    def is_open(self) -> bool:
        """Whether somebody waits for the answer; after the handler has returned."""
        return self._reply is not None and self._reply.waiter is not None

    def settle(self, value: object) -> None:
        """Answer with `value`, unless nobody waits any more."""
        if self._reply is not None:
            self._reply.settle(value)

    def fail(self, error: BaseException) -> None:
        """Answer with `error`, unless it is answered or nobody waits any more."""
        if self._reply is not None:
            self._reply.fail(error)

    async def answer(self, work: Callable[[], Awaitable[object]], interrupted: Callable[[], BaseException]) -> None:
        """Answer with what comes of some work, which is given up when nobody waits any more.

        `interrupted` makes the error for whoever still waits when the work is cut off.
        """
        try:
            with trio.move_on_at(self.deadline):
                self.settle(await work())
        except RuntaraError as error:
            self.fail(error)
        except BaseException:
            self.fail(interrupted())
            raise

    def bind(self, reply: Reply) -> None:
        """Take the question over from the actor."""
        self._reply = reply
