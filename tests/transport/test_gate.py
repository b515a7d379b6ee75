import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from trio.testing import MockClock

from runtara import messages
from runtara.endpoints import ENDPOINTS
from runtara.errors import Unauthenticated
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.transport import frames
from runtara.transport.credentials import NODE_PREFIX, TOKEN_PREFIX, TokenMint, not_accepted
from runtara.transport.frames import Hello, OnBehalf, Pushed, Refusal, Renewed, Welcome
from tests.actors.operations import EXAMPLES, running
from tests.actors.stage import key_of
from tests.transport.lobby import LIFETIME_MS, Guest, Lobby, open_lobby

COMMANDS = pytest.mark.parametrize("command", EXAMPLES.values(), ids=lambda command: type(command).__name__)
AWAY = "203.0.113.7"
NEW = (messages.StartInstance, messages.ForkInstance)
"""What is said to an instance that does not exist."""

BEGINS = (*NEW, messages.RegisterInstance)


@pytest.fixture
async def lobby(tmp_path: Path) -> AsyncIterator[Lobby]:
    async with open_lobby(tmp_path) as lobby:
        yield lobby


@pytest.fixture
async def open_lobby_door(tmp_path: Path) -> AsyncIterator[Lobby]:
    """One that asks for no credentials."""
    async with open_lobby(tmp_path, require_credentials=False) as lobby:
        yield lobby


def row_of(command: Any) -> Any:
    return ENDPOINTS[type(command)]


def is_reply(command: Any, answer: Any) -> bool:
    return type(answer) is row_of(command).reply


def code_of(answer: Any) -> str:
    assert isinstance(answer, Refusal)
    return answer.code


# Every operation with every credential --------------------------------------------------------------------------------
#
# Instance one of tenant acme is running as attempt 1, unless the test says otherwise.


@COMMANDS
async def test_without_a_credential_nothing_is_answered_where_one_is_required(lobby: Lobby, command: Any) -> None:
    await running(lobby.stage)

    guest = lobby.meet(epoch=1)

    assert await refused_at_the_door(guest, command) == "unauthenticated"


async def refused_at_the_door(guest: Guest, command: Any) -> str | None:
    """Check that a guest was turned away, and hears nothing however much it asks; return the code that it was told."""
    told = list(guest.heard)
    guest.ask_soon(command)
    assert guest.heard == told
    assert not guest.conversation.is_welcome
    assert isinstance(guest.ended_by, Unauthenticated)
    return guest.turned_away


@pytest.mark.parametrize("epoch", [None, 1])
@COMMANDS
async def test_a_token_is_good_for_what_its_own_program_may_do(lobby: Lobby, command: Any, epoch: int | None) -> None:
    await running(lobby.stage)
    guest = lobby.meet(credential=lobby.mint.mint(key_of("one"), 1), epoch=epoch)

    answer = await guest.ask(command)

    if row_of(command).caller in ("manager", "worker"):
        assert code_of(answer) == "forbidden"
    else:
        assert is_reply(command, answer)


@COMMANDS
async def test_a_token_that_names_its_own_instance_in_a_call_can_do_no_more(lobby: Lobby, command: Any) -> None:
    await running(lobby.stage)
    guest = lobby.meet(credential=lobby.mint.mint(key_of("one"), 1))

    answer = await guest.ask(command, instance_id="one")

    if row_of(command).caller in ("manager", "worker"):
        assert code_of(answer) == "forbidden"
    else:
        assert is_reply(command, answer)


@pytest.mark.parametrize("exists", [True, False])
@COMMANDS
async def test_to_a_token_every_other_instance_looks_like_one_that_does_not_exist(
    lobby: Lobby, command: Any, exists: bool
) -> None:
    await running(lobby.stage)
    if exists:
        await running(lobby.stage, "two")
    guest = lobby.meet(credential=lobby.mint.mint(key_of("one"), 1))

    answer = await guest.ask(command, instance_id="two")

    if row_of(command).caller in ("manager", "worker"):
        assert code_of(answer) == "forbidden"
    else:
        manager = lobby.meet(credential=lobby.keys.add("acme"))
        unknown = await manager.ask(messages.GetStatus(), instance_id="none")
        assert code_of(answer) == "instance-not-found"
        assert answer.message.replace("two", "none") == unknown.message


