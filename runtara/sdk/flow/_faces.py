"""How a walk is taken: by blocking a thread, or by awaiting. What its wishes mean, others know."""

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import datetime
from functools import partial
from types import CoroutineType
from typing import Any, Final, Protocol

import msgspec

from runtara.errors import MailboxFull
from runtara.messages import AwaitedSignal
from runtara.sdk._base import SdkBase
from runtara.sdk._bodies import Outcome, try_async, try_blocking, try_in_loop
from runtara.sdk._drive import drive, drive_blocking
from runtara.sdk._flows import Flow
from runtara.sdk._scopes import Scope, scope_in_use
from runtara.sdk.aio import AsyncRuntaraSdk
from runtara.sdk.context import use_sdk
from runtara.sdk.flow._codecs import Codec
from runtara.sdk.flow._failures import name_of_class
from runtara.sdk.flow._libraries import Loops, library_of_coroutine
from runtara.sdk.flow._walk import RunTask, Together, Walk, keep, take
from runtara.sdk.flow.context import TaskExecutionContext, context_in_use
from runtara.sdk.flow.errors import TaskTimedOut
from runtara.sdk.sync import RuntaraSdk
from runtara.threads import Library, in_thread, pause, run_async, running_library, together

__all__ = ["Awaiting", "Blocking", "HandedOver", "Means", "Resting", "TryTask", "facing", "patiently"]


class TryTask(msgspec.Struct, frozen=True):
    """Run a task once; the reply is an `Outcome` with what it has returned, as bytes."""

    codec: Codec
    wish: RunTask
    scope: Scope
    context: TaskExecutionContext

    @property
    def timeout(self) -> float | None:
        """How many seconds it may take."""
        return self.wish.task.spec.metadata.timeout_secs

    def call(self, loops: Loops) -> bytes:
        """Call a function that blocks. Where it returns a coroutine, that is run here, in a loop of its own."""
        outer = context_in_use.set(self.context)
        try:
            returned = self.wish.task.spec.function(*take(self.codec, self.wish))
            if isinstance(returned, CoroutineType):  # of a lambda, or of what decorates an async function
                returned = self._run(returned, loops.of(library_of_coroutine(returned)))
            return keep(self.codec, self.wish, returned)
        finally:
            context_in_use.reset(outer)

    def _run(self, coroutine: "CoroutineType[Any, Any, Any]", library: Library) -> Any:
        owner = self.scope.owner
        if not isinstance(owner, SdkBase):
            return run_async(library, lambda: coroutine)
        face = owner.in_face(AsyncRuntaraSdk)
        outer = scope_in_use.set(Scope(face, self.scope.path, scope_in_use.get()))
        try:
            with use_sdk(face):
                return run_async(library, lambda: coroutine)
        finally:
            scope_in_use.reset(outer)

    async def call_async(self) -> bytes:
        """Await an async function."""
        outer = context_in_use.set(self.context)
        try:
            return keep(self.codec, self.wish, await self.wish.task.spec.function(*take(self.codec, self.wish)))
        finally:
            context_in_use.reset(outer)

    def told(self, outcome: Outcome) -> Outcome:
        """Return an outcome in which a try that took too long says so."""
        if not outcome.is_over:
            return outcome
        self.context.stop.is_set = True
        over = TaskTimedOut(
            f"task {self.wish.place!r} took longer than {self.timeout:g} seconds",
            task_id=self.wish.place,
            error_type=name_of_class(TaskTimedOut),
        )
        return Outcome(error=over)


class Resting(Exception):
    """No error: there is nothing left to do before an instant, or before a signal comes."""

    def __init__(
        self,
        place: str,
        *,
        wake_at: datetime | None,
        signal_name: str | None = None,
        awaits: tuple[AwaitedSignal, ...] = (),
        others: int = 0,
        is_stored: bool = False,
    ) -> None:
        super().__init__(place)
        self.place = place
        self.wake_at = wake_at
        self.signal_name = signal_name
        """None for a delay."""
        self.awaits = awaits
        """All signals that are waited for, those of other branches included."""
        self.others = others
        """How many other branches rest as well."""
        self.is_stored = is_stored
        """Whether the instance rests already, so that there is nothing left to say."""


class HandedOver(Resting):
    """No error: somebody else is to go on, as soon as possible."""

    def __init__(self, now: datetime | None) -> None:
        super().__init__("", wake_at=now)


def _earliest(rests: list[Resting]) -> Resting:
    """Return what comes first of several rests; those without a time come last."""
    first = min(rests, key=lambda rest: (rest.wake_at is None, rest.wake_at.timestamp() if rest.wake_at else 0))
    return Resting(
        first.place,
        wake_at=first.wake_at,
        signal_name=first.signal_name,
        awaits=tuple(awaited for rest in rests for awaited in rest.awaits),
        others=len(rests) - 1,
    )


