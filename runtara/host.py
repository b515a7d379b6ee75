"""A host: a system that launches programs as processes, and has a door to the network.

root
├ store, instances       as in every system
├ runner                 programs: launches, adopts, stops and reads the logs of processes
├ upkeep                 images that were pushed here; chores: the removal of what is not kept
├ timers                 as in every system; the scheduler keeps to the places of the host
└ edges                  quic: the door that programs and people connect to
"""

from __future__ import annotations

import socket as sockets
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from functools import partial
from ipaddress import ip_address
from math import inf
from pathlib import Path
from typing import Final

import trio
from msgspec.structs import replace

from runtara import __version__
from runtara.actors import Child, MailboxSpec, Policy, child
from runtara.actors import supervisor as group
from runtara.actors.chores import ImageChore, InstanceChore, RunFolderChore
from runtara.actors.edge import Drain, Edge
from runtara.actors.images import ImageRegistry
from runtara.actors.neighbours import Shared
from runtara.actors.places import AwaitEmpty, KillAttempts, ListAttempts, StopWaking
from runtara.actors.runner import Graces, Runner
from runtara.actors.runners import Engine
from runtara.actors.runners.engines import home_of, library_of, open_engine
from runtara.actors.runners.runs import Runs
from runtara.actors.sessions import Attach, Detach
from runtara.actors.upkeep import ChoreWork, Upkeep
from runtara.clock import Clock, SystemClock
from runtara.errors import ConfigError, RuntaraError, Unreachable
from runtara.ids import InstanceKey, new_id
from runtara.messages import SendSignal
from runtara.settings import Settings
from runtara.store import NodeSpec, Store
from runtara.system import (
    IMAGES,
    INSTANCES,
    PROGRAMS,
    READER,
    SCHEDULER,
    SESSIONS,
    WRITER,
    Launcher,
    Neighbours,
    Runtime,
    clock_of,
    open_runtime,
    store_of,
)
from runtara.transport.addresses import Address, parse_address
from runtara.transport.calls import Calls
from runtara.transport.certificates import Identity, ensure_certificate, read_identity
from runtara.transport.connection_file import read_connection_file
from runtara.transport.conversation import Conversation
from runtara.transport.credentials import KeyRing, TokenMint
from runtara.transport.gate import Gate
from runtara.transport.quic.peers import Peers
from runtara.transport.quic.protocol import ServerTls
from runtara.transport.quic.server import QuicServer, open_socket
from runtara.transport.shared_files import SharedFiles

__all__ = ["QUIC", "Host", "open_host"]

QUIC: Final = "root/edges/quic"

_FAREWELL_S: Final = 1.0
"""How long clients may take their last answers before the door closes."""


class Host:
    """A running host."""

    def __init__(self, runtime: Runtime, gate: Gate, address: str, identity: Identity, store: Store) -> None:
        self.runtime: Final = runtime
        self.gate: Final = gate
        self.address: Final = address
        """Where the QUIC door listens, as host:port."""
        self.identity: Final = identity
        """The certificate by which clients know the door."""
        self._tenure = store.tenure
        self._hurry = trio.Event()

    async def drain(self) -> None:
        """Bring the host to rest: start nothing new, ask every program to shut down, stop those that take too long.

        Every instance that is not finished is launched again by the next host on the same store.
        """
        self.gate.drain()
        system, settings = self.runtime.system, self.runtime.settings
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
        await runner.ask(AwaitEmpty(), timeout=settings.stop_grace_ms / 1000)

    def hurry(self) -> None:
        """Have a `drain` that is under way, or will be, kill what still runs instead of waiting for it."""
        self._hurry.set()

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
    shared, identity = await _open_folder(settings, folder, wall)
    mint = TokenMint(folder / "secret", wall, settings.token_lifetime_ms)
    with ExitStack() as held:
        socket = held.enter_context(await _open_socket(settings))
        address = _address(socket)
        told = address if settings.core_addr is None else parse_address(settings.core_addr)
        store = _store(settings, shared, str(told), identity)
        counted = clock_of(store, clock)
        peers = held.enter_context(closing(Peers(shared.node_name(settings.node_name), mint)))
        others = _others(store, shared, peers, held)
        elsewhere = engine is not None or settings.runner != "native"
        environment = _environment(settings, identity, told, elsewhere=elsewhere)
        engine = engine or open_engine(settings, shared.node_name(settings.node_name))
        hosts: list[Host] = []
        async with open_runtime(
            settings,
            launcher=_launcher(settings, counted, mint, environment, engine, others=others, elsewhere=elsewhere),
            clock=clock,
            is_draining=lambda: hosts[0].gate.draining,
            store=store,
            neighbours=Neighbours(peer_of=peers.to, took_documents=shared.take),
        ) as runtime:
            gate = _gate(runtime, mint, KeyRing(folder / "keys.json", wall), _exposed(socket))
            hosts.append(Host(runtime, gate, str(address), identity, store))
            make = partial(_quic, settings, socket, identity, gate)
            await runtime.system.start_child("root", group("edges", child("quic", Edge, make)))
            yield hosts[0]
            with trio.move_on_after(_FAREWELL_S):
                await runtime.system.ref(QUIC).ask(Drain())


async def _open_folder(settings: Settings, folder: Path, clock: Clock) -> tuple[SharedFiles, Identity]:
    """Make the data folder, and see to it that what all nodes must agree on is the same here."""
    await trio.Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    shared, store = SharedFiles(folder), store_of(settings)
    await trio.to_thread.run_sync(shared.prepare, store)
    identity = _identity(settings, folder, clock)
    await trio.to_thread.run_sync(shared.agree, store)
    return shared, identity


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