@COMMANDS
async def test_the_token_of_an_older_attempt_changes_nothing(lobby: Lobby, command: Any) -> None:
    await running(lobby.stage)
    token = lobby.mint.mint(key_of("one"), 1)
    await lobby.stage.ask("one", messages.RegisterInstance(attempt_id="newer"))
    before = await lobby.stage.ask("one", messages.GetStatus())
    guest = lobby.meet(credential=token)

    answers = [await guest.ask(command), await guest.ask(command, instance_id="one")]

    expected = {"manager": "forbidden", "worker": "forbidden", "program": "fenced"}.get(row_of(command).caller)
    if expected is None:
        assert all(is_reply(command, answer) for answer in answers)
    else:
        assert [code_of(answer) for answer in answers] == [expected, expected]
    after = await lobby.stage.ask("one", messages.GetStatus())
    assert msgspec.structs.replace(after, heartbeat_at=None) == msgspec.structs.replace(before, heartbeat_at=None)


def tokens_that_are_no_good(lobby: Lobby, folder: Path) -> dict[str, dict[str, Any]]:
    """What a client may show, in its greeting for instance one, that must not let it in."""
    expired = lobby.mint.mint(key_of("one"), 1)
    revoked = lobby.keys.add("acme")
    lobby.keys.revoke(lobby.keys.list()[-1].key_id)
    lobby.stage.clock.jump_ms(LIFETIME_MS)
    stranger = TokenMint(folder / "another secret", lobby.stage.clock, LIFETIME_MS)
    return {
        "an expired token": {"credential": expired},
        "a revoked key": {"credential": revoked},
        "the token of another instance": {"credential": lobby.mint.mint(key_of("two"), 1)},
        "the token of another tenant": {"credential": lobby.mint.mint(InstanceKey("rival", "one"), 1)},
        "a token for another attempt": {"credential": lobby.mint.mint(key_of("one"), 2), "epoch": 1},
        "a token of another server": {"credential": stranger.mint(key_of("one"), 1)},
        "the key of another tenant": {"credential": lobby.keys.add("rival")},
        "garbage": {"credential": "garbage"},
        "garbage like a token": {"credential": "rti_garbage"},
        "garbage like a key": {"credential": "rtk_garbage"},
        "nothing at all": {"credential": ""},
    }


@pytest.mark.parametrize("require_credentials", [True, False])
@COMMANDS
async def test_a_credential_that_is_no_good_gets_one_and_the_same_answer(
    tmp_path: Path, command: Any, require_credentials: bool
) -> None:
    async with open_lobby(tmp_path, require_credentials=require_credentials) as lobby:
        await running(lobby.stage)
        for what, hello in tokens_that_are_no_good(lobby, tmp_path).items():
            guest = lobby.meet(**hello)

            assert await refused_at_the_door(guest, command) == "unauthenticated", what
            assert guest.told(Refusal)[0].message == str(not_accepted()), what


@COMMANDS
async def test_a_tenant_key_is_good_for_everything_of_its_tenant(lobby: Lobby, command: Any) -> None:
    await running(lobby.stage)
    guest = lobby.meet("new" if isinstance(command, NEW) else "one", credential=lobby.keys.add("acme"))
    attempt = lobby.meet(credential=lobby.keys.add("acme"), epoch=1)
    asks = attempt if row_of(command).caller == "program" else guest

    assert is_reply(command, await asks.ask(command))


@COMMANDS
async def test_whoever_manages_an_instance_is_not_its_attempt(lobby: Lobby, command: Any) -> None:
    await running(lobby.stage)
    guest = lobby.meet("manager", credential=lobby.keys.add("acme"), epoch=1)

    answer = await guest.ask(command, instance_id="new" if isinstance(command, NEW) else "one")

    if row_of(command).caller == "program" and not isinstance(command, messages.RegisterInstance):
        assert code_of(answer) == "fenced"
    else:
        assert is_reply(command, answer)


