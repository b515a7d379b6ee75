"""A small kind of cell: sums that are kept in a dictionary, by a store that fails and waits as it is told."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from runtara.actors import Decision, Region, Write
from runtara.actors._reply import Reply
from runtara.actors._service import hears
from runtara.errors import InvalidInput
from tests.actors.troupe import Fail

__all__ = ["Ask", "Crash", "Effect", "Read", "Shelf", "Sum", "Tally"]


class Sum(msgspec.Struct, frozen=True):
    """A cell's state."""

    total: int = 0
    version: int = 0


class Read(msgspec.Struct, frozen=True):
    """Return the total; changes nothing."""


class Ask(msgspec.Struct, frozen=True):
    """Needs this to be looked up; returns what was found."""

    what: str


class Effect(msgspec.Struct, frozen=True):
    """Add one, and have this performed."""

    what: Any


class Crash(msgspec.Struct, frozen=True):
    """Crash the region, not a cell."""


class Shelf:
    """What is stored, and what the store is told to do. Plain data, shared by the lives of a region."""

    def __init__(self) -> None:
        self.sums: dict[Any, Sum] = {}
        self.log: list[Any] = []
        """Every call, in order: ("hydrate", keys), ("persist", {key: events}), ("reply", …), ("perform", …)."""
        self.hold_loads = False
        self.hold_writes = False
        self.hold_look_ups = False
        self.held: list[Callable[[], None]] = []
        """What was begun and is not settled; call to settle it."""
        self.load_errors: dict[Any, Exception] = {}
        self.load_error: Exception | None = None
        self.write_error: BaseException | None = None
        self.conflicts = 0
        """Writes that lose a race, still to come."""
        self.found: dict[str, Any] = {}
        self.perform_error: BaseException | None = None

    def calls(self, kind: str) -> list[Any]:
        """What was asked of the store under this name."""
        return [what for name, what in self.log if name == kind]

    def release(self) -> None:
        """Settle what is held, in order."""
        self.hold_loads = self.hold_writes = self.hold_look_ups = False
        held, self.held = self.held, []
        for settle in held:
            settle()


class Tally(Region[Any, Sum]):
    """Adds integers, refuses strings, and fails as it is told."""

    def __init__(self, shelf: Shelf, **options: Any) -> None:
        super().__init__(**options)
        self.shelf = shelf

    def hydrate(self, keys: Sequence[Any], settle: Callable[[Any], None]) -> None:
        shelf = self.shelf
        shelf.log.append(("hydrate", list(keys)))

        def load() -> None:
            states: Mapping[Any, Any] = {key: shelf.load_errors.get(key) or shelf.sums.get(key, Sum()) for key in keys}
            settle(shelf.load_error or states)

        self._do(load, shelf.hold_loads)

    def needs(self, state: Sum, message: Any) -> Any:
        return message.what if isinstance(message, Ask) else None

    def look_up(self, key: Any, needs: Any, settle: Callable[[Any], None]) -> None:
        self.shelf.log.append(("look up", needs))
        self._do(lambda: settle(self.shelf.found.get(needs)), self.shelf.hold_look_ups)

    def decide(self, state: Sum, message: Any, now_ms: int, found: Any) -> Decision:
        if isinstance(message, int):
            return Decision(events=(message,), reply=state.total + message)
        if isinstance(message, Read):
            return Decision(reply=state.total)
        if isinstance(message, Ask):
            return Decision(reply=found)
        if isinstance(message, Effect):
            return Decision(events=(1,), reply=state.total + 1, effects=(message.what,))
        if isinstance(message, Fail):
            raise message.error
        raise InvalidInput(message)

    def evolve(self, state: Sum, event: Any) -> Sum:
        return Sum(state.total + event, state.version)

    def persist(self, writes: Sequence[Write[Any, Sum]], settle: Callable[[Any], None]) -> None:
        shelf = self.shelf
        shelf.log.append(("persist", {write.key: list(write.events) for write in writes}))

        def store() -> None:
            if shelf.write_error is not None:
                settle(shelf.write_error)
                return
            settle([self._store(write) for write in writes])

        self._do(store, shelf.hold_writes)

    def _store(self, write: Write[Any, Sum]) -> bool:
        stored = self.shelf.sums.get(write.key, Sum())
        if self.shelf.conflicts:
            self.shelf.conflicts -= 1
            self.shelf.sums[write.key] = Sum(stored.total + 100, stored.version + 1)
            return False
        assert write.before.version == stored.version, "it was decided on what is stored"
        self.shelf.sums[write.key] = Sum(write.after.total, stored.version + 1)
        return True

    def kept(self, state: Sum, write: Write[Any, Sum]) -> Sum:
        return Sum(state.total, state.version + 1)

    def perform(self, key: Any, state: Sum, effects: Sequence[Any]) -> None:
        self.shelf.log.append(("perform", list(effects)))
        if self.shelf.perform_error is not None:
            raise self.shelf.perform_error

    @hears(Crash)
    def crash(self, _: Crash) -> None:
        raise RuntimeError("the region has a bug")

    def _do(self, work: Callable[[], None], hold: bool) -> None:
        if hold:
            self.shelf.held.append(work)
        else:
            work()

    def note(self, reply: Reply) -> None:
        """Write down when a reply leaves; a callback for `ask_then`."""
        self.shelf.log.append(("reply", reply.value if reply.error is None else reply.error))
