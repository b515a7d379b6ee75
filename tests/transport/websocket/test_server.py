"""Sessions over WebSocket, message by message: what a client may say, and what it is told."""

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from runtara.errors import Code
from runtara.lifecycle import Status
from runtara.messages import (
    CheckpointFound,
    GetCheckpoint,
    GetHealth,
    GetStatus,
    HealthFound,
    RegisterInstance,
    SaveCheckpoint,
    SendSignal,
)
from runtara.transport.close_codes import GOING_AWAY, INVALID_FRAME, TOO_LARGE, TOO_SLOW, UNAUTHENTICATED
from runtara.transport.frames import HELLO_MAX_BYTES, Ask, Goodbye, Hello, Pushed, Refusal, Watch, Welcome
from tests.actors.operations import PAYLOAD_MAX
from tests.transport.websocket.visitor import BINARY, CONTINUATION, TEXT, Scene, body_of, open_scene, piece

HELLO = piece(BINARY, body_of(Hello(tenant_id="acme", instance_id="visitor")))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(tmp_path) as found:
        yield found


async def test_a_client_greets_asks_and_is_answered(scene: Scene) -> None:
    async with scene.visitor() as visitor:
        assert isinstance(await visitor.greet(), Welcome)

        registered = await visitor.ask(RegisterInstance(attempt_id="a"))
        await visitor.ask(SaveCheckpoint(checkpoint_id="c", state=b"state"))

        assert registered.epoch == 1
        assert await visitor.ask(GetCheckpoint(checkpoint_id="c")) == CheckpointFound(found=True, state=b"state")
        assert scene.sessions.describe() == {"sessions": 1, "calls": 0, "answer_bytes": 0}


async def test_messages_may_come_in_pieces(scene: Scene) -> None:
    hello = body_of(Hello(tenant_id="acme", instance_id="visitor"))
    async with scene.visitor() as visitor:
        await visitor.say(piece(BINARY, hello[:5], last=False))
        await visitor.say(piece(CONTINUATION, hello[5:9], last=False), piece(CONTINUATION, hello[9:]))

        await visitor.until(lambda: visitor.frames)

        assert isinstance(visitor.frames[0], Welcome)


async def test_a_program_hears_of_a_signal_and_a_watcher_of_its_end(scene: Scene) -> None:
    async with scene.visitor() as program, scene.visitor() as watcher:
        await program.greet("one")
        await program.ask(RegisterInstance(attempt_id="a"))
        await watcher.greet("two")
        await watcher.tell(Watch(instance_id="one"))

        await watcher.ask(SendSignal(kind="cancel", signal_id="s"), instance_id="one")

        await program.until(lambda: Pushed(instance_id="one") in program.frames)
        await watcher.until(lambda: Pushed(instance_id="one") in watcher.frames)
        assert (await watcher.ask(GetStatus(), instance_id="one")).status is Status.RUNNING


@pytest.mark.parametrize("subprotocol", ["", "runtara.1", "chat"])
async def test_whoever_speaks_another_protocol_is_not_let_in(scene: Scene, subprotocol: str) -> None:
    async with scene.serving.client() as client:
        await client.say(
            b"GET /api/v1/session HTTP/1.1\r\nHost: " + client.host + b"\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Protocol: " + subprotocol.encode() + b"\r\n\r\n"
        )

        assert (await client.stream.receive_some()).startswith(b"HTTP/1.1 403")


DEEDS: dict[str, tuple[list[bytes], int]] = {
    "text": ([HELLO, piece(TEXT, b"hello")], INVALID_FRAME),
    "text for a greeting": ([piece(TEXT, b"hello")], INVALID_FRAME),
    "no frame": ([HELLO, piece(BINARY, b"\xc1")], INVALID_FRAME),
    "nothing": ([HELLO, piece(BINARY)], INVALID_FRAME),
    "no greeting": ([piece(BINARY, body_of(Ask(id=1, command=GetHealth())))], INVALID_FRAME),
    "two greetings": ([HELLO, HELLO], INVALID_FRAME),
    "too long a greeting": ([piece(BINARY, bytes(HELLO_MAX_BYTES + 1))], TOO_LARGE),
}


@pytest.mark.parametrize("deed", DEEDS)
async def test_each_deed_gets_its_documented_answer(scene: Scene, deed: str) -> None:
    said, code = DEEDS[deed]
    async with scene.visitor() as visitor:
        await visitor.say(*said)

        assert await visitor.sent_away() == 4_000 + code


@pytest.mark.parametrize("known", [False, True], ids=["stranger", "client"])
async def test_a_message_that_is_far_too_large_ends_the_session(scene: Scene, known: bool) -> None:
    async with scene.visitor() as visitor:
        if known:
            await visitor.greet()
        size = scene.lobby.gate.frame_max_bytes if known else 64 * 1024
        await visitor.say(piece(BINARY, bytes(size), last=False), piece(CONTINUATION, b"x"))

        assert await visitor.sent_away() == 1_009


async def test_a_known_client_may_send_what_nobody_else_may(scene: Scene) -> None:
    async with scene.visitor() as visitor:
        await visitor.greet()
        await visitor.ask(RegisterInstance(attempt_id="a"))

        saved = await visitor.ask(SaveCheckpoint(checkpoint_id="c", state=bytes(PAYLOAD_MAX)))
        refused = await visitor.ask(SaveCheckpoint(checkpoint_id="d", state=bytes(PAYLOAD_MAX + 1)))

        assert not saved.found
        assert refused.code == Code.TOO_LARGE.wire
        assert await visitor.ask(GetHealth())