@COMMANDS
async def test_the_key_of_another_tenant_shows_nothing_of_ours(lobby: Lobby, command: Any) -> None:
    await running(lobby.stage)
    before = await lobby.stage.ask("one", messages.GetStatus())
    guest = lobby.meet(tenant_id="rival", credential=lobby.keys.add("rival"), epoch=1)

    ours = [await guest.ask(command), await guest.ask(command, instance_id="one")]
    unknown = [await guest.ask(command, instance_id="none")]
    unknown.insert(
        0, await lobby.meet("none", tenant_id="rival", credential=lobby.keys.add("rival"), epoch=1).ask(command)
    )

    def shown(answer: Any) -> str:
        answer = msgspec.structs.replace(answer, token=None) if hasattr(answer, "token") else answer
        answer = msgspec.structs.replace(answer, id=0) if isinstance(answer, Refusal) else answer
        return repr(answer).replace("none", "one")

    if isinstance(command, BEGINS):  # it may begin one of its own under the name, with all that follows
        assert not any(isinstance(answer, Refusal) and answer.code == "fenced" for answer in ours)
    elif isinstance(command, messages.ListInstances | messages.GetTree | messages.GetHealth):
        assert all(is_reply(command, answer) and "acme" not in repr(answer) for answer in ours)
    else:
        assert [shown(answer) for answer in ours] == [shown(answer) for answer in unknown]
    assert await lobby.stage.ask("one", messages.GetStatus()) == before


@COMMANDS
async def test_a_key_that_is_revoked_while_its_owner_is_connected_is_worthless_at_once(
    lobby: Lobby, command: Any
) -> None:
    await running(lobby.stage)
    guest = lobby.meet(credential=lobby.keys.add("acme"), epoch=1)
    assert is_reply(messages.GetHealth(), await guest.ask(messages.GetHealth()))
    lobby.keys.revoke(lobby.keys.list()[0].key_id)

    answer = await guest.ask(command)

    assert code_of(answer) == "unauthenticated"
    assert answer.message == str(not_accepted())


@COMMANDS
async def test_a_token_that_expires_while_its_owner_is_connected_is_worthless_at_once(
    lobby: Lobby, command: Any
) -> None:
    await running(lobby.stage)
    guest = lobby.meet(credential=lobby.mint.mint(key_of("one"), 1))
    lobby.stage.clock.jump_ms(LIFETIME_MS)

    assert code_of(await guest.ask(command)) == "unauthenticated"


@COMMANDS
async def test_where_no_credential_is_required_a_client_is_believed(open_lobby_door: Lobby, command: Any) -> None:
    lobby = open_lobby_door
    await running(lobby.stage)

    new = isinstance(command, NEW)
    guest = lobby.meet("new" if new else "one", epoch=None if new else 1)

    assert is_reply(command, await guest.ask(command))


# Greeting -------------------------------------------------------------------------------------------------------------


async def test_a_welcome_says_what_a_client_must_know(lobby: Lobby) -> None:
    guest = lobby.meet(credential=lobby.keys.add("acme"))

    assert guest.told(Welcome) == [
        Welcome(server_version="1.2.3", heartbeat_every_ms=30_000, frame_max_bytes=lobby.gate.frame_max_bytes)
    ]


@pytest.mark.parametrize("names", [{"tenant_id": ""}, {"tenant_id": "a/b"}, {"instance_id": "é"}, {"instance_id": ""}])
async def test_malformed_names_are_refused_by_name(open_lobby_door: Lobby, names: dict[str, str]) -> None:
    guest = open_lobby_door.meet(**({"instance_id": "one"} | names))

    assert guest.turned_away == "invalid-input"
    assert next(iter(names)).replace("_", " ") in guest.told(Refusal)[0].message


