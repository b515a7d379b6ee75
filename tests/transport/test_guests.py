"""Whoever was let in by something that has become worthless is sent away, once, as soon as that can be known."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from runtara.errors import Unauthenticated
from runtara.transport.frames import Hello
from runtara.transport.guests import Guest
from tests.transport.lobby import LIFETIME_MS, Lobby, open_lobby


@pytest.fixture
async def lobby(tmp_path: Path) -> AsyncIterator[Lobby]:
    async with open_lobby(tmp_path) as lobby:
        yield lobby


class Visits:
    """Connections, each known by a name, and who was sent away."""

    def __init__(self, lobby: Lobby) -> None:
        self.sent_away: list[str] = []
        self._lobby = lobby
        self._changed = trio.Event()

    def come(self, name: str, credential: str) -> Guest:
        caller = self._lobby.gate.admit(Hello(tenant_id="acme", instance_id="one", credential=credential), "::1")
        return self._lobby.gate.follow(caller, partial(self._go, name))

    def _go(self, name: str, error: Unauthenticated) -> None:
        assert "not accepted" in str(error)
        self.sent_away.append(name)
        self._changed.set()

    async def until_gone(self, *names: str) -> None:
        with trio.fail_after(60):
            while sorted(self.sent_away) != sorted(names):
                await self._changed.wait()
                self._changed = trio.Event()


def revoke(lobby: Lobby, key: str) -> None:
    lobby.keys.revoke(lobby.keys.check(key).key_id)


async def test_who_holds_a_key_that_is_revoked_goes_and_nobody_else(lobby: Lobby) -> None:
    visits, key, other = Visits(lobby), lobby.keys.add("acme"), lobby.keys.add("acme")
    for name, shown in (("one", key), ("two", key), ("other", other)):
        visits.come(name, shown)
    visits.come("program", lobby.mint.mint(visits.come("gone", key).caller.key, 1))
    lobby.gate.guests.look()
    before = list(visits.sent_away)

    revoke(lobby, key)
    lobby.gate.guests.look()
    lobby.gate.guests.look()

    assert before == []
    assert sorted(visits.sent_away) == ["gone", "one", "two"]
    assert len(lobby.gate.guests) == 2


async def test_who_has_gone_is_not_sent_away(lobby: Lobby) -> None:
    visits, key = Visits(lobby), lobby.keys.add("acme")
    guest = visits.come("one", key)
    for _ in range(2):
        lobby.gate.guests.remove(guest)

    revoke(lobby, key)
    lobby.gate.guests.look()

    assert visits.sent_away == []


async def test_a_change_of_the_keys_is_noticed_by_itself_whoever_makes_it(
    lobby: Lobby, nursery: trio.Nursery, tmp_path: Path
) -> None:
    visits, keys = Visits(lobby), [lobby.keys.add("acme") for _ in range(3)]
    for number, key in enumerate(keys):
        visits.come(str(number), key)
    nursery.start_soon(lobby.gate.guests.serve, tmp_path)

    for number, key in enumerate(keys):
        revoke(lobby, key)
        await visits.until_gone(*map(str, range(number + 1)))

    nursery.cancel_scope.cancel()


async def test_a_key_that_is_rotated_keeps_its_owner_for_its_grace_and_no_longer(
    lobby: Lobby, nursery: trio.Nursery, tmp_path: Path, autojump_clock: MockClock
) -> None:
    visits, key = Visits(lobby), lobby.keys.add("acme")
    nursery.start_soon(lobby.gate.guests.serve, tmp_path)
    visits.come("old", key)
    lobby.keys.rotate(lobby.keys.check(key).key_id, grace_ms=5_000)

    await trio.sleep(4.9)
    before = list(visits.sent_away)
    await trio.sleep(0.2)

    assert (before, visits.sent_away) == ([], ["old"])
    nursery.cancel_scope.cancel()


async def test_who_comes_later_with_what_ends_earlier_goes_in_time(
    lobby: Lobby, nursery: trio.Nursery, tmp_path: Path, autojump_clock: MockClock
) -> None:
    visits, clock = Visits(lobby), lobby.stage.clock
    nursery.start_soon(lobby.gate.guests.serve, tmp_path)
    visits.come("late", lobby.keys.add("acme", expires_at=clock.now_ms() + LIFETIME_MS))
    await trio.sleep(1)
    visits.come("early", lobby.keys.add("acme", expires_at=clock.now_ms() + 3_000))

    await trio.sleep(3.1)

    assert visits.sent_away == ["early"]
    assert len(lobby.gate.guests) == 1
    nursery.cancel_scope.cancel()


async def test_where_the_system_does_not_tell_of_changes_one_looks_every_second(
    lobby: Lobby, nursery: trio.Nursery, tmp_path: Path, autojump_clock: MockClock
) -> None:
    visits, key = Visits(lobby), lobby.keys.add("acme")
    visits.come("one", key)
    nursery.start_soon(lobby.gate.guests.serve, tmp_path / "not there")
    await trio.sleep(10)
    revoke(lobby, key)
    began = trio.current_time()

    await visits.until_gone("one")

    assert trio.current_time() - began <= 1.1
    nursery.cancel_scope.cancel()
