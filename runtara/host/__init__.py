"""A host: a system that launches programs as processes, and has a door to the network.

root
├ store, instances       as in every system
├ runner                 programs: launches, adopts, stops and reads the logs of processes
├ upkeep                 images that were pushed here; chores: the removal of what is not kept
├ timers                 as in every system; the scheduler keeps to the places of the host
└ edges                  quic, http: the doors that programs and people connect to
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Final

import trio

from runtara import __version__
from runtara.actors import child
from runtara.actors.edge import Drain, Renew
from runtara.actors.lookout import Lookout
from runtara.actors.loop_meter import metering_loop
from runtara.actors.neighbours import Shared
from runtara.actors.places import AwaitEmpty, KillAttempts, ListAttempts, StopWaking
from runtara.actors.readiness import OK
from runtara.actors.runners import Engine
from runtara.actors.runners.engines import open_engine
from runtara.actors.sessions import Attach, Detach
from runtara.actors.storage import Act
from runtara.clock import Clock, SystemClock
from runtara.errors import DeadlineExceeded, RuntaraError, StoreUnavailable
from runtara.host._edges import HTTP, QUIC, Sockets, edges_of, open_sockets
from runtara.host._home import Home, identity_of, open_home
from runtara.host._launcher import environment_of, launcher_of
from runtara.ids import InstanceKey, new_id
from runtara.messages import SendSignal
from runtara.settings import Settings
from runtara.store import NodeSpec, Store
from runtara.system import PROGRAMS, SCHEDULER, SESSIONS, WRITER, Neighbours, Runtime, clock_of, open_runtime, store_of
from runtara.transport.addresses import parse_address
from runtara.transport.calls import Calls
from runtara.transport.certificates import Identity
from runtara.transport.credentials import KeyRing, TokenMint
from runtara.transport.gate import Gate
from runtara.transport.quic.peers import Peers
from runtara.transport.shared_files import SharedFiles

__all__ = ["HTTP", "QUIC", "Host", "open_host"]

_FAREWELL_S: Final = 1.0
"""How long clients may take their last answers before the door closes."""


class Host:
    """A running host."""

    def __init__(
        self,
        runtime: Runtime,
        gate: Gate,
        sockets: Sockets,
        home: Home,
        store: Store,
        *,
        told: Callable[[Identity], Any],
    ) -> None:
        self.runtime: Final = runtime
        self.gate: Final = gate
        self.address: Final = str(sockets.address)
        """Where the QUIC door listens, as host:port."""
        self.http_address: Final = sockets.http_address
        """Where the HTTP door listens, as a URL."""
        self.identity = home.identity
        """The certificate by which clients know the door."""
        self.first_key: Final = home.first_key
        """The file with the first key of this host, as long as that is good and has not been taken away."""
        self._tenure = store.tenure
        self._told = told
        self._agree = partial(home.shared.agree, store)
        self._hurry = trio.Event()

    async def renew(self) -> None:
        """Show newcomers the certificate that its files hold now, and tell those who know the host by the one before.

        Raises `ConfigError` where it cannot be used; then all stays as it was. Connections that there are go on.
        """
        settings, system = self.runtime.settings, self.runtime.system
        await trio.to_thread.run_sync(self._agree)
        folder = Path(settings.data_dir)
        identity = await trio.to_thread.run_sync(identity_of, settings, folder, self.runtime.clock)
        for door in (QUIC, HTTP):
            await system.ref(door).ask(Renew())
        self.identity = identity
        self._told(identity)
        if self._tenure is not None:
            await system.ref(WRITER).ask(Act("present", (identity.fingerprint,)))

    async def drain(self) -> None:
        """Bring the host to rest: start nothing new, ask every program to shut down, stop those that take too long.

        Every instance that is not finished is launched again by the next host on the same store.
        """
        self.gate.drain()
        system, settings = self.runtime.system, self.runtime.settings
        with suppress(DeadlineExceeded):  # whom a store that hangs lets go later is stopped with the others
            await system.ref(SCHEDULER).ask(StopWaking())
        runner = system.ref(PROGRAMS)
        attempts: tuple[tuple[InstanceKey, int], ...] = await runner.ask(ListAttempts())
        if self._tenure is not None:
            self._tenure.lasting = False  # nothing will be left here: others may go on at once
        bound = (settings.shutdown_grace_ms + settings.kill_grace_ms) / 1000 + 1
        with trio.move_on_after(bound):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._kill_in_a_hurry)
                for key, _ in attempts:
                    nursery.start_soon(self._ask_to_shut_down, key)
                await runner.ask(AwaitEmpty(), timeout=inf)
                nursery.cancel_scope.cancel()
            return
        await runner.ask(KillAttempts())
        try:
            await runner.ask(AwaitEmpty(), timeout=settings.stop_grace_ms / 1000)
        except DeadlineExceeded as late:
            await self._blame_the_store(late)
            raise

    def hurry(self) -> None:
        """Have a `drain` that is under way, or will be, kill what still runs instead of waiting for it."""
        self._hurry.set()

    async def _blame_the_store(self, late: DeadlineExceeded) -> None:
        """Raise `StoreUnavailable` where it is the store that keeps the ends of programs from being noted."""
        found = (await self.runtime.readiness.ready()).checks["write"]
        if found != OK:
            raise StoreUnavailable(
                f"the host stops without a note of how its programs ended ({found}): see that the store's disk has "
                "room and its database answers, and start the host again; they go on from their last checkpoints"
            ) from late

    async def _kill_in_a_hurry(self) -> None:
        await self._hurry.wait()
        await self.runtime.system.ref(PROGRAMS).ask(KillAttempts())

    async def _ask_to_shut_down(self, key: InstanceKey) -> None:
        signal = SendSignal(kind="shutdown", signal_id=new_id(), grace_ms=self.runtime.settings.shutdown_grace_ms)
        try:
            await self.runtime.dispatch.call(key, signal)
        except RuntaraError:
            return  # it has just ended, or cannot be told; then its process is killed when the time is over


@asynccontextmanager
async def open_host(
    settings: Settings, *, clock: Clock | None = None, engine: Engine | None = None
) -> AsyncIterator[Host]:
    """Start a host, give it to the block, and stop it when the block ends. Programs go on, unless it was drained.

    Without an `engine`, that of the settings is used. With one, programs may run on machines that see no file of this.

    Raises what the store refuses with, `ConfigError` for an unusable address, certificate or key, and `Unreachable` for
    an address that is taken.
    """
    folder, wall = Path(settings.data_dir), clock or SystemClock()
    home = await open_home(settings, folder, wall)
    shared, identity, mint = home.shared, home.identity, home.mint
    with ExitStack() as held:
        sockets = await open_sockets(settings, held)
        told = sockets.address if settings.core_addr is None else parse_address(settings.core_addr)
        store = _store(settings, shared, str(told), identity)
        counted = clock_of(store, clock)
        peers = held.enter_context(closing(Peers(shared.node_name(settings.node_name), mint)))
        others = _others(store, shared, peers, held)
        elsewhere = engine is not None or settings.runner != "native"
        tell = partial(environment_of, settings, address=told, http=None if elsewhere else sockets.http_address)
        environment = tell(identity)
        engine = engine or open_engine(settings, shared.node_name(settings.node_name))
        hosts: list[Host] = []
        async with open_runtime(
            settings,
            launcher=launcher_of(settings, counted, home, environment, engine, others=others, elsewhere=elsewhere),
            clock=clock,
            is_draining=lambda: hosts[0].gate.draining,
            store=store,
            neighbours=Neighbours(peer_of=peers.to, took_documents=shared.take),
        ) as runtime:
            gate = _gate(runtime, mint, KeyRing(folder / "keys.json", wall), sockets.exposed)
            renewed = partial(_tell_again, environment, tell)
            hosts.append(Host(runtime, gate, sockets, home, store, told=renewed))
            held.enter_context(metering_loop(runtime.system.metrics))
            await _open_doors(runtime, sockets, identity, gate)
            yield hosts[0]
            await _part(runtime)


async def _open_doors(runtime: Runtime, sockets: Sockets, identity: Identity, gate: Gate) -> None:
    watch = partial(gate.guests.serve, Path(runtime.settings.data_dir))
    await runtime.system.start_child("root", child("guests", Lookout, watch))
    await runtime.system.start_child("root", edges_of(runtime, sockets, identity, gate))


def _tell_again(told: dict[str, str], tell: Callable[[Identity], dict[str, str]], identity: Identity) -> None:
    """Have programs that are launched from now on told of another certificate."""
    told.update(tell(identity))


async def _part(runtime: Runtime) -> None:
    """Let clients take their last answers, for a while."""
    with trio.move_on_after(_FAREWELL_S):
        async with trio.open_nursery() as nursery:
            for door in (QUIC, HTTP):
                nursery.start_soon(runtime.system.ref(door).ask, Drain())


def _store(settings: Settings, shared: SharedFiles, address: str, identity: Identity) -> Store:
    """Return the store, to which this host presents itself as one of its nodes, if it has some."""
    node = NodeSpec(
        name=shared.node_name(settings.node_name),
        address=address,
        fingerprint=identity.fingerprint,
        places=settings.max_concurrent_instances,
        lasting=True,
        lease_ms=settings.node_lease_ms,
    )
    return store_of(settings, node)


def _others(store: Store, shared: SharedFiles, peers: Peers, held: ExitStack) -> Shared | None:
    """Return how other nodes are asked, where several share the store; then the data folder is this one's alone."""
    if store.tenure is None:
        return None
    held.enter_context(shared.owned())
    return Shared(node=store.tenure.spec.name, peer_of=peers.to)


def _gate(runtime: Runtime, mint: TokenMint, keys: KeyRing, exposed: bool) -> Gate:
    settings = runtime.settings
    required = exposed if settings.require_credentials is None else settings.require_credentials
    sessions = runtime.system.ref(SESSIONS)
    return Gate(
        line=runtime.dispatch.line,
        attach=lambda watcher: sessions.tell_nowait(Attach(watcher)),
        detach=lambda watcher: sessions.tell_nowait(Detach(watcher)),
        mint=mint,
        keys=keys,
        require_credentials=required,
        clock=runtime.clock,
        version=__version__,
        passed_line=partial(runtime.dispatch.line, passed_on=True),
        heartbeat_interval_ms=settings.heartbeat_interval_ms,
        payload_max_bytes=settings.state_max_bytes,
        calls=Calls(runtime.system.metrics, runtime.system.traces),
    )
