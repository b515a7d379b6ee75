"""The door for programs in other processes and on other machines, as the program sees it.

Nothing here touches the network: calls are handed to the engine's thread, one hop each way.
"""

import random
import threading
from contextlib import suppress
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import finalize

import msgspec

from runtara.errors import ActorStopped
from runtara.ids import InstanceKey, check_id
from runtara.messages import Request
from runtara.transport.client.call import Call, Waiting, encode_ask
from runtara.transport.frames import OnBehalf
from runtara.transport.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from runtara.transport.client.connection import Connector
    from runtara.transport.client.engine import Engine
    from runtara.transport.client.link import Link

__all__ = ["RemoteDoor", "ServerSpec", "Trunk"]

R = TypeVar("R")


class ServerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server is, how it is known to be the right one, and how patient its client is."""

    address: str
    """As host:port; several with commas between them, where any of these servers will do."""
    server_name: str = "localhost"
    ca_file: str | None = None
    fingerprint: str | None = None
    skip_verification: bool = False
    client_cert_file: str | None = None
    """PEM file with what the client shows of itself to a server that asks; by default nothing."""
    client_key_file: str | None = None
    """PEM file with the private key of it; by default the same file."""
    connect_timeout: float = 10.0
    request_timeout: float = 30.0
    heartbeat_every: float = 30.0


class Trunk:
    """What a program's door and those beside it have in common: the connection, made when it is needed.

    `prepare` says how connections are made, once one is needed. After a fork, the child gets one of its own.
    """

    def __init__(
        self,
        server: ServerSpec,
        session: Session,
        prepare: "Callable[[ServerSpec], Connector]",
        credential: str | None,
        epoch: int | None,
    ) -> None:
        self.server = server
        self.session = session
        self._prepare = prepare
        self.ids = count(1)
        self._credential = credential
        self._epoch = epoch
        self._lock = threading.Lock()
        self._line: tuple[Engine, Link] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the server has welcomed us, and is there."""
        return self._line is not None and self._line[1].calls.is_welcome

    def line(self) -> "tuple[Engine, Link]":
        """Return the engine and the link that it keeps up."""
        from runtara.transport.client.engine import current_engine

        line, engine = self._line, current_engine()
        if line is None or line[0] is not engine:
            with self._lock:
                line = self._line
                if line is None or line[0] is not engine:
                    line = self._line = engine, self._make_link(engine, line)
        return line

    def post(self, what: str, *args: Any) -> None:
        """Have something done with the link, where there is one."""
        if self._line is not None:
            engine, link = self._line
            with suppress(ActorStopped):
                engine.post(getattr(link, what), *args)

    def _make_link(self, engine: "Engine", old: "tuple[Engine, Link] | None") -> "Link":
        from runtara.transport.addresses import parse_addresses
        from runtara.transport.client.calls import Calls, Patience
        from runtara.transport.client.link import Link

        server = self.server
        calls = Calls(
            self.session,
            self.ids,
            credential=self._credential if old is None else old[1].calls.credential,
            epoch=self._epoch,
            patience=Patience(server.connect_timeout, server.request_timeout, server.heartbeat_every),
            random=random.random,
        )
        link = Link(parse_addresses(server.address), self._prepare(server), calls, random.random)
        engine.run(link)
        finalize(self, _drop, engine, link).atexit = False  # the engine itself says goodbye then
        return link


def _drop(engine: "Engine", link: "Link") -> None:
    with suppress(ActorStopped):
        engine.drop(link)