async def test_keys_that_cannot_be_read_let_nobody_in_and_tell_only_the_owner_of_the_server(
    lobby: Lobby, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    credential = lobby.keys.add("acme")
    guest = lobby.meet(credential=credential)
    (tmp_path / "keys.json").write_text("damaged")

    with caplog.at_level(logging.INFO):
        late = lobby.meet(credential=credential)
        answer = await guest.ask(messages.GetHealth())

    assert late.turned_away == "unauthenticated"
    assert code_of(answer) == "unauthenticated"
    assert str(tmp_path) not in repr(late.heard) + answer.message
    assert {record.message for record in caplog.records} == {"keys-unusable", "credential-refused"}


async def test_no_credential_is_written_into_the_log(lobby: Lobby, caplog: pytest.LogCaptureFixture) -> None:
    key, token = lobby.keys.add("acme"), lobby.mint.mint(key_of("two"), 1)

    with caplog.at_level(logging.DEBUG):
        for credential in (key, token, "rti_canary", "rtk_canary"):
            lobby.meet(tenant_id="rival", credential=credential, peer=AWAY)

    assert [record.__dict__["peer"] for record in caplog.records] == [AWAY] * 4
    shown = "".join(repr(record.__dict__) for record in caplog.records)
    assert not [secret for secret in (key, token, "canary") if secret in shown]


# Tokens ---------------------------------------------------------------------------------------------------------------

REGISTER = messages.RegisterInstance(attempt_id="mine")


async def test_whoever_registers_gets_a_token_of_its_attempt(open_lobby_door: Lobby) -> None:
    lobby = open_lobby_door
    guest = lobby.meet()

    registered = await guest.ask(REGISTER)
    grant = lobby.mint.check(registered.token)

    assert (grant.key, grant.epoch) == (key_of("one"), registered.epoch)
    assert lobby.meet(credential=registered.token, epoch=registered.epoch).turned_away is None


async def test_a_token_that_is_registered_under_a_newer_attempt_is_of_that_attempt(lobby: Lobby) -> None:
    await running(lobby.stage)
    guest = lobby.meet(credential=lobby.mint.mint(key_of("one"), 1))

    registered = await guest.ask(messages.RegisterInstance(attempt_id="again"))
    saved = await guest.ask(EXAMPLES[messages.SaveCheckpoint])

    assert registered.epoch == 2
    assert lobby.mint.check(registered.token).epoch == 2
    assert is_reply(EXAMPLES[messages.SaveCheckpoint], saved)


async def test_who_registers_another_instance_gets_its_token_and_stays_who_it_was(open_lobby_door: Lobby) -> None:
    guest = open_lobby_door.meet("manager")

    registered = await guest.ask(REGISTER, instance_id="two")
    refused = await guest.ask(EXAMPLES[messages.SaveCheckpoint])

    assert open_lobby_door.mint.check(registered.token).key == key_of("two")
    assert code_of(refused) == "instance-not-found"


@pytest.mark.parametrize(("age_ms", "renewed"), [(0, False), (LIFETIME_MS // 2 - 1, False), (LIFETIME_MS // 2, True)])
async def test_a_token_past_half_its_life_is_renewed_in_the_welcome(
    lobby: Lobby, mock_clock: MockClock, age_ms: int, renewed: bool
) -> None:
    token = lobby.mint.mint(key_of("one"), 3)
    lobby.stage.clock.jump_ms(age_ms)

    newer = lobby.meet(credential=token).told(Welcome)[0].token

    assert (newer is not None) is renewed
    if newer is not None:
        grant = lobby.mint.check(newer)
        assert (grant.key, grant.epoch) == (key_of("one"), 3)
        assert grant.expires_at == lobby.stage.clock.now_ms() + LIFETIME_MS


async def test_a_token_is_renewed_at_a_heartbeat_once_it_is_half_its_life_old(
    lobby: Lobby, mock_clock: MockClock
) -> None:
    await running(lobby.stage)
    guest = lobby.meet(credential=lobby.mint.mint(key_of("one"), 1))
    told = []
    for _ in range(8):
        await guest.ask(messages.Heartbeat())
        told.append(len(guest.told(Renewed)))
        lobby.stage.clock.jump_ms(LIFETIME_MS // 4)

    assert told == [0, 0, 1, 1, 2, 2, 3, 3]
    assert lobby.mint.check(guest.told(Renewed)[-1].token).epoch == 1


async def test_a_fenced_attempt_gets_no_newer_token_however_often_it_beats(lobby: Lobby, mock_clock: MockClock) -> None:
    await running(lobby.stage)
    guest = lobby.meet(credential=lobby.mint.mint(key_of("one"), 1))
    await lobby.stage.ask("one", messages.RegisterInstance(attempt_id="newer"))
    lobby.stage.clock.jump_ms(LIFETIME_MS - 1)

    assert code_of(await guest.ask(messages.Heartbeat())) == "fenced"
    assert guest.told(Renewed) == []


# Time -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout_ms", [0, -1, -(2**63)])
async def test_a_call_that_has_no_time_left_is_not_made(open_lobby_door: Lobby, timeout_ms: int) -> None:
    lobby = open_lobby_door
    guest = lobby.meet()

    assert code_of(await guest.ask(REGISTER, timeout_ms=timeout_ms)) == "deadline-exceeded"
    assert code_of(await guest.ask(messages.GetStatus())) == "instance-not-found"


async def test_no_client_waits_for_ever(open_lobby_door: Lobby, autojump_clock: MockClock) -> None:
    guest = open_lobby_door.meet()

    waits = messages.ReadLog(wait_ms=60_000)

    assert is_reply(waits, await guest.ask(waits, timeout_ms=2**62))
    assert code_of(await guest.ask(waits, timeout_ms=59_000)) == "deadline-exceeded"


async def test_admission_is_the_gates_own_word(lobby: Lobby) -> None:
    hello = Hello(tenant_id="acme", instance_id="one", credential=lobby.keys.add("acme"), epoch=4)

    caller = lobby.gate.admit(hello, AWAY)

    assert (caller.key, caller.epoch) == (key_of("one"), 4)


# What nodes pass on ---------------------------------------------------------------------------------------------------


def node_of(lobby: Lobby) -> Guest:
    """Another node of the same store."""
    return lobby.meet("node", tenant_id="runtara", credential=lobby.mint.mint_for_node("north"))


@COMMANDS
async def test_a_node_may_pass_on_every_call_of_any_tenant(lobby: Lobby, command: Any) -> None:
    await running(lobby.stage)
    node, instance_id = node_of(lobby), "new" if isinstance(command, NEW) else "one"

    answer = await node.ask(command, instance_id=instance_id, on_behalf=OnBehalf(tenant_id="acme", epoch=1))

    assert is_reply(command, answer)


@COMMANDS
async def test_nobody_but_a_node_may_ask_on_behalf_of_anybody(lobby: Lobby, command: Any) -> None:
    await running(lobby.stage)
    guests = [
        lobby.meet(credential=lobby.keys.add("acme")),
        lobby.meet(credential=lobby.mint.mint(key_of("one"), 1), epoch=1),
        lobby.meet("node", tenant_id="runtara", credential=lobby.keys.add("runtara")),
    ]

    for guest in guests:
        for tenant_id in ("acme", "rival"):
            answer = await guest.ask(command, instance_id="one", on_behalf=OnBehalf(tenant_id=tenant_id, epoch=1))

            assert code_of(answer) == "forbidden"


@COMMANDS
async def test_where_no_credentials_are_asked_for_nobody_asks_on_behalf_of_anybody_either(
    open_lobby_door: Lobby, command: Any
) -> None:
    await running(open_lobby_door.stage)

    answer = await open_lobby_door.meet().ask(command, instance_id="one", on_behalf=OnBehalf(tenant_id="acme", epoch=1))

    assert code_of(answer) == "forbidden"


@pytest.mark.parametrize("fields", [{}, {"instance_id": "one"}, {"on_behalf": OnBehalf(tenant_id="acme")}])
@COMMANDS
async def test_a_node_asks_nothing_for_itself(lobby: Lobby, command: Any, fields: dict[str, Any]) -> None:
    await running(lobby.stage)

    assert code_of(await node_of(lobby).ask(command, **fields)) == "forbidden"


@pytest.mark.parametrize("how", ["expired", "of another store", "dressed up"])
async def test_a_token_of_a_node_that_is_not_good_lets_nobody_in(lobby: Lobby, tmp_path: Path, how: str) -> None:
    token = lobby.mint.mint_for_node("north")
    if how == "expired":
        lobby.stage.clock.jump_ms(LIFETIME_MS)
    elif how == "of another store":
        token = TokenMint(tmp_path / "other", lobby.stage.clock, LIFETIME_MS).mint_for_node("north")
    else:
        token = NODE_PREFIX + lobby.mint.mint(key_of("one"), 1).removeprefix(TOKEN_PREFIX)

    guest = lobby.meet("node", tenant_id="runtara", credential=token)

    command = EXAMPLES[messages.GetStatus]
    assert await refused_at_the_door(guest, command) == "unauthenticated"


async def test_the_attempt_that_speaks_through_a_node_is_fenced_like_any_other(lobby: Lobby) -> None:
    await running(lobby.stage)
    node = node_of(lobby)

    answer = await node.ask(messages.Heartbeat(), instance_id="one", on_behalf=OnBehalf(tenant_id="acme", epoch=7))

    assert code_of(answer) == "fenced"


async def test_another_tenants_instance_looks_unknown_through_a_node_too(lobby: Lobby) -> None:
    await running(lobby.stage)
    node = node_of(lobby)
    command = messages.GetStatus()

    theirs = await node.ask(command, instance_id="one", on_behalf=OnBehalf(tenant_id="rival"))
    nobodys = await node.ask(command, instance_id="one", on_behalf=OnBehalf(tenant_id="nobody"))

    assert code_of(theirs) == code_of(nobodys) == "instance-not-found"
    assert theirs.message == nobodys.message


@pytest.mark.parametrize("ids", [("acme", "../x"), ("../x", "one"), ("", "one")])
async def test_malformed_ids_that_a_node_passes_on_are_refused(lobby: Lobby, ids: tuple[str, str]) -> None:
    answer = await node_of(lobby).ask(messages.GetStatus(), instance_id=ids[1], on_behalf=OnBehalf(tenant_id=ids[0]))

    assert code_of(answer) == "invalid-input"


async def test_an_attempt_that_registers_through_a_node_gets_its_token_from_the_node_that_it_asked(
    lobby: Lobby,
) -> None:
    command = messages.RegisterInstance(attempt_id="a")

    reply = await node_of(lobby).ask(command, instance_id="new", on_behalf=OnBehalf(tenant_id="acme"))

    assert (reply.epoch, reply.token) == (1, None)


async def test_a_node_is_told_of_nobodys_changes(lobby: Lobby) -> None:
    await running(lobby.stage)
    node = node_of(lobby)
    node.say(frames.Watch(instance_id="one"))
    await lobby.stage.ask("one", messages.SendSignal(kind="custom", name="go", signal_id="s2"))
    await node.ask(messages.GetHealth(), instance_id="one", on_behalf=OnBehalf(tenant_id="acme"))

    assert node.told(Pushed) == []


async def test_a_host_that_goes_down_begins_nothing_for_other_nodes_either(lobby: Lobby) -> None:
    await running(lobby.stage)
    lobby.gate.drain()
    node = node_of(lobby)
    behalf = OnBehalf(tenant_id="acme")

    new = await node.ask(EXAMPLES[messages.StartInstance], instance_id="new", on_behalf=behalf)
    known = await node.ask(messages.GetStatus(), instance_id="one", on_behalf=behalf)

    assert code_of(new) == "draining"
    assert known.status is Status.RUNNING
