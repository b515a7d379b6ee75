"""A whole Runtara inside a Python process: `with embedded.open(...)` from a thread, `async with` under trio.

Under `with`, the system runs on a thread of its own; under `async with`, it runs on the loop of the caller (trio), or
on a thread of its own (asyncio).
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from math import inf
from os import PathLike, fspath
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import sniffio
import trio

from runtara.actors import ActorInfo
from runtara.clock import Clock
from runtara.errors import ConfigError, InvalidInput, InvalidState
from runtara.ids import InstanceKey, new_id
from runtara.sdk import _flows as flows
from runtara.sdk._base import TENANT
from runtara.sdk._doors import Doors
from runtara.sdk._drive import drive, drive_blocking, perform, perform_blocking
from runtara.sdk._programs import AnyProgram, ProgramHost, check_known
from runtara.sdk._types import InstanceStatus, SignalType, StatusResponse
from runtara.sdk.aio import AsyncRuntaraSdk
from runtara.sdk.sync import RuntaraSdk
from runtara.settings import Settings, load_settings
from runtara.system import Runtime, open_runtime
from runtara.threads import ForeignEvent
from runtara.transport import EmbeddedDoor

__all__ = ["AsyncEmbedded", "Embedded", "Opening", "open"]

T = TypeVar("T")


class _System:
    """What both kinds of embedded system offer in common: ways to instances."""

    def __init__(self, doors: Doors, programs: Mapping[str, AnyProgram]) -> None:
        self._doors = doors
        self._programs = programs

    @property
    def runtime(self) -> Runtime:
        """The running system itself."""
        return self._doors.runtime

    def tree(self) -> ActorInfo:
        """Return what every actor is doing right now."""
        system = self.runtime.system
        return system.inspect() if threading.get_ident() == system.thread_id else system.inspect_from_thread()

    def open_door(self, instance_id: str, tenant_id: str) -> EmbeddedDoor:
        """Return a way to one instance, for an SDK of one's own making."""
        return self._doors.open(InstanceKey(tenant_id, instance_id))

    def open_beside(self, instance_id: str, tenant_id: str) -> EmbeddedDoor:
        """Return a way to one instance for somebody who manages it, who hears of nothing by itself."""
        return self._doors.open_beside(InstanceKey(tenant_id, instance_id))


class Embedded(_System):
    """A system on a thread of its own, for programs that block."""

    def sdk(self, instance_id: str, tenant_id: str = TENANT) -> RuntaraSdk:
        """Return the SDK for one instance; `with` registers it."""
        return RuntaraSdk(self.open_door(instance_id, tenant_id), self.runtime.clock)

    def start(
        self, program: str, instance_id: str | None = None, input: bytes | None = None, tenant_id: str = TENANT
    ) -> str:
        """Start a registered program; return the id of its instance. Starting the same twice starts one.

        Raises `NotFound` for a program that is not registered here, and `AlreadyExists` for an instance that was
        started with another program or input.
        """
        door = self.open_beside(instance_id or new_id(), tenant_id)
        return _run(door, flows.start(check_known(program, self._programs), input))

    def status(self, instance_id: str, tenant_id: str = TENANT) -> StatusResponse:
        """Return how an instance stands."""
        return _run(self.open_beside(instance_id, tenant_id), flows.get_status())

    def signal(
        self, instance_id: str, signal_type: SignalType, payload: bytes = b"", tenant_id: str = TENANT
    ) -> InstanceStatus:
        """Ask an instance to cancel, pause, resume or shut down; return what it is now."""
        flow = flows.send_signal(signal_type, None, payload)
        return _run(self.open_beside(instance_id, tenant_id), flow)

    def custom_signal(
        self, instance_id: str, name: str, payload: bytes = b"", tenant_id: str = TENANT
    ) -> InstanceStatus:
        """Send a signal with a name to an instance; return what it is now."""
        return _run(self.open_beside(instance_id, tenant_id), flows.send_signal(None, name, payload))

    def wait(
        self, instance_id: str, timeout: float | timedelta | None = None, tenant_id: str = TENANT
    ) -> StatusResponse:
        """Wait until an instance has ended. Raises `DeadlineExceeded` after `timeout` (seconds), `InstanceNotFound`."""
        door = self.open_door(instance_id, tenant_id)
        try:
            return _run(door, flows.wait_until_finished(door.session, timeout))
        finally:
            door.close()


