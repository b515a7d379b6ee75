"""A real system behind a gate, and clients who talk to it in frames without any network."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from runtara.actors.sessions import Attach, Detach
from runtara.errors import InvalidInput, Unauthenticated
from runtara.messages import Request
from runtara.system import SESSIONS
from runtara.transport.calls import Calls
from runtara.transport.conversation import Conversation
from runtara.transport.credentials import KeyRing, TokenMint
from runtara.transport.frames import Answer, Ask, Hello, Refusal, ServerFrame, decode_server_frame, encode_frame
from runtara.transport.gate import Gate
from tests.actors.operations import PAYLOAD_MAX, host
from tests.actors.stage import Stage, WatchedStore, open_stage

__all__ = ["LIFETIME_MS", "Guest", "Lobby", "open_lobby"]

LIFETIME_MS = 3_600_000


class Lobby:
    """The gate, and all that a test may want to touch."""

    def __init__(self, stage: Stage, gate: Gate, mint: TokenMint, keys: KeyRing) -> None:
        self.stage = stage
        self.gate = gate
        self.mint = mint
        self.keys = keys
        self.metrics = stage.system.metrics

    def guest(self, peer: str = "127.0.0.1") -> "Guest":
        """Connect."""
        return Guest(self.gate, peer)

    def meet(
        self, instance_id: str = "one", *, peer: str = "127.0.0.1", tenant_id: str = "acme", **hello: Any
    ) -> "Guest":
        """Connect and say hello; whether that is welcome shows."""
        guest = self.guest(peer)
        guest.greet(Hello(tenant_id=tenant_id, instance_id=instance_id, **hello))
        return guest


class Guest:
    """A client. What it is told is kept in `heard`; `ended_by` is why the server would close the connection."""

    def __init__(self, gate: Gate, peer: str) -> None:
        self.conversation = Conversation(gate, peer, self._wake)
        self.heard: list[tuple[int, ServerFrame]] = []
        self.ended_by: Exception | None = None
        self.wakes = 0
        self._something = trio.Event()
        self._ids = 0

    def say(self, frame: Any, stream_id: int = 0) -> None:
        """Say something; the frames that this leads to at once are heard at once."""
        self.say_bytes(encode_frame(frame)[4:], stream_id)

    def say_bytes(self, body: bytes, stream_id: int = 0) -> None:
        try:
            self.conversation.received(stream_id, body)
        except (InvalidInput, Unauthenticated) as error:
            self.ended_by = error
        self.hear()

    def greet(self, hello: Hello) -> None:
        self.say(hello)

    async def ask(self, command: Request[Any], stream_id: int = 0, **fields: Any) -> Any:
        """Ask, and return the reply or the `Refusal`; None once the connection is ended."""
        ask_id = self.ask_soon(command, stream_id, **fields)
        while self.ended_by is None:
            for _, frame in self.heard:
                if isinstance(frame, Answer | Refusal) and frame.id == ask_id:
                    return frame.reply if isinstance(frame, Answer) else frame
            await self.hear_more()
        return None

    def ask_soon(self, command: Request[Any], stream_id: int = 0, **fields: Any) -> int:
        """Ask without waiting; return the id of the call."""
        self._ids += 1
        self.say(Ask(id=self._ids, command=command, **fields), stream_id)
        return self._ids

    async def hear_more(self) -> None:
        """Wait until the server has something to say."""
        await self._something.wait()
        self._something = trio.Event()
        self.hear()

    def hear(self) -> None:
        for stream_id, frame in self.conversation.outgoing():
            assert int.from_bytes(frame[:4], "big") == len(frame) - 4
            self.heard.append((stream_id, decode_server_frame(frame[4:])))
        self.ended_by = self.ended_by or self.conversation.ended_by

    def told(self, kind: type) -> list[Any]:
        """What was heard of one kind of frame."""
        return [frame for _, frame in self.heard if isinstance(frame, kind)]

    @property
    def turned_away(self) -> str | None:
        """The code of the refusal that ended it all."""
        return next((frame.code for frame in self.told(Refusal) if frame.id == 0), None)

    def _wake(self) -> None:
        self.wakes += 1
        self._something.set()


@asynccontextmanager
async def open_lobby(
    folder: Path, store: WatchedStore | None = None, *, require_credentials: bool = True, **settings: Any
) -> AsyncIterator[Lobby]:
    """Run a system with a gate for the length of the block."""
    async with open_stage(store, state_max_bytes=PAYLOAD_MAX, **settings) as bare:
        stage = await host(bare)
        sessions = stage.system.ref(SESSIONS)
        mint = TokenMint(folder / "secret", stage.clock, LIFETIME_MS)
        keys = KeyRing(folder / "keys.json", stage.clock)
        gate = Gate(
            line=stage.dispatch.line,
            attach=lambda watcher: sessions.tell_nowait(Attach(watcher)),
            detach=lambda watcher: sessions.tell_nowait(Detach(watcher)),
            mint=mint,
            keys=keys,
            require_credentials=require_credentials,
            clock=stage.clock,
            version="1.2.3",
            heartbeat_interval_ms=30_000,
            payload_max_bytes=PAYLOAD_MAX,
            passed_line=partial(stage.dispatch.line, passed_on=True),
            calls=Calls(stage.system.metrics),
        )
        yield Lobby(stage, gate, mint, keys)
