"""Waiting for the answer to a call, wherever and whenever it comes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from runtara.errors import DeadlineExceeded, InstanceNotFound
from runtara.messages import ClaimWork, GetHealth, GetStatus, RegisterInstance, TakeSignal
from runtara.transport.frames import Ask, Hello
from runtara.transport.http._answers import Asked, Client
from tests.transport.lobby import Lobby, open_lobby

NOTHING_COMES = ClaimWork(worker_id="w", slot=0, programs=("pool:none@1",), wait_ms=60_000)


@asynccontextmanager
async def opened(tmp_path: Path) -> AsyncIterator[tuple[Lobby, Client]]:
    async with open_lobby(tmp_path, require_credentials=False) as lobby:
        caller = lobby.gate.admit(Hello(tenant_id="acme", instance_id="one"), "127.0.0.1")
        yield lobby, Client(lobby.gate, caller)


async def test_a_reply_is_returned_and_a_refusal_raised(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, client):
        registered = await client.ask(Ask(id=1, command=RegisterInstance(attempt_id="a")))

        with pytest.raises(InstanceNotFound):
            await client.ask(Ask(id=1, command=GetStatus(), instance_id="other"))

    assert registered.epoch == 1


async def test_what_was_answered_before_anybody_waits_is_there_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, client):
        asked = Asked(client, Ask(id=1, command=GetHealth()))

        health = await asked.reply()

    assert health.version


async def test_who_is_cancelled_waits_no_more_and_the_answer_goes_nowhere(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, client):
        await client.ask(Ask(id=1, command=RegisterInstance(attempt_id="a")))
        asked = Asked(client, Ask(id=1, command=NOTHING_COMES))
        with trio.CancelScope() as scope:
            scope.cancel()
            await asked.reply()
        again = await client.ask(Ask(id=1, command=GetStatus()))

    assert scope.cancelled_caught
    assert again.instance_id == "one"


async def test_an_answer_that_does_not_come_in_time_is_a_deadline_that_was_missed(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, client):
        await client.ask(Ask(id=1, command=RegisterInstance(attempt_id="a")))

        with pytest.raises(DeadlineExceeded):
            await client.ask(Ask(id=1, command=TakeSignal(name="n", place="p"), timeout_ms=0))