class Means(Protocol):
    """What the wishes of a walk mean for one run."""

    def flow_of(self, wish: Any) -> Flow[Any]:
        """Return how a wish is done: a flow of `TryTask`, and of what the other two methods do."""

    def perform_blocking(self, wish: Any) -> Any:
        """Do a part of that, blocking the thread."""

    async def perform(self, wish: Any) -> Any:
        """Do a part of that, awaiting it."""


class Blocking:
    """Takes walks on the thread of the caller, and each branch on a thread of its own."""

    def __init__(self, means: Means, loops: Loops, stopped: Callable[[], bool] = lambda: False) -> None:
        self._means = means
        self._loops = loops
        self._stopped = stopped

    def take(self, walk: Walk) -> bytes:
        """Take a walk to its end. Raises `Resting`, and what makes it fail."""
        return drive_blocking(walk, self._perform)

    def _perform(self, wish: Any) -> Any:
        if self._stopped():
            raise _Stopped
        if wish.__class__ is Together:
            return self._take_all(wish.walks)
        return drive_blocking(self._means.flow_of(wish), self._part)

    def _part(self, wish: Any) -> Any:
        if wish.__class__ is not TryTask:
            return self._perform_patiently(wish)
        if not wish.wish.task.spec.is_async:
            return wish.told(try_blocking(wish.scope, partial(wish.call, self._loops), wish.timeout))
        with facing(wish, AsyncRuntaraSdk) as scope:
            library = self._loops.of(wish.wish.task.spec.library)
            return wish.told(try_in_loop(library, lambda: try_async(scope, wish.call_async, wish.timeout)))

    def _perform_patiently(self, wish: Any) -> Any:
        while True:
            try:
                return self._means.perform_blocking(wish)
            except MailboxFull:
                threading.Event().wait(_AGAIN_AFTER)

    def _take_all(self, walks: list[Walk]) -> list[bytes]:
        """Take several walks; once one has failed, the others end with the task that they are at."""
        results: list[Any] = [None] * len(walks)
        failures: list[BaseException] = []
        inner = Blocking(self._means, self._loops, lambda: bool(failures) or self._stopped())

        def run(i: int) -> None:
            try:
                results[i] = inner._take_branch(walks[i])
            except BaseException as error:  # noqa: BLE001 - it belongs to the thread that waits
                failures.append(error)

        threads = [threading.Thread(target=copy_context().run, args=(run, i)) for i in range(len(walks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        if self._stopped():
            raise _Stopped
        return _all(results)

    def _take_branch(self, walk: Walk) -> bytes | Resting | None:
        try:
            return self.take(walk)
        except Resting as rest:
            return rest
        except _Stopped:
            return None


class _Stopped(Exception):
    """Another branch has failed. Go on no further."""


class Awaiting:
    """Takes walks in the task of the caller, and each branch in a task of its own; plain functions run on threads."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def take(self, walk: Walk) -> bytes:
        """Take a walk to its end. Raises `Resting`, and what makes it fail."""
        return await drive(walk, self._perform)

    async def _perform(self, wish: Any) -> Any:
        if wish.__class__ is Together:
            return _all(await together([self._branch(walk) for walk in wish.walks]))
        return await drive(self._means.flow_of(wish), self._part)

    def _branch(self, walk: Walk) -> Callable[[], Any]:
        async def run() -> bytes | Resting:
            try:
                return await self.take(walk)
            except Resting as rest:
                return rest

        return run

    async def _part(self, wish: Any) -> Any:
        if wish.__class__ is not TryTask:
            return await patiently(self._means.perform, wish)
        if wish.wish.task.spec.is_async:
            return wish.told(await try_async(wish.scope, wish.call_async, wish.timeout))
        with facing(wish, RuntaraSdk) as scope:
            call = partial(wish.call, Loops(unsaid=running_library()))
            return wish.told(await in_thread(lambda: try_blocking(scope, call, wish.timeout)))


@contextmanager
def facing(wish: TryTask, face: type[RuntaraSdk] | type[AsyncRuntaraSdk]) -> Iterator[Scope]:
    """Let a task use the SDK in the way that suits it, whatever its runner does; return the scope of what it calls."""
    owner = wish.scope.owner
    if not isinstance(owner, SdkBase) or isinstance(owner, face):
        yield wish.scope
        return
    other = owner.in_face(face)
    with use_sdk(other):
        yield Scope(other, wish.scope.path)


async def patiently(perform: Callable[[Any], Awaitable[Any]], wish: Any) -> Any:
    """Do a part of a wish, and try again while so many branches ask at once that the instance takes no more."""
    while True:
        try:
            return await perform(wish)
        except MailboxFull:
            await pause(_AGAIN_AFTER)


_AGAIN_AFTER: Final = 0.01


def _all(results: list[Any]) -> list[bytes]:
    """Return what all branches came to. Raises `Resting` while some of them rest."""
    rests = [one for one in results if isinstance(one, Resting)]
    if rests:
        raise _earliest(rests)
    return results
