"""The keeper of keys as an actor, in front of a desk that may be slow, or fail."""

import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio

from runtara.actors import child
from runtara.actors.keys import KeyKeeper
from runtara.errors import ConfigError, InvalidInput, NotFound, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.messages import AddKey, GetHealth, KeyMade, KeyRevoked, ListKeys, RevokeKey, RotateKey, TenantKey
from runtara.settings import Settings
from runtara.system import Runtime, in_process, open_runtime

KEY = InstanceKey("acme", "admin")
KNOWN = TenantKey(key_id="0123456789ab", tenant_id="acme", role="operator", created_at=1)


class Desk:
    """Answers as it is told, and notes what it was asked."""

    def __init__(self, answer: Callable[[], object]) -> None:
        self.asked: list[tuple[str, object]] = []
        self._answer = answer

    def answer(self, tenant_id: str, command: object, /) -> object:
        self.asked.append((tenant_id, command))
        return self._answer()


@asynccontextmanager
async def opened(desk: Desk | None) -> AsyncIterator[Runtime]:
    launcher = in_process({})
    if desk is not None:
        launcher = msgspec.structs.replace(launcher, keys=child("keys", KeyKeeper, desk))
    async with open_runtime(Settings(database_url="memory://"), launcher=launcher) as runtime:
        yield runtime


def raising(error: Exception) -> Callable[[], object]:
    def answer() -> object:
        raise error

    return answer


async def test_a_command_is_answered_for_the_tenant_that_asks_and_noted_without_the_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk = Desk(lambda: KeyMade(secret="rtk_canary", key=KNOWN))

    with caplog.at_level(logging.DEBUG):
        async with opened(desk) as runtime:
            command = AddKey(role="operator", request_id="canary-request")
            made = await runtime.dispatch.call(KEY, command)

    assert desk.asked == [("acme", command)]
    assert made.secret == "rtk_canary"
    noted = [record for record in caplog.records if record.message == "key-made"]
    assert [(record.__dict__["tenant"], record.__dict__["key"]) for record in noted] == [("acme", KNOWN.key_id)]
    assert not any("canary" in repr(record.__dict__) for record in caplog.records)


async def test_a_revocation_is_noted_if_there_was_something_to_revoke(caplog: pytest.LogCaptureFixture) -> None:
    answers = [KeyRevoked(key_id="k", revoked=revoked) for revoked in (True, False)]

    with caplog.at_level(logging.INFO):
        async with opened(Desk(lambda: answers.pop(0))) as runtime:
            for _ in range(2):
                await runtime.dispatch.call(KEY, RevokeKey(key_id="k"))

    assert [record.message for record in caplog.records].count("key-revoked") == 1


@pytest.mark.parametrize("error", [ConfigError("/secret/place is damaged"), PermissionError("/secret/place")])
async def test_keys_that_cannot_be_used_are_explained_to_the_owner_of_the_server_only(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(Desk(raising(error))) as runtime:
        with pytest.raises(StoreUnavailable) as caught:
            await runtime.dispatch.call(KEY, ListKeys())
        await runtime.dispatch.call(KEY, GetHealth())

    assert "/secret/place" not in str(caught.value)
    assert any("/secret/place" in record.__dict__.get("error", "") for record in caplog.records)


async def test_a_refusal_reaches_whoever_asked() -> None:
    async with opened(Desk(raising(NotFound("there is no key")))) as runtime:
        with pytest.raises(NotFound, match="there is no key"):
            await runtime.dispatch.call(KEY, RotateKey(key_id="k"))


async def test_a_slow_desk_keeps_nobody_else_waiting() -> None:
    go = threading.Event()
    desk = Desk(lambda: go.wait(60) and KeyRevoked(key_id="k", revoked=False))

    with trio.fail_after(60):
        async with opened(desk) as runtime, trio.open_nursery() as nursery:
            nursery.start_soon(runtime.dispatch.call, KEY, RevokeKey(key_id="k"))
            health = await runtime.dispatch.call(KEY, GetHealth())
            go.set()

    assert not health.draining


async def test_a_system_that_asks_for_no_keys_says_that_it_has_none() -> None:
    async with opened(None) as runtime:
        with pytest.raises(NotFound, match="keeps no keys"):
            await runtime.dispatch.call(KEY, ListKeys())


@pytest.mark.parametrize(
    "command",
    [
        AddKey(role="king"),  # type: ignore[arg-type]  # on purpose
        AddKey(role="admin", request_id=""),
        AddKey(role="admin", request_id="a b"),
        AddKey(role="admin", expires_at=-1),
        AddKey(role="admin", expires_at="soon"),  # type: ignore[arg-type]  # on purpose
        RotateKey(key_id="../x"),
        RotateKey(key_id="k", grace_ms=-1),
        RotateKey(key_id="k", request_id="/"),
        RevokeKey(key_id=""),
    ],
)
async def test_what_is_malformed_never_reaches_the_desk(command: Any) -> None:
    desk = Desk(lambda: None)

    async with opened(desk) as runtime:
        with pytest.raises(InvalidInput):
            await runtime.dispatch.call(KEY, command)

    assert desk.asked == []