class RemoteDoor:
    """A way to one instance through a connection that it may share with others. See `Door`."""

    def __init__(self, session: Session, trunk: Trunk, *, instance_id: str | None = None, watch: bool = False) -> None:
        self.session = session
        self._trunk = trunk
        self._instance_id = instance_id
        """Another instance than the trunk's, asked about by nobody's attempt."""
        self._watch = watch
        self._is_watching = False

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection right now; calls make one where there is none."""
        return self._trunk.is_connected

    async def call(self, command: Request[R], *, timeout: float | None = None) -> R:
        """Have a command answered, from any event loop. See `Door.call`."""
        reply: R = await self._answer(self._make_call(command, timeout))
        return reply

    def call_from_thread(self, command: Request[R], *, timeout: float | None = None) -> R:
        """Have a command answered, blocking the calling thread. See `Door.call`."""
        reply: R = self._answer_blocking(self._make_call(command, timeout))
        return reply

    async def pass_on(self, key: InstanceKey, command: Request[R], epoch: int | None, timeout: float) -> R:
        """As a node: have a command answered that this node was asked. See `Door.call`."""
        id = next(self._trunk.ids)
        behalf = OnBehalf(tenant_id=key.tenant_id, epoch=epoch)
        frame = encode_ask(id, command, key.instance_id, timeout, behalf)
        call = Call(id, type(command).__name__, frame=frame, timeout=timeout, session=Session(key))
        reply: R = await self._answer(call)
        return reply

    async def connect(self) -> None:
        """Return when there is a connection. Raises `Unreachable`, `UntrustedServer`, `Unauthenticated`."""
        await self._answer(self._knock())

    def connect_from_thread(self) -> None:
        """Like `connect`, blocking the calling thread."""
        self._answer_blocking(self._knock())

    def hand_in(self, checkpoint_id: str, state: bytes) -> bool:
        """Take nothing: what is saved elsewhere is saved once the answer is here."""
        return False

    def is_left_alone(self) -> bool:
        """Know nothing: one has to ask."""
        return False

    def beside(self, instance_id: str, *, watch: bool = False) -> "RemoteDoor":
        """Return a way to another instance of the same tenant, as somebody who manages it, over the same connection."""
        check_id(instance_id, "instance id")
        session = Session(InstanceKey(self.session.key.tenant_id, instance_id))
        return RemoteDoor(session, self._trunk, instance_id=instance_id, watch=watch)

    def stop_heartbeat(self) -> None:
        """Say no more by itself that the attempt is alive; harmless when repeated."""
        self._trunk.line()
        self._trunk.post("stop_heartbeat")

    def close(self) -> None:
        """Hear of nothing any more; harmless when repeated. The connection ends with the door that is not beside."""
        if self._is_watching:
            self._is_watching = False
            self._trunk.post("unwatch", self.session)
        if self._instance_id is None:
            self._trunk.post("detach")

    def _make_call(self, command: object, timeout: float | None) -> Call:
        id = next(self._trunk.ids)
        patience = self._trunk.server.request_timeout if timeout is None else timeout
        frame = encode_ask(id, command, self._instance_id, patience)
        return Call(id, type(command).__name__, frame=frame, timeout=patience, session=self.session)

    def _knock(self) -> Call:
        timeout = self._trunk.server.connect_timeout
        return Call(next(self._trunk.ids), "Hello", frame=None, timeout=timeout, session=self.session)

    async def _answer(self, call: Call) -> Any:
        from runtara.threads import ForeignEvent

        engine, link = self._line()
        done = ForeignEvent()
        waiting = Waiting(done.set)
        call.then = waiting.done
        engine.post(link.ask, call)
        try:
            await done.wait(inf)
        except BaseException:
            self._trunk.post("withdraw", call)
            raise
        return waiting.result()

    def _answer_blocking(self, call: Call) -> Any:
        engine, link = self._line()
        engine.check_thread()
        done = threading.Lock()  # not an Event, whose wait an interrupt from the keyboard can leave in pieces
        done.acquire()
        waiting = Waiting(done.release)
        call.then = waiting.done
        engine.post(link.ask, call)
        try:
            done.acquire()
        except BaseException:
            self._trunk.post("withdraw", call)
            raise
        return waiting.result()

    def _line(self) -> "tuple[Engine, Link]":
        line = self._trunk.line()
        if self._watch and not self._is_watching:
            self._is_watching = True
            line[0].post(line[1].watch, self.session)
        return line
