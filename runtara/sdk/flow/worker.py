"""Workers: processes that take up what was submitted, as many of them as one likes, on one store.

An instance is led by one worker at a time; what its graph allows to run at once is done by all of them. A worker that
dies loses nothing: what it led is given to another, and what it still writes is refused.
"""

import os
import platform
import threading
import weakref
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from types import TracebackType
from typing import Any, Final, Self, cast

import trio

from runtara.errors import InvalidInput, InvalidState
from runtara.ids import check_id
from runtara.sdk.flow._crew import Crew, Terms
from runtara.sdk.flow._libraries import Loops
from runtara.sdk.flow._policies import checked_tags, parse_duration
from runtara.sdk.flow._programs import served_by
from runtara.sdk.flow.backend import Backend, checked_backend
from runtara.sdk.flow.errors import InvalidOption
from runtara.sdk.flow.workflow import Workflow
from runtara.threads import Library

__all__ = ["PooledWorker", "Worker", "WorkerHandle"]

_SLOTS_MAX: Final = 1_000


class WorkerHandle:
    """A worker at work, on a thread of its own. Letting go of it has the worker go home, and so does `with`."""

    def __init__(self, crew: Crew, backend: Backend, name: str) -> None:
        self._backend: Final = backend
        self._ended: Final[Future[None]] = Future()
        self._shutdown: Final = weakref.finalize(self, crew.go_home)
        self._thread = threading.Thread(target=_work, args=(crew, self._ended), name=f"runtara-{name}", daemon=True)
        self._thread.start()

    @property
    def backend(self) -> Backend:
        """Where it works."""
        return self._backend

    @property
    def is_working(self) -> bool:
        """Whether it has not gone home yet."""
        return not self._ended.done()

    def shutdown(self) -> None:
        """Have the worker go home: it claims nothing more, ends the tasks that run, and leaves the rest to others.

        Returns at once; `join` waits. Harmless when repeated.
        """
        self._shutdown()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the worker has gone home, at most so many seconds; return whether it has.

        Raises what the worker has ended with, if it was an error.
        """
        self._thread.join(timeout)
        if not self._ended.done():
            return False
        self._ended.result()
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.shutdown()
        self.join()


def _work(crew: Crew, ended: Future[None]) -> None:
    try:
        trio.run(crew.run)
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the worker
        ended.set_exception(error)
    else:
        ended.set_result(None)


class PooledWorker:
    """Runs workflows that were submitted, next to any number of other workers on the same backend.

    `worker_id` is unique among them; by default it is made of the host's name and the number of
    the process.
    `claim_ttl` is how long nothing may be heard of the worker before others get what it holds. Of
    `max_concurrent_tasks`, each is a workflow that it leads or a task that it runs for another worker. With `tags`, it
    takes tasks that have none, or no others; without, it takes all. `poll_interval` is the longest time that one
    question for work waits for an answer: work comes as soon as there is some, whatever this is. `library` is the event
    loop that async tasks are written for; by default, each of them says by its own code which it needs, or runs under
    trio. Those for asyncio get a loop for each try.

    Raises `InvalidInput` for what does not fit.
    """

    def __init__(
        self,
        worker_id: str | None = None,
        backend: Backend | None = None,
        workflows: Iterable[Workflow[Any, Any]] | None = None,
        *,
        claim_ttl: str | float | timedelta = "5m",
        max_concurrent_tasks: int = 4,
        tags: Iterable[str] = (),
        poll_interval: str | float | timedelta = 30.0,
        library: Library | None = None,
    ) -> None:
        self._backend: Final = checked_backend(backend)
        self._workflows: Final = None if workflows is None else _listed(workflows)
        self._at_work: Crew | None = None
        self._terms: Final = Terms(
            worker_id=check_id(own_id() if worker_id is None else worker_id, "worker id"),
            slots=_slots(max_concurrent_tasks),
            tags=checked_tags(tags),
            lease=_seconds("claim_ttl", claim_ttl, _LEASES),
            loops=Loops(library, self._unsaid),
            patience=_seconds("poll_interval", poll_interval, _WAITS),
        )

    _unsaid: Library = "trio"

    @property
    def worker_id(self) -> str:
        """The name under which it works."""
        return self._terms.worker_id

    @property
    def backend(self) -> Backend:
        """Where it works."""
        return self._backend

    def spawn(self, workflows: Iterable[Workflow[Any, Any]] | None = None) -> WorkerHandle:
        """Begin to work on a thread of its own; `workflows` are those that it runs, if they were not given before.

        Raises `InvalidInput` for what is no workflow, or where there is none, and `InvalidState` while it works.
        """
        return WorkerHandle(self._crew(workflows), self._backend, self.worker_id)

    async def run(self, workflows: Iterable[Workflow[Any, Any]] | None = None) -> None:
        """Work in this task, under trio, until it is cancelled; what it then holds is given to others at once."""
        async with self.open(workflows):
            await trio.sleep_forever()

    @asynccontextmanager
    async def open(self, workflows: Iterable[Workflow[Any, Any]] | None = None) -> AsyncIterator[None]:
        """Work under trio for as long as the block runs, and then end the tasks that run."""
        crew = self._crew(workflows)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crew.run)
            try:
                yield
            finally:
                crew.go_home()

    def _crew(self, workflows: Iterable[Workflow[Any, Any]] | None) -> Crew:
        given = self._workflows if workflows is None else _listed(workflows)
        programs = served_by(given or ())
        if self._at_work is not None and not self._at_work.is_over:
            raise InvalidState(f"worker {self.worker_id!r} is at work already: give a second one another worker_id")
        self._at_work = Crew(self._backend, programs, self._terms)
        return self._at_work


class Worker(PooledWorker):
    """A `PooledWorker` under the names of the field's Python binding; but it has four slots, not one.

    Any `poll_interval` will do: work comes as soon as there is some.
    Async tasks whose own code does not say for which event loop they are written run under asyncio.
    """

    _unsaid: Library = "asyncio"

    def __init__(
        self,
        worker_id: str,
        backend: Backend,
        *,
        poll_interval: float = 5.0,
        claim_ttl: float | None = 300.0,
        max_concurrent_tasks: int = 4,
        tags: Iterable[str] = (),
        library: Library | None = None,
    ) -> None:
        super().__init__(
            worker_id,
            backend,
            claim_ttl=_LEASES[1] if claim_ttl is None else claim_ttl,
            max_concurrent_tasks=max_concurrent_tasks,
            tags=tags,
            poll_interval=min(max(parse_duration(poll_interval), _WAITS[0]), _WAITS[1]),
            library=library,
        )

    def start(self, workflows: Iterable[Workflow[Any, Any]]) -> WorkerHandle:
        """Begin to work on a thread of its own; see `PooledWorker.spawn`."""
        return self.spawn(workflows)


def own_id() -> str:
    """Return the name of a worker that was given none: of the host, the process, and which one it is there."""
    number = next(_numbers)
    own = f"{platform.node() or 'worker'}-{os.getpid()}"
    return own if number == 1 else f"{own}-{number}"


_numbers: Final = count(1)


def _listed(workflows: Iterable[Workflow[Any, Any]]) -> tuple[Workflow[Any, Any], ...]:
    if isinstance(workflows, Workflow):
        raise InvalidInput(f"{workflows!r} is one workflow, and a worker takes a list of them: put it into brackets")
    return tuple(workflows)


def _slots(count: int) -> int:
    if (
        isinstance(cast(object, count), bool)
        or not isinstance(cast(object, count), int)
        or not 1 <= count <= _SLOTS_MAX
    ):
        raise InvalidOption(f"max_concurrent_tasks of {count!r} is not allowed: use 1 to {_SLOTS_MAX}")
    return count


def _seconds(what: str, span: str | float | timedelta, allowed: tuple[float, float]) -> float:
    seconds, (least, most) = parse_duration(span), allowed
    if not least <= seconds <= most:
        raise InvalidOption(f"{what} of {span!r} is not allowed: use {least:g} to {most:g} seconds")
    return seconds


_LEASES: Final = (0.1, 24 * 3600.0)
_WAITS: Final = (0.01, 60.0)
