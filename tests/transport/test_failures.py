"""Who tries many credentials has to wait; seen through the gate, which counts them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtara.transport import _failures as failures
from runtara.transport._failures import FAILURE_FORGOTTEN_AFTER, FAILURES_MAX
from tests.transport.lobby import Lobby, open_lobby

AWAY = "203.0.113.7"


@pytest.fixture
async def lobby(tmp_path: Path) -> AsyncIterator[Lobby]:
    async with open_lobby(tmp_path) as lobby:
        yield lobby


class Watch:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(failures, "monotonic", lambda: self.now)


async def test_an_address_with_many_wrong_credentials_has_to_wait(
    lobby: Lobby, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, good = Watch(monkeypatch), lobby.keys.add("acme")

    wrong = [lobby.meet(credential="rtk_wrong", peer=AWAY).turned_away for _ in range(FAILURES_MAX + 5)]
    good_too = lobby.meet(credential=good, peer=AWAY).turned_away
    elsewhere = lobby.meet(credential=good, peer="203.0.113.8").turned_away
    watch.now += FAILURE_FORGOTTEN_AFTER
    later = [lobby.meet(credential=credential, peer=AWAY).turned_away for credential in (good, "rtk_wrong", good)]

    assert wrong == ["unauthenticated"] * FAILURES_MAX + ["busy"] * 5
    assert (good_too, elsewhere) == ("busy", None)
    assert later == [None, "unauthenticated", "busy"]


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"])
async def test_loopback_is_shared_and_never_has_to_wait(
    lobby: Lobby, monkeypatch: pytest.MonkeyPatch, peer: str
) -> None:
    Watch(monkeypatch)

    wrong = {lobby.meet(credential="rtk_wrong", peer=peer).turned_away for _ in range(3 * FAILURES_MAX)}

    assert wrong == {"unauthenticated"}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("a socket", "a socket", True),
    ],
)
async def test_who_shares_an_address_is_one(
    lobby: Lobby, monkeypatch: pytest.MonkeyPatch, one: str, other: str, same: bool
) -> None:
    Watch(monkeypatch)
    for _ in range(FAILURES_MAX):
        lobby.meet(credential="rtk_wrong", peer=one)

    assert (lobby.meet(credential="rtk_wrong", peer=other).turned_away == "busy") is same


async def test_only_so_many_addresses_are_remembered(lobby: Lobby, monkeypatch: pytest.MonkeyPatch) -> None:
    Watch(monkeypatch)
    monkeypatch.setattr(failures, "ADDRESSES_MAX", 3)
    for host in range(1, 6):
        for _ in range(FAILURES_MAX):
            lobby.meet(credential="rtk_wrong", peer=f"203.0.113.{host}")

    answers = [lobby.meet(credential="rtk_wrong", peer=f"203.0.113.{host}").turned_away for host in (5, 4, 3, 1)]

    assert answers == ["busy", "busy", "busy", "unauthenticated"]
    assert len(lobby.gate._admission.failures._counts) == 3
