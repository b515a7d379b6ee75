"""Who a client is by what it shows, and for how long that is good."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from runtara import messages
from runtara.endpoints import ROLES, Role
from runtara.errors import Busy, InvalidInput, Unauthenticated
from runtara.transport._failures import FAILURES_MAX
from runtara.transport.credentials import not_accepted
from runtara.transport.frames import Hello, Pushed, Watch
from tests.actors.operations import EXAMPLES, running
from tests.actors.stage import key_of
from tests.transport.lobby import LIFETIME_MS, Lobby, open_lobby
from tests.transport.passports import der_of, make_passport

AWAY = "203.0.113.7"
HERE = "127.0.0.1"


@pytest.fixture
async def lobby(tmp_path: Path) -> AsyncIterator[Lobby]:
    async with open_lobby(tmp_path) as lobby:
        yield lobby


@pytest.fixture
async def open_lobby_door(tmp_path: Path) -> AsyncIterator[Lobby]:
    async with open_lobby(tmp_path, require_credentials=False) as lobby:
        yield lobby


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


# Whose a credential is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claimed", [None, "acme"])
async def test_the_tenant_is_that_of_the_credential(lobby: Lobby, claimed: str | None) -> None:
    credentials = [lobby.keys.add("acme", role) for role in ROLES] + [lobby.mint.mint(key_of("one"), 1)]

    tenants = [lobby.gate.tenant_of(credential, claimed, AWAY) for credential in credentials]

    assert set(tenants) == {"acme"}


async def test_whoever_claims_another_tenant_is_answered_like_everybody_with_a_bad_credential(lobby: Lobby) -> None:
    revoked = lobby.keys.add("acme")
    lobby.keys.revoke(lobby.keys.list()[0].key_id)
    expired = lobby.mint.mint(key_of("one"), 1)
    lobby.stage.clock.jump_ms(LIFETIME_MS)
    bad = [
        (lobby.keys.add("acme"), "rival"),
        (lobby.mint.mint(key_of("one"), 1), "rival"),
        (lobby.mint.mint_for_node("north"), None),
        (lobby.mint.mint_for_node("north"), "acme"),
        (revoked, None),
        (expired, None),
        ("rtk_nonsense", None),
        ("rti_nonsense", "acme"),
        ("", None),
    ]

    for credential, claimed in bad:
        with pytest.raises(Unauthenticated) as caught:
            lobby.gate.tenant_of(credential, claimed, HERE)
        assert str(caught.value) == str(not_accepted()), credential


async def test_wrong_credentials_are_counted_here_too(lobby: Lobby) -> None:
    good = lobby.keys.add("acme")
    for _ in range(FAILURES_MAX):
        with pytest.raises(Unauthenticated):
            lobby.gate.tenant_of(good, "rival", AWAY)

    with pytest.raises(Busy):
        lobby.gate.tenant_of(good, None, AWAY)
    assert lobby.meet(credential=good, peer=AWAY).turned_away == "busy"
    assert lobby.gate.tenant_of(good, None, "203.0.113.8") == "acme"


async def test_without_a_credential_a_client_is_asked_for_one_or_believed(lobby: Lobby, open_lobby_door: Lobby) -> None:
    with pytest.raises(Unauthenticated, match="RUNTARA_TOKEN"):
        lobby.gate.tenant_of(None, "acme", AWAY)

    assert open_lobby_door.gate.tenant_of(None, "acme", AWAY) == "acme"
    assert open_lobby_door.gate.tenant_of(None, None, AWAY) == "default"
    with pytest.raises(InvalidInput):
        open_lobby_door.gate.tenant_of(None, "../x", AWAY)


# Certificates ---------------------------------------------------------------------------------------------------------


def hello(**more: Any) -> Hello:
    return Hello(**{"tenant_id": "acme", "instance_id": "one"} | more)


@pytest.mark.parametrize(
    ("uri", "role"),
    [("runtara://tenant/acme", "operator"), *((f"runtara://tenant/acme/{role}", role) for role in ROLES)],
)
async def test_a_certificate_names_the_tenant_and_the_role(
    lobby: Lobby, authority: trustme.CA, tmp_path: Path, uri: str, role: Role
) -> None:
    der = der_of(make_passport(authority, tmp_path, uri))

    caller = lobby.gate.admit(hello(epoch=4), AWAY, der)

    assert (caller.key, caller.epoch, caller.role) == (key_of("one"), 4, role)
    assert lobby.gate.tenant_of(None, None, AWAY, der) == "acme"


@pytest.mark.parametrize(
    "uris",
    [
        (),
        ("runtara://tenant/rival",),
        ("runtara://tenant/acme/king",),
        ("runtara://tenant/",),
        ("runtara://tenant/acme/",),
        ("runtara://tenant/a b",),
        ("runtara://tenant/acme", "runtara://tenant/rival"),
        ("runtara://tenant/acme/admin/x",),
        ("https://tenant/acme",),
    ],
)
async def test_a_good_certificate_that_does_not_say_so_lets_nobody_in(
    lobby: Lobby, authority: trustme.CA, tmp_path: Path, uris: tuple[str, ...]
) -> None:
    der = der_of(make_passport(authority, tmp_path, *uris))

    with pytest.raises(Unauthenticated) as caught:
        lobby.gate.admit(hello(), HERE, der)

    assert str(caught.value) == str(not_accepted())
    with pytest.raises(Unauthenticated):
        lobby.gate.tenant_of(None, "acme", HERE, der)


@pytest.mark.parametrize("der", [b"", b"nonsense", b"\x30\x03\x02\x01\x01"])
async def test_what_is_no_certificate_lets_nobody_in_not_even_where_none_is_required(
    open_lobby_door: Lobby, der: bytes
) -> None:
    with pytest.raises(Unauthenticated):
        open_lobby_door.gate.admit(hello(), HERE, der)


async def test_a_credential_counts_more_than_a_certificate(lobby: Lobby, authority: trustme.CA, tmp_path: Path) -> None:
    der = der_of(make_passport(authority, tmp_path, "runtara://tenant/acme/admin"))

    caller = lobby.gate.admit(hello(credential=lobby.keys.add("acme", "read-only")), HERE, der)

    assert caller.role == "read-only"
    with pytest.raises(Unauthenticated):
        lobby.gate.admit(hello(credential="rtk_wrong"), HERE, der)


async def test_a_certificate_that_ends_while_its_owner_is_connected_is_worthless_at_once(
    lobby: Lobby, authority: trustme.CA, tmp_path: Path
) -> None:
    der = der_of(make_passport(authority, tmp_path, "runtara://tenant/acme", ends=timedelta(days=3_650)))
    caller = lobby.gate.admit(hello(), HERE, der)
    assert caller.good_until is not None

    lobby.stage.clock.jump_ms(caller.good_until - lobby.stage.clock.now_ms() - 60_000)
    before = lobby.gate.is_good(caller)
    lobby.stage.clock.jump_ms(60_000)

    assert (before, lobby.gate.is_good(caller)) == (True, False)


# As long as it is good ------------------------------------------------------------------------------------------------


async def test_a_key_that_ends_while_its_owner_is_connected_is_worthless_at_once(lobby: Lobby) -> None:
    key = lobby.keys.add("acme", expires_at=lobby.stage.clock.now_ms() + LIFETIME_MS)
    guest = lobby.meet(credential=key)

    lobby.stage.clock.jump_ms(LIFETIME_MS // 2)
    before = await guest.ask(messages.GetHealth())
    lobby.stage.clock.jump_ms(LIFETIME_MS // 2)
    after = await guest.ask(messages.GetHealth())

    assert isinstance(before, messages.HealthFound)
    assert (after.code, after.message) == ("unauthenticated", str(not_accepted()))
    assert lobby.meet(credential=key).turned_away == "unauthenticated"


async def test_a_key_that_is_rotated_while_its_owner_is_connected_is_good_until_its_grace_is_over(
    lobby: Lobby,
) -> None:
    guest = lobby.meet(credential=lobby.keys.add("acme"))
    lobby.keys.rotate(lobby.keys.list()[0].key_id, LIFETIME_MS)

    within = await guest.ask(messages.GetHealth())
    lobby.stage.clock.jump_ms(LIFETIME_MS)
    after = await guest.ask(messages.GetHealth())

    assert isinstance(within, messages.HealthFound)
    assert after.code == "unauthenticated"


async def test_keys_that_come_and_go_beside_it_do_not_matter(lobby: Lobby) -> None:
    guest = lobby.meet(credential=lobby.keys.add("acme"))
    lobby.keys.add("acme")
    lobby.keys.revoke(lobby.keys.list()[1].key_id)

    assert isinstance(await guest.ask(messages.GetHealth()), messages.HealthFound)


@pytest.mark.parametrize("how", ["revoked", "ended"])
async def test_whose_key_is_gone_is_told_of_nothing_that_happens(lobby: Lobby, how: str) -> None:
    await running(lobby.stage)
    key = lobby.keys.add("acme", expires_at=lobby.stage.clock.now_ms() + LIFETIME_MS)
    kept = lobby.keys.add("acme")
    guests = [lobby.meet("watcher", credential=credential) for credential in (key, kept)]
    for guest in guests:
        guest.say(Watch(instance_id="one"))
    if how == "revoked":
        lobby.keys.revoke(lobby.keys.list()[0].key_id)
    else:
        lobby.stage.clock.jump_ms(LIFETIME_MS)

    await lobby.stage.ask("one", messages.SendSignal(kind="custom", name="go", signal_id="s2"))
    while not guests[1].told(Pushed):
        await guests[1].hear_more()
    guests[0].hear()

    assert guests[0].told(Pushed) == []


async def test_who_may_only_push_images_hears_of_no_instance(lobby: Lobby) -> None:
    await running(lobby.stage)
    pusher = lobby.meet(credential=lobby.keys.add("acme", "image-push"), epoch=1)
    reader = lobby.meet("reader", credential=lobby.keys.add("acme", "read-only"))
    for guest in (pusher, reader):
        guest.say(Watch(instance_id="one"))

    answer = await pusher.ask(EXAMPLES[messages.RegisterInstance])
    await lobby.stage.ask("one", messages.SendSignal(kind="custom", name="go", signal_id="s2"))
    while not reader.told(Pushed):
        await reader.hear_more()
    pusher.hear()

    assert answer.code == "forbidden"
    assert pusher.told(Pushed) == []


async def test_output_that_was_waited_for_is_not_told_to_whose_key_is_revoked_meanwhile(
    lobby: Lobby, autojump_clock: object
) -> None:
    key = lobby.keys.add("acme")
    guest = lobby.meet(credential=key)
    asked = guest.ask_soon(messages.ReadLog(wait_ms=1_000))
    lobby.keys.revoke(lobby.keys.list()[0].key_id)

    await guest.hear_more()

    frame = next(frame for _, frame in guest.heard if getattr(frame, "id", None) == asked)
    assert getattr(frame, "code", None) == "unauthenticated"