async def _open_socket(settings: Settings) -> sockets.socket:
    """Return the door's socket. Where any port will do, the last one is the best: programs look for us there."""
    last = None if settings.quic_port else read_connection_file(Path(settings.data_dir))
    if last is not None:
        with suppress(Unreachable):
            return await open_socket(replace(settings, quic_port=parse_address(last.address).port))
    return await open_socket(settings)


def _identity(settings: Settings, folder: Path, clock: Clock) -> Identity:
    given = (settings.tls_cert_file, settings.tls_key_file)
    if given[0] is not None and given[1] is not None:
        return read_identity(Path(given[0]), Path(given[1]))
    if given != (None, None):
        raise ConfigError("only one of RUNTARA_TLS_CERT_FILE and RUNTARA_TLS_KEY_FILE is set: set both, or neither")
    return ensure_certificate(folder / "tls", (settings.host,), clock=clock)


def _quic(settings: Settings, socket: sockets.socket, identity: Identity, gate: Gate) -> QuicServer:
    tls = ServerTls(
        cert_file=str(identity.cert_file),
        key_file=str(identity.key_file),
        idle_timeout=settings.quic_idle_timeout_ms / 1000,
    )
    return QuicServer(settings, socket, tls, partial(Conversation, gate))


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


# Where it is ----------------------------------------------------------------------------------------------------------


def _address(socket: sockets.socket) -> Address:
    """Return where whoever is on this machine finds the door."""
    host, port = socket.getsockname()[:2]
    return Address(_LOOPBACK_OF.get(host, host), port)


_LOOPBACK_OF: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Who listens at every address is found at this one."""


def _exposed(socket: sockets.socket) -> bool:
    """Whether the door can be reached from other machines."""
    return not ip_address(socket.getsockname()[0].partition("%")[0]).is_loopback


# Programs -------------------------------------------------------------------------------------------------------------


def _environment(settings: Settings, identity: Identity, address: Address, *, elsewhere: bool) -> dict[str, str]:
    """Return what every launched program is told, so that it finds its way back, also from elsewhere."""
    found = {
        "RUNTARA_SERVER_ADDR": str(address),
        "RUNTARA_SERVER_NAME": "localhost",
        "RUNTARA_HEARTBEAT_INTERVAL_MS": str(settings.heartbeat_interval_ms),
        "RUNTARA_PARK_AFTER_MS": str(settings.park_after_ms),
    }
    if identity.ca_file is not None and not elsewhere:
        return {**found, "RUNTARA_CA_FILE": str(identity.ca_file.resolve())}
    return {**found, "RUNTARA_SERVER_FINGERPRINT": identity.fingerprint}


def _launcher(
    settings: Settings,
    clock: Clock,
    mint: TokenMint,
    environment: Mapping[str, str],
    engine: Engine,
    *,
    others: Shared | None,
    elsewhere: bool,
) -> Launcher:
    def connection_of(key: InstanceKey, epoch: int) -> dict[str, str]:
        return {**environment, "RUNTARA_TOKEN": mint.mint(key, epoch)}

    runner = child(
        "programs",
        Runner,
        kwargs={
            "instances": INSTANCES,
            "reader": READER,
            "scheduler": SCHEDULER,
            "engine": engine,
            "connection": connection_of,
            "graces": Graces(leave=settings.cancel_grace_ms / 1000, kill=settings.kill_grace_ms / 1000),
            "clock": clock,
            "clock_check": settings.clock_check_ms / 1000,
            "shared": others,
            "images": None if others is None or elsewhere else IMAGES,
        },
        mailbox=MailboxSpec(bound=65_536, policy=Policy.REJECT),
    )
    return Launcher(
        runner=runner,
        places=settings.max_concurrent_instances,
        keeps_logs=True,
        check_program=engine.check,
        images=None if elsewhere else _images(settings, clock, others),
        upkeep=_upkeep(settings, clock, elsewhere=elsewhere),
    )


# What is kept ---------------------------------------------------------------------------------------------------------


def _images(settings: Settings, clock: Clock, others: Shared | None) -> Child:
    """Return the registry of the images that are launched here."""
    return child(
        "images",
        ImageRegistry,
        kwargs={
            "instances": INSTANCES,
            "reader": READER,
            "writer": WRITER,
            "library": library_of(settings),
            "clock": clock,
            "image_max_bytes": settings.image_max_bytes,
            "shared": others,
        },
        mailbox=MailboxSpec(bound=8_192, policy=Policy.REJECT),
    )


def _upkeep(settings: Settings, clock: Clock, *, elsewhere: bool) -> Child:
    """Return who removes what is not kept; what lies elsewhere is the business of those who run that place."""
    chores: dict[str, ChoreWork] = {"instances": InstanceChore(clock, settings.keep_instances_ms)}
    if not elsewhere:
        runs, library = Runs(home_of(settings)), library_of(settings)
        chores["runs"] = RunFolderChore(clock, runs, settings.keep_runs_ms)
        chores["images"] = ImageChore(clock, library, settings.keep_images_ms, settings.keep_image_versions)
    kwargs = {"reader": READER, "writer": WRITER, "chores": chores, "every": settings.upkeep_every_ms / 1000}
    return child("chores", Upkeep, kwargs=kwargs)
