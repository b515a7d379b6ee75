"""The ways between nodes, over real QUIC: who is let through, and for whom a node may speak."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtara.clock import ManualClock, SystemClock
from runtara.errors import Fenced, Forbidden, InstanceNotFound, Unauthenticated, Unreachable, UntrustedServer
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import GetStatus, Heartbeat, InstanceInfo, RegisterInstance, SaveCheckpoint
from runtara.records import Holder
from runtara.transport.client.call import Call, encode_ask
from runtara.transport.client.door import RemoteDoor, ServerSpec
from runtara.transport.credentials import TokenMint
from runtara.transport.frames import OnBehalf
from runtara.transport.quic import peers as peers_module
from runtara.transport.quic.peers import PEERS_MAX, Peers
from runtara.transport.remote import open_remote_door
from runtara.transport.session import Session
from tests.transport.quic.serving import Serving

ONE = InstanceKey("default", "one")
TIMEOUT = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Another node."""
    with Serving(tmp_path_factory.mktemp("data"), require_credentials=True) as running:
        running.call("one", RegisterInstance(attempt_id="a"))
        yield running


@pytest.fixture
def peers(server: Serving) -> Iterator[Peers]:
    with contextlib.closing(Peers("north", server.mint)) as found:
        yield found


def holder(server: Serving, **fields: Any) -> Holder:
    given: dict[str, Any] = {
        "node": 7,
        "name": "south",
        "address": server.address,
        "fingerprint": server.identity.fingerprint,
    }
    return Holder(**given | fields)


async def test_a_node_has_calls_answered_by_another(server: Serving, peers: Peers) -> None:
    way = peers.to(holder(server))

    await way.pass_on(ONE, SaveCheckpoint(checkpoint_id="c", state=b"1"), 1, TIMEOUT)
    info = await way.pass_on(ONE, GetStatus(), None, TIMEOUT)

    assert (info.status, info.checkpoint_id) == (Status.RUNNING, "c")


async def test_refusals_come_back_as_they_are(server: Serving, peers: Peers) -> None:
    way = peers.to(holder(server))

    with pytest.raises(Fenced):
        await way.pass_on(ONE, Heartbeat(), 7, TIMEOUT)
    with pytest.raises(InstanceNotFound):
        await way.pass_on(InstanceKey("rival", "one"), GetStatus(), None, TIMEOUT)


def test_there_is_one_connection_to_a_node(server: Serving, peers: Peers) -> None:
    assert peers.to(holder(server)) is peers.to(holder(server, node=8))
    assert peers.to(holder(server)) is not peers.to(holder(server, fingerprint="ab" * 32))


async def test_whoever_has_another_certificate_is_not_the_node(server: Serving, peers: Peers) -> None:
    with pytest.raises(UntrustedServer):
        await peers.to(holder(server, fingerprint="ab" * 32)).pass_on(ONE, GetStatus(), None, TIMEOUT)


async def test_a_node_that_is_away_is_said_to_be(peers: Peers) -> None:
    away = Holder(node=7, name="south", address="127.0.0.1:9", fingerprint="ab" * 32)

    with pytest.raises(Unreachable):
        await peers.to(away).pass_on(ONE, GetStatus(), None, 1.0)


async def test_a_node_with_another_secret_is_turned_away(server: Serving, tmp_path: Path) -> None:
    stranger = TokenMint(tmp_path / "secret", SystemClock(), 60_000)
    with contextlib.closing(Peers("north", stranger)) as peers, pytest.raises(Unauthenticated):
        await peers.to(holder(server)).pass_on(ONE, GetStatus(), None, TIMEOUT)


async def test_a_node_with_an_expired_token_is_turned_away(server: Serving) -> None:
    late = TokenMint(server.folder / "secret", ManualClock(SystemClock().now_ms() - 10**9), 60_000)
    with contextlib.closing(Peers("north", late)) as peers, pytest.raises(Unauthenticated):
        await peers.to(holder(server)).pass_on(ONE, GetStatus(), None, TIMEOUT)


async def test_nobody_else_may_speak_for_somebody(server: Serving) -> None:
    credentials = [server.keys.add("default"), server.mint.mint(ONE, 1)]
    for credential in credentials:
        with _door(server, credential) as door:
            for tenant_id in ("default", "rival"):
                with pytest.raises(Forbidden):
                    await door.pass_on(InstanceKey(tenant_id, "one"), GetStatus(), None, TIMEOUT)


async def test_without_a_credential_nobody_speaks_for_anybody(server: Serving) -> None:
    with _door(server, None) as door, pytest.raises(Unauthenticated):
        await door.pass_on(ONE, GetStatus(), None, TIMEOUT)


async def test_a_node_asks_nothing_for_itself(server: Serving) -> None:
    with _door(server, server.mint.mint_for_node("north"), InstanceKey("runtara", "node")) as door:
        with pytest.raises(Forbidden):
            await door.call(GetStatus(), timeout=TIMEOUT)
        with pytest.raises(Forbidden):
            await door.beside("one").call(GetStatus(), timeout=TIMEOUT)
        id = next(door._trunk.ids)  # a call that names whom it is for, but no instance
        frame = encode_ask(id, GetStatus(), None, TIMEOUT, OnBehalf(tenant_id="default"))
        with pytest.raises(Forbidden):
            await door._answer(Call(id, "GetStatus", frame=frame, timeout=TIMEOUT, session=Session(ONE)))


@contextlib.contextmanager
def _door(server: Serving, credential: str | None, key: InstanceKey = ONE) -> Iterator[RemoteDoor]:
    spec = ServerSpec(address=server.address, fingerprint=server.identity.fingerprint, connect_timeout=TIMEOUT)
    with contextlib.closing(open_remote_door(spec, key, credential=credential)) as door:
        yield door


async def test_a_way_is_made_anew_before_its_token_is_out_of_date(
    server: Serving, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    monkeypatch.setattr(peers_module, "monotonic", lambda: now[0])
    first = peers.to(holder(server))
    now[0] += server.mint.lifetime_ms / 2000
    same = peers.to(holder(server))
    now[0] += 1
    second = peers.to(holder(server))

    assert same is first
    assert second is not first
    assert isinstance(await second.pass_on(ONE, GetStatus(), None, TIMEOUT), InstanceInfo)


def test_the_way_that_was_needed_longest_ago_is_let_go_of_first(
    server: Serving, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PEERS_MAX == 256
    monkeypatch.setattr(peers_module, "PEERS_MAX", 3)
    kept = [peers.to(holder(server, address=f"127.0.0.1:{port}")) for port in (1, 2, 3)]
    peers.to(holder(server, address="127.0.0.1:1"))
    peers.to(holder(server, address="127.0.0.1:4"))

    again = [peers.to(holder(server, address=f"127.0.0.1:{port}")) for port in (1, 3)]
    gone = peers.to(holder(server, address="127.0.0.1:2"))

    assert again == [kept[0], kept[2]]
    assert gone is not kept[1]
