"""How a region decides a message to one of its cells: on the state that it has, or on one that is presumed.

Nothing is kept here, and nobody is answered but by what the write says.
"""

from collections.abc import Hashable
from typing import Any, TypeVar

from runtara.actors._cell import UNREAD, Cell, CellKind, Write
from runtara.actors._service import Actor
from runtara.errors import Internal, RuntaraError

__all__ = ["Decider", "name_of"]

K = TypeVar("K", bound=Hashable)
S = TypeVar("S")


class Decider(Actor, CellKind[K, S]):
    """The part of a region that decides."""

    def _decide_presumed(self, key: K, cell: Cell[S], now_ms: int, writes: list[Write[K, S]]) -> bool:
        """Decide the first message to a cell on the state that it presumes, if that leads to something to be kept."""
        if cell.conflicts or not cell.mail:
            return False
        message, reply = cell.mail[0]
        state = None if reply is not None and reply.waiter is None else self.presume(key, message, cell.believed)
        if state is None:
            return False
        write = Write(key, cell, state)
        answer = self._decide(write, message, now_ms, None)
        if not write.events:
            return False  # what is refused, or changes nothing, is for the stored state to say
        write.burst.append(cell.mail.popleft())
        write.answers.append(answer)
        writes.append(write)
        return True

    def _needs(self, cell: Cell[S], state: S, message: Any) -> Any:
        if cell.found is not UNREAD:
            return None
        try:
            return self.needs(state, message)
        except BaseException as error:  # noqa: BLE001 - fails the message, where it is decided
            cell.found = error
            return None

    def _decide(self, write: Write[K, S], message: Any, now_ms: int, found: Any) -> Any:
        """Add what comes of the message to the write; return the answer to it."""
        try:
            if isinstance(found, BaseException):
                raise found
            decision = self.decide(write.after, message, now_ms, found)
            after = write.after
            for event in decision.events:
                after = self.evolve(after, event)
        except RuntaraError as refusal:
            return refusal
        except BaseException as error:  # noqa: BLE001 - answered
            return self._bug(f"{name_of(write.key)} could not handle {type(message).__name__}", error)
        write.after = after
        write.events.extend(decision.events)
        write.effects.extend(decision.effects)
        return decision.reply

    def _bug(self, what: str, error: BaseException) -> RuntaraError:
        """Return what those are told who met `error`: itself if it is a refusal."""
        if isinstance(error, RuntaraError):
            return error
        self._slot.failure = error
        bug = Internal(f"{what}: {error!r}")
        bug.__cause__ = error
        return bug


def name_of(key: object) -> str:
    """Return how a cell is called in what people read."""
    return "/".join(map(str, key)) if isinstance(key, tuple) else str(key)
