"""Workers that are out of touch: what they led is given to others, and what they still say is refused."""

import threading
from collections.abc import Awaitable
from typing import Any

import pytest
import trio

from runtara.errors import Fenced, InvalidState, StoreUnavailable
from runtara.messages import PollSignals, SaveCheckpoint
from runtara.sdk.flow import Backend, Flow, InMemoryBackend, PooledWorker, WorkflowClient, _ear, get_task_context
from runtara.transport import Door
from tests.sdk.flow.pools import A_WHILE, pool


class Frozen(Backend):
    """A backend that lets nothing through while it is `cold`. `refused` are the commands that were."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.clock, self.tenant_id = inner.clock, inner.tenant_id
        self.warm = threading.Event()
        self.warm.set()
        self.refused: list[tuple[Any, Exception]] = []
        self.was_refused = threading.Event()

    def open_door(self, instance_id: str, epoch: int | None = None, *, beats: bool = True) -> Door:
        return _FrozenDoor(self.inner.open_door(instance_id, epoch, beats=beats), self)  # type: ignore[return-value]  # all else is the inner one's

    def beside(self, instance_id: str, *, watch: bool = False) -> Door:
        return _FrozenDoor(self.inner.beside(instance_id, watch=watch), self)  # type: ignore[return-value]  # likewise


class _FrozenDoor:
    def __init__(self, door: Door, backend: Frozen) -> None:
        self._door = door
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._door, name)

    def call(self, command: Any, *, timeout: float | None = None) -> Awaitable[Any]:
        return self._call(command, timeout)

    async def _call(self, command: Any, timeout: float | None) -> Any:
        await self._thaw()
        try:
            reply = await self._door.call(command, timeout=timeout)
        except Exception as error:
            self._backend.refused.append((command, error))
            self._backend.was_refused.set()
            raise
        await self._thaw()
        return reply

    async def _thaw(self) -> None:
        if not self._backend.warm.is_set():
            await trio.to_thread.run_sync(self._backend.warm.wait, A_WHILE, abandon_on_cancel=True)


def test_a_worker_that_was_lost_and_comes_back_is_refused_and_changes_nothing(
    backend: Backend, instance_id: str
) -> None:
    begun, go_on, seen = threading.Event(), threading.Event(), []

    def first(x: int) -> str:
        context = get_task_context()
        assert context is not None
        seen.append(threading.current_thread().name)
        if len(seen) == 1:
            begun.set()
            assert go_on.wait(A_WHILE)
            return "of the lost one"
        return "of the other one"

    flow, client, frozen = Flow("lost").then(first).build(), WorkflowClient(backend), Frozen(backend)
    with PooledWorker("lost", frozen, [flow], claim_ttl=0.3, max_concurrent_tasks=1).spawn():
        client.submit(flow, instance_id, 1)
        assert begun.wait(A_WHILE)
        frozen.warm.clear()
        with pool(backend, [flow]):
            assert client.wait(instance_id, A_WHILE).output == "of the other one"
        go_on.set()
        frozen.warm.set()
        client.submit(flow, f"{instance_id}-next", 1)

        assert client.wait(f"{instance_id}-next", A_WHILE).output == "of the other one"  # it works again
    with pytest.raises((Fenced, InvalidState)):
        backend.open_door(instance_id, 1).call_from_thread(SaveCheckpoint(checkpoint_id="late", state=b""))
    assert client.status(instance_id).output == "of the other one"
    assert client.get_task_result(instance_id, "first") == "of the other one"


def test_a_worker_that_lost_what_it_leads_is_told_and_its_task_is_stopped(backend: Backend, instance_id: str) -> None:
    begun, stopped, calls = threading.Event(), threading.Event(), []

    async def first(x: int) -> str:
        calls.append(x)
        if len(calls) > 1:
            return "of the other one"
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            stopped.set()

    flow, client, frozen = Flow("told").then(first).build(), WorkflowClient(backend), Frozen(backend)
    with PooledWorker("told", frozen, [flow], claim_ttl=0.3, max_concurrent_tasks=1).spawn():
        client.submit(flow, instance_id, 1)
        assert begun.wait(A_WHILE)
        frozen.warm.clear()
        with pool(backend, [flow]):
            assert client.wait(instance_id, A_WHILE).output == "of the other one"
        frozen.warm.set()

        assert stopped.wait(A_WHILE)
    assert not [command for command, _ in frozen.refused if isinstance(command, SaveCheckpoint)]


class Hesitant(Backend):
    """A backend that cannot say once what signals there are."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.clock, self.tenant_id = inner.clock, inner.tenant_id
        self.has_refused = threading.Event()

    def open_door(self, instance_id: str, epoch: int | None = None, *, beats: bool = True) -> Door:
        return _HesitantDoor(self.inner.open_door(instance_id, epoch, beats=beats), self)  # type: ignore[return-value]  # all else is the inner one's

    def beside(self, instance_id: str, *, watch: bool = False) -> Door:
        return self.inner.beside(instance_id, watch=watch)


class _HesitantDoor:
    def __init__(self, door: Door, backend: Hesitant) -> None:
        self._door = door
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._door, name)

    def call(self, command: Any, *, timeout: float | None = None) -> Awaitable[Any]:
        if isinstance(command, PollSignals) and not self._backend.has_refused.is_set():
            self._backend.has_refused.set()
            raise StoreUnavailable("away for a moment")
        return self._door.call(command, timeout=timeout)


def test_a_cancel_that_could_not_be_looked_for_at_once_is_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ear, "RECHECK", 3_600.0)
    begun = threading.Event()

    async def endless(x: int) -> None:
        begun.set()
        await trio.sleep_forever()

    flow = Flow("endless").then(endless).build()
    with InMemoryBackend(cancel_grace_ms=3_600_000) as backend:
        hesitant, client = Hesitant(backend), WorkflowClient(backend)
        with PooledWorker("hesitant", hesitant, [flow], max_concurrent_tasks=1).spawn():
            client.submit(flow, "one", 1)
            assert begun.wait(A_WHILE)
            client.cancel("one")

            assert client.wait("one", A_WHILE).is_cancelled
        assert hesitant.has_refused.is_set()