class AsyncEmbedded(_System):
    """A system for programs that await, under trio or asyncio."""

    def sdk(self, instance_id: str, tenant_id: str = TENANT) -> AsyncRuntaraSdk:
        """Return the SDK for one instance; `async with` registers it."""
        return AsyncRuntaraSdk(self.open_door(instance_id, tenant_id), self.runtime.clock)

    async def start(
        self, program: str, instance_id: str | None = None, input: bytes | None = None, tenant_id: str = TENANT
    ) -> str:
        """Start a registered program; return the id of its instance. Starting the same twice starts one.

        Raises `NotFound` for a program that is not registered here, and `AlreadyExists` for an instance that was
        started with another program or input.
        """
        door = self.open_beside(instance_id or new_id(), tenant_id)
        return await _run_async(door, flows.start(check_known(program, self._programs), input))

    async def status(self, instance_id: str, tenant_id: str = TENANT) -> StatusResponse:
        """Return how an instance stands."""
        return await _run_async(self.open_beside(instance_id, tenant_id), flows.get_status())

    async def signal(
        self, instance_id: str, signal_type: SignalType, payload: bytes = b"", tenant_id: str = TENANT
    ) -> InstanceStatus:
        """Ask an instance to cancel, pause, resume or shut down; return what it is now."""
        flow = flows.send_signal(signal_type, None, payload)
        return await _run_async(self.open_beside(instance_id, tenant_id), flow)

    async def custom_signal(
        self, instance_id: str, name: str, payload: bytes = b"", tenant_id: str = TENANT
    ) -> InstanceStatus:
        """Send a signal with a name to an instance; return what it is now."""
        return await _run_async(self.open_beside(instance_id, tenant_id), flows.send_signal(None, name, payload))

    async def wait(
        self, instance_id: str, timeout: float | timedelta | None = None, tenant_id: str = TENANT
    ) -> StatusResponse:
        """Wait until an instance has ended. Raises `DeadlineExceeded` after `timeout` (seconds), `InstanceNotFound`."""
        door = self.open_door(instance_id, tenant_id)
        try:
            return await _run_async(door, flows.wait_until_finished(door.session, timeout))
        finally:
            door.close()


def _run(door: EmbeddedDoor, flow: flows.Flow[T]) -> T:
    return drive_blocking(flow, partial(perform_blocking, door))


async def _run_async(door: EmbeddedDoor, flow: flows.Flow[T]) -> T:
    return await drive(flow, partial(perform, door))


def open(
    data_dir: str | PathLike[str] | None = None,
    *,
    url: str | None = None,
    programs: Mapping[str, AnyProgram] | None = None,
    clock: Clock | None = None,
    **settings: Any,
) -> Opening:
    """Open a system in this process; use the result with `with`, or with `async with`.

    `data_dir` or `url` say where instances are kept (default: ``RUNTARA_DATA_DIR``, or ``.data``). `programs` are the
    functions that this process runs as instances, by name; those that were interrupted continue. `settings` are fields
    of `Settings`. Raises, on entering, what the store refuses with: `StoreInUse`, `StoreTooNew`, `StoreCorrupt` …
    """
    if data_dir is not None:
        settings["data_dir"] = _folder(data_dir)
    if url is not None:
        settings["database_url"] = url
    return Opening(load_settings(**settings), dict(programs or {}), clock)


def _folder(data_dir: str | PathLike[str]) -> str:
    folder = fspath(data_dir) if isinstance(data_dir, PathLike) else data_dir
    if isinstance(cast(object, folder), str) and (not folder or "://" in folder):
        raise ConfigError(f"{folder!r} is no folder to keep things in: give one, or the address of a store as url=")
    return folder


