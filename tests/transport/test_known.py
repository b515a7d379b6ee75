"""A host that goes down takes only what is about instances that it knows; seen through the gate."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runtara import messages
from runtara.endpoints import ENDPOINTS
from runtara.lifecycle import Status
from runtara.transport.frames import Refusal
from tests.actors.operations import EXAMPLES, running
from tests.transport.lobby import Lobby, open_lobby

BEGINS = (messages.StartInstance, messages.ForkInstance, messages.RegisterInstance)
REGISTER = messages.RegisterInstance(attempt_id="mine")


@pytest.fixture
async def open_lobby_door(tmp_path: Path) -> AsyncIterator[Lobby]:
    async with open_lobby(tmp_path, require_credentials=False) as lobby:
        yield lobby


def is_reply(command: Any, answer: Any) -> bool:
    return type(answer) is ENDPOINTS[type(command)].reply


def code_of(answer: Any) -> str:
    assert isinstance(answer, Refusal)
    return answer.code


@pytest.mark.parametrize("command", [EXAMPLES[kind] for kind in BEGINS], ids=lambda command: type(command).__name__)
async def test_a_host_that_goes_down_begins_nothing_new(open_lobby_door: Lobby, command: Any) -> None:
    lobby = open_lobby_door
    lobby.gate.drain()

    answer = await lobby.meet("new").ask(command)

    assert code_of(answer) == "draining"
    assert code_of(await lobby.meet().ask(messages.GetStatus(), instance_id="new")) == "instance-not-found"


async def test_a_host_that_goes_down_starts_nobody_of_many(open_lobby_door: Lobby) -> None:
    lobby = open_lobby_door
    lobby.gate.drain()

    assert code_of(await lobby.meet().ask(EXAMPLES[messages.StartMany])) == "draining"
    assert is_reply(EXAMPLES[messages.SignalMany], await lobby.meet().ask(EXAMPLES[messages.SignalMany]))


async def test_a_host_that_goes_down_still_talks_to_those_it_knows(open_lobby_door: Lobby) -> None:
    lobby = open_lobby_door
    await running(lobby.stage)
    await lobby.stage.ask("started", EXAMPLES[messages.StartInstance])
    lobby.gate.drain()
    guest = lobby.meet()

    registered = await guest.ask(messages.RegisterInstance(attempt_id="again"))
    saved = await guest.ask(EXAMPLES[messages.SaveCheckpoint])
    started = await lobby.meet("started").ask(EXAMPLES[messages.StartInstance])

    assert registered.epoch == 2
    assert is_reply(EXAMPLES[messages.SaveCheckpoint], saved)
    assert not started.created


async def test_a_host_that_goes_down_refuses_what_is_wrong_as_ever(open_lobby_door: Lobby) -> None:
    lobby = open_lobby_door
    await running(lobby.stage)
    await lobby.stage.ask("one", messages.CompleteInstance(), epoch=1)
    lobby.gate.drain()

    malformed = await lobby.meet().ask(messages.RegisterInstance(attempt_id="a b"))
    finished = await lobby.meet().ask(REGISTER)
    late = await lobby.meet("new").ask(REGISTER, timeout_ms=0)

    assert [code_of(answer) for answer in (malformed, finished, late)] == [
        "invalid-input",
        "invalid-state",
        "deadline-exceeded",
    ]
    assert (await lobby.stage.ask("one", messages.GetStatus())).status is Status.COMPLETED