async def test_whoever_does_not_greet_in_time_is_sent_away(tmp_path: Path) -> None:
    async with open_scene(tmp_path, http_head_timeout_ms=300) as scene, scene.visitor() as visitor:
        assert await visitor.sent_away() == 4_000 + TOO_SLOW


async def test_a_wrong_credential_is_answered_before_the_session_ends(tmp_path: Path) -> None:
    async with open_scene(tmp_path, require_credentials=True) as scene, scene.visitor() as visitor:
        refusal = await visitor.greet(credential="rtk_wrong")

        assert isinstance(refusal, Refusal)
        assert (refusal.id, refusal.code) == (0, Code.UNAUTHENTICATED.wire)
        assert await visitor.sent_away() == 4_000 + UNAUTHENTICATED


async def test_who_is_idle_when_its_key_is_revoked_is_told_why_and_sent_away(tmp_path: Path) -> None:
    async with (
        open_scene(tmp_path, require_credentials=True) as scene,
        scene.visitor() as visitor,
        scene.visitor() as other,
    ):
        keys = scene.lobby.keys
        key = keys.add("acme")
        await visitor.greet(credential=key)
        await other.greet(credential=keys.add("acme"))
        scene.nursery.start_soon(scene.lobby.gate.guests.serve, tmp_path)

        keys.revoke(keys.check(key).key_id)
        code = await visitor.sent_away()

        refusal = visitor.frames[-1]
        assert isinstance(refusal, Refusal)
        assert (refusal.id, refusal.code) == (0, Code.UNAUTHENTICATED.wire)
        assert code == 4_000 + UNAUTHENTICATED
        assert not isinstance(await other.ask(GetHealth()), Refusal)


class Held:
    """Keeps calls of `GetHealth` from being answered until they are let go."""

    def __init__(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[Any] = []
        self.some = trio.Event()
        self._ask: Any = scene.lobby.gate.ask
        monkeypatch.setattr(scene.lobby.gate, "ask", self._hold)

    def _hold(self, caller: Any, ask: Any, then: Any) -> None:
        if isinstance(ask.command, GetHealth):
            self.calls.append((caller, ask, then))
            self.some.set()
        else:
            self._ask(caller, ask, then)

    def let_go(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            self._ask(*call)


async def test_a_call_too_many_is_refused_and_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_scene(tmp_path, quic_calls_in_flight=3) as scene, scene.visitor() as visitor:
        held = Held(scene, monkeypatch)
        await visitor.greet()
        await visitor.tell(*(Ask(id=number, command=GetHealth()) for number in range(101, 106)))

        await visitor.until(lambda: visitor.told(104) and visitor.told(105))
        assert {visitor.told(number).code for number in (104, 105)} == {Code.BUSY.wire}
        assert len(held.calls) == 3
        held.let_go()
        await visitor.until(lambda: all(visitor.told(number) for number in range(101, 106)))

        assert isinstance(await visitor.ask(GetStatus(), instance_id="nobody"), Refusal)


async def test_a_server_that_leaves_answers_what_it_was_asked_and_says_goodbye(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        open_scene(tmp_path, http_head_timeout_ms=60_000) as scene,
        scene.visitor() as asking,
        scene.visitor() as idle,
        scene.visitor() as stranger,
    ):
        held = Held(scene, monkeypatch)
        await idle.greet("idle")
        await asking.greet("asking")
        await asking.tell(Ask(id=7, command=GetHealth()))
        await held.some.wait()
        scene.nursery.start_soon(scene.serving.server.drain, 250)

        assert await idle.sent_away() == await stranger.sent_away() == 4_000 + GOING_AWAY
        await asking.until(lambda: Goodbye(retry_after_ms=250) in asking.frames)
        await asking.tell(Ask(id=8, command=GetStatus()))
        held.let_go()

        assert await asking.sent_away() == 4_000 + GOING_AWAY
        assert isinstance(asking.told(7).reply, HealthFound)
        assert asking.told(8) is None
        assert not scene.sessions.describe()["sessions"]


async def test_a_client_that_never_reads_is_not_heard_and_let_go_while_others_are_served(tmp_path: Path) -> None:
    large = bytes(PAYLOAD_MAX)
    async with open_scene(tmp_path, http_write_timeout_ms=2_000) as scene, scene.visitor() as honest:
        await honest.greet("honest")
        await honest.ask(RegisterInstance(attempt_id="a"))
        await honest.ask(SaveCheckpoint(checkpoint_id="large", state=large))
        asking = piece(BINARY, body_of(Ask(id=1, command=GetCheckpoint(checkpoint_id="large"))))
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, scene.sessions.describe()["answer_bytes"])
                await trio.lowlevel.checkpoint()

        async with scene.visitor(listening=False, SO_RCVBUF=4_096) as deaf, trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await deaf.tell(Hello(tenant_id="acme", instance_id="honest"))
            with trio.fail_after(60), suppress(trio.BrokenResourceError):
                while True:
                    await deaf.stream.send_all(asking * 20)
            nursery.cancel_scope.cancel()

        assert 0 < most < 2 * 1024 * 1024
        assert await honest.ask(GetHealth())
        assert scene.sessions.describe() == {"sessions": 1, "calls": 0, "answer_bytes": 0}
