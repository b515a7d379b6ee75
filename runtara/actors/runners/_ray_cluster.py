"""Ray, as far as it is used: named actors that outlive whoever has made them, calls to them, and what nodes there are.

The one door to Ray; it is imported when it is first needed. Whatever may wait is done in a thread, except for waiting
for answers: Ray tells of those by itself, so a task that waits for one holds no thread, and leaves nothing behind when
it is cancelled.

A process has one connection to Ray, which all engines share and which ends with the process.
"""

import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final

import trio

from runtara import settings
from runtara.actors.runners import _kept, _process, _ray_keeper, _shim
from runtara.errors import ConfigError
from runtara.threads import settled

__all__ = ["Cluster", "Gone", "Handle", "Unconnected", "Unheard"]

Handle = Any  # Ray's handle of an actor: its methods are made up as it goes
_Ray = Any  # its own types hide what `remote` returns

_SHIPPED: Final = (_kept, _process, _ray_keeper, _shim, settings)
"""Modules of ours that a keeper uses. What it needs of them goes with it: the nodes need not have them."""
_CONNECTING: Final = threading.Lock()
_CONNECT_S: Final = 5.0
"""How long somebody may take to listen at the cluster's address."""
_WAITS: Final = "waits"
_GROUPS: Final = {_WAITS: 16}
"""Threads of a keeper for calls that wait. Those that nobody needs any more end with their patience."""
_THREADS: Final = 4
"""Threads of a keeper for all other calls; those never wait."""
_WORDS: Final = 400
"""Most characters of Ray's own words."""


class Gone(Exception):
    """An actor is no more, or its node. The text says what Ray knows."""


class Unheard(Exception):
    """An actor cannot be reached at the moment."""


class Unconnected(Exception):
    """There is no connection to the cluster. The text says why."""


class Cluster:
    """The connection to a cluster, made when it is first needed. Without it, all calls raise `Unconnected`."""

    def __init__(self, address: str, namespace: str) -> None:
        self._address: Final = address
        self._namespace: Final = namespace
        self._connected: _Ray | None = None
        self._one_at_a_time: Final = trio.CapacityLimiter(1)
        """So that those who wait for a connection that takes long hold no threads."""

    async def start(self, name: str, place: Mapping[str, Any], *args: object) -> Handle:
        """Make a keeper that lives until it is killed; it begins when there is a place for it.

        Raises `ValueError` for a name that is taken and a place that cannot be, and `Unconnected`.
        """
        ray = await self._ray()
        return await _ask(ray, _start, ray, name, self._namespace, place, args)

    async def names(self) -> Sequence[str]:
        """Return the names of all actors of the namespace, those that wait for a place among them."""
        ray = await self._ray()
        found = await _ask(ray, ray.util.list_named_actors, True)
        return [row["name"] for row in found if row["namespace"] == self._namespace]

    async def find(self, name: str) -> Handle | None:
        """Return the actor of that name, if there is one."""
        ray = await self._ray()
        try:
            return await _ask(ray, ray.get_actor, name, self._namespace)
        except ValueError:  # as Ray says that there is none
            return None

    async def kill(self, handle: Handle) -> None:
        """Kill an actor; harmless if it is gone."""
        ray = await self._ray()
        await _ask(ray, ray.kill, handle)

    async def nodes(self) -> Sequence[Mapping[str, float]]:
        """Return what each living node has in all."""
        ray = await self._ray()
        return [node["Resources"] for node in await _ask(ray, ray.nodes) if node["Alive"]]

    async def call(self, handle: Handle, method: str, *args: object, waits: bool = False) -> Any:
        """Call a method of a keeper and return its answer. Say if it `waits`.

        Raises `Gone` and `Unheard`.
        """
        ray = await self._ray()
        try:
            reference = await trio.to_thread.run_sync(_submit, handle, method, args, waits)
            return await settled(_future_of(reference))
        except (ray.exceptions.ActorUnavailableError, ray.exceptions.ObjectLostError) as error:
            raise Unheard(_words(error)) from None
        except (ray.exceptions.RayActorError, ray.exceptions.ActorUnschedulableError) as error:
            raise Gone(_words(error)) from None

    def tell(self, handle: Handle, method: str, *args: object) -> None:
        """Have a method called, whatever comes of it. That only puts it into a queue of this process."""
        _submit(handle, method, args, waits=False)

    async def _ray(self) -> _Ray:
        """Return Ray, connected. A connection that takes long is not waited for by whoever is cancelled."""
        if self._connected is None or not self._connected.is_initialized():
            self._connected = await trio.to_thread.run_sync(
                _connect, self._address, self._namespace, abandon_on_cancel=True, limiter=self._one_at_a_time
            )
        return self._connected


async def _ask(ray: _Ray, question: Callable[..., Any], *args: object) -> Any:
    """Ask the cluster, to the end: what was begun must be known."""
    try:
        return await trio.to_thread.run_sync(question, *args)
    except ray.exceptions.RayError as error:
        raise Unconnected(f"the Ray cluster does not answer: {_words(error)}") from error


# In threads -----------------------------------------------------------------------------------------------------------


def _connect(address: str, namespace: str) -> _Ray:
    with _CONNECTING:
        try:
            import ray
        except ImportError:
            raise ConfigError("programs are to run on Ray, which is not here: pip install 'runtara[ray]'") from None
        if not ray.is_initialized():
            _see_that_it_answers(address)
            try:
                ray.init(address=address, namespace=namespace, log_to_driver=False, configure_logging=False)
            except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                raise Unconnected(f"no Ray cluster can be reached at {address!r}: {error}") from error
        return ray


def _see_that_it_answers(address: str) -> None:
    """Raise `Unconnected` where nobody listens: Ray itself would go on trying for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
        except OSError as error:
            raise Unconnected(f"no Ray cluster can be reached at {address!r}: {error}") from error


def _start(ray: _Ray, name: str, namespace: str, place: Mapping[str, Any], args: Sequence[object]) -> Handle:
    for module in _SHIPPED:
        ray.cloudpickle.register_pickle_by_value(module)
    kind = ray.remote(concurrency_groups=_GROUPS)(_ray_keeper.Keeper)
    named = {"name": name, "namespace": namespace, "lifetime": "detached", "max_restarts": 0}
    return kind.options(**named, max_concurrency=_THREADS, **place).remote(*args)


def _submit(handle: Handle, method: str, args: Sequence[object], waits: bool) -> Any:
    bound = getattr(handle, method)
    return (bound.options(concurrency_group=_WAITS) if waits else bound).remote(*args)


def _future_of(reference: Any) -> Future[Any]:
    """Return a future of ours: one that is cancelled must not be in the way of Ray when its answer comes."""
    ours: Future[Any] = Future()

    def pass_on(theirs: Future[Any]) -> None:
        if not ours.set_running_or_notify_cancel():
            return
        error = theirs.exception()
        if error is not None:
            ours.set_exception(error)
        else:
            ours.set_result(theirs.result())

    reference.future().add_done_callback(pass_on)
    return ours


def _words(error: Exception) -> str:
    """Return the end of what Ray says; it begins with facts about the actor, one a line, that tell a user nothing."""
    lines = str(error).splitlines()
    last = max((number for number, line in enumerate(lines) if line.startswith("\tip: ")), default=-1)
    return " ".join(" ".join(lines[last + 1 :]).split())[:_WORDS]