class Opening(AbstractAsyncContextManager[AsyncEmbedded, None]):
    """A system about to be opened. Enter it once, with `with` or `async with`."""

    def __init__(self, settings: Settings, programs: Mapping[str, AnyProgram], clock: Clock | None) -> None:
        for name, program in programs.items():
            if not callable(cast(object, program)):
                raise InvalidInput(f"program {name!r} is {program!r:.80}, which is no function: give one")
        self._programs = programs
        self._here = _open(settings, programs, clock)
        self._thread: _Thread | None = None
        self._entered = False

    def __enter__(self) -> Embedded:
        """Run the system on a thread of its own."""
        thread = self._start_thread()
        try:
            return Embedded(thread.started.result(), self._programs)
        except BaseException:
            thread.ask_to_stop()
            thread.join()
            raise

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """Stop the system; wait until everything acknowledged is stored and let go of."""
        assert self._thread is not None, "only what was entered is left"
        self._thread.ask_to_stop()
        self._thread.join()
        self._thread.stopped.result()

    async def __aenter__(self) -> AsyncEmbedded:
        """Run the system on this loop (trio), or on a thread of its own (asyncio)."""
        if sniffio.current_async_library() == "trio":
            self._enter_once()
            return AsyncEmbedded(await self._here.__aenter__(), self._programs)
        thread = self._start_thread()
        try:
            return AsyncEmbedded(await _result(thread.started), self._programs)
        except BaseException:
            thread.ask_to_stop()
            raise

    async def __aexit__(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the system; wait until everything acknowledged is stored and let go of."""
        if self._thread is None:
            await self._here.__aexit__(type_, value, traceback)
            return
        self._thread.ask_to_stop()
        await _result(self._thread.stopped)
        self._thread.join()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(
                f"there is no {name!r} before the system is open: enter it, `with embedded.open(...) as system`"
            )

    def _start_thread(self) -> _Thread:
        self._enter_once()
        self._thread = _Thread(self._here)
        return self._thread

    def _enter_once(self) -> None:
        if self._entered:
            raise InvalidState("a system is opened once: call embedded.open() again for another one")
        self._entered = True


@asynccontextmanager
async def _open(settings: Settings, programs: Mapping[str, AnyProgram], clock: Clock | None) -> AsyncIterator[Doors]:
    host = ProgramHost(programs)
    doors: Doors | None = None
    try:
        async with open_runtime(settings, programs=host.programs, clock=clock) as runtime:
            doors = Doors(runtime)
            host.open(doors)
            yield doors
    finally:
        if doors is not None:
            doors.hang_up()


async def _result(future: Future[T]) -> T:
    """Return what comes of a future, without blocking the loop."""
    done = ForeignEvent()
    future.add_done_callback(lambda _: done.set())
    await done.wait(inf)
    return future.result()


class _Thread:
    """A thread with an event loop that runs one system, from now on."""

    def __init__(self, system: AbstractAsyncContextManager[Doors]) -> None:
        self._system = system
        self.started: Future[Doors] = Future()
        """The way into the running system, or what keeps it from running."""
        self.stopped: Future[None] = Future()
        """Done at the end; what the system failed with meanwhile, if it failed."""
        self._to_stop = False
        self._token: trio.lowlevel.TrioToken | None = None
        self._thread = threading.Thread(target=self._run, name="runtara", daemon=True)
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Have the system stopped, at whatever point it is; harmless if it has ended."""
        self._to_stop = True
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._asked_to_stop.set)

    def join(self) -> None:
        """Wait for the end of the thread."""
        self._thread.join()

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever started or stops the system
            (self.stopped if self.started.done() else self.started).set_exception(error)
        else:
            self.stopped.set_result(None)

    async def _main(self) -> None:
        self._asked_to_stop = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        async with self._system as doors:
            if not self._to_stop:  # asked while it was starting
                self.started.set_result(doors)
                await self._asked_to_stop.wait()
