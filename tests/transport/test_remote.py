"""A client of several servers, of which any will do: it goes on with another one when its own is away."""

import contextlib
import random
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from runtara.errors import DeadlineExceeded, RuntaraError, Unreachable, UntrustedServer
from runtara.ids import InstanceKey
from runtara.messages import GetHealth, GetStatus, RecordEvent, RegisterInstance
from runtara.transport.client.door import RemoteDoor, ServerSpec
from runtara.transport.frames import Ask
from runtara.transport.gate import Caller, Then
from runtara.transport.remote import open_remote_door
from tests.transport.quic.serving import Serving
from tests.transport.websocket.serving import TcpServing

A_LONG_TIME = 60.0

KINDS = ("quic", "wss", "https")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of both servers, so that they have the same certificate."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(params=[Serving, partial(TcpServing, scheme="wss"), partial(TcpServing, scheme="https")], ids=KINDS)
def serving(request: pytest.FixtureRequest) -> Callable[..., Serving]:
    """Makes servers of each kind."""
    made: Callable[..., Serving] = request.param
    return made


@pytest.fixture
def servers(folder: Path, serving: Callable[..., Serving]) -> Iterator[tuple[Serving, Serving]]:
    with serving(folder) as first, serving(folder) as second:
        yield first, second


@pytest.fixture(autouse=True)
def first_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin with the first address, where usually chance decides."""
    monkeypatch.setattr(random, "random", lambda: 0.0)


@contextlib.contextmanager
def door(*addresses: str, trusts: Serving, timeout: float = A_LONG_TIME) -> Iterator[RemoteDoor]:
    spec = ServerSpec(
        address=",".join(addresses),
        fingerprint=trusts.identity.fingerprint,
        request_timeout=timeout,
        connect_timeout=timeout,
    )
    with contextlib.closing(open_remote_door(spec, InstanceKey("default", "i"))) as found:
        yield found


@contextlib.contextmanager
def nobody_listens() -> Iterator[str]:
    """Give an address at which what is sent goes nowhere, as where UDP is blocked."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{silent.getsockname()[1]}"


def known_to(server: Serving) -> bool:
    """Whether the instance has been at this server, each of which has a store of its own here."""
    try:
        server.call("i", GetStatus())
    except RuntaraError:
        return False
    return True


def test_the_first_server_is_kept_to_while_it_is_there(servers: tuple[Serving, Serving]) -> None:
    first, second = servers
    with door(first.address, second.address, trusts=first) as client:
        client.call_from_thread(RegisterInstance(attempt_id="a"))
        client.call_from_thread(GetStatus())

    assert (known_to(first), known_to(second)) == (True, False)


def test_clients_are_spread_over_the_servers(servers: tuple[Serving, Serving], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = servers
    monkeypatch.setattr(random, "random", lambda: 0.6)
    with door(first.address, second.address, trusts=first) as client:
        client.call_from_thread(RegisterInstance(attempt_id="a"))

    assert (known_to(first), known_to(second)) == (False, True)


def heard_by(server: Serving, monkeypatch: pytest.MonkeyPatch) -> list[type]:
    """What a server is asked from now on."""
    asked: list[type] = []
    ask = server.gate.ask

    def listen(caller: Caller, frame: Ask, then: Then) -> None:
        asked.append(type(frame.command))
        ask(caller, frame, then)

    monkeypatch.setattr(server.gate, "ask", listen)
    return asked


@pytest.mark.parametrize("how", ["kill", "stop", "drain"])
def test_when_a_server_goes_in_the_middle_of_calls_the_other_one_answers_them(
    servers: tuple[Serving, Serving], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    first, second = servers
    at_first, at_second = (heard_by(server, monkeypatch) for server in servers)
    answered: list[object] = []
    begun = threading.Event()

    def ask(client: RemoteDoor) -> None:
        for _ in range(60):
            answered.append(client.call_from_thread(GetHealth()))
            begun.set()

    with door(first.address, second.address, trusts=first) as client:
        askers = [threading.Thread(target=ask, args=(client,)) for _ in range(4)]
        for asker in askers:
            asker.start()
        assert begun.wait(A_LONG_TIME)
        getattr(first, how)()
        for asker in askers:
            asker.join(A_LONG_TIME)
        client.call_from_thread(GetHealth())

    assert len(answered) == 240
    assert at_first
    assert at_second
    first.start()


def test_a_server_that_says_goodbye_is_left_at_once_however_long_it_wants_to_be_left_alone(
    servers: tuple[Serving, Serving], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = servers
    at_second = heard_by(second, monkeypatch)
    with door(first.address, second.address, trusts=first) as client:
        client.call_from_thread(GetHealth())
        first.drain(retry_after_ms=600_000)

        client.call_from_thread(GetHealth())

    assert set(at_second) == {GetHealth}  # over HTTP, it is knocked at the door first
    first.start()


def test_a_first_address_that_never_answers_costs_a_while_and_not_the_call(servers: tuple[Serving, Serving]) -> None:
    first, _ = servers
    with nobody_listens() as silent, door(silent, first.address, trusts=first) as client:
        client.call_from_thread(RegisterInstance(attempt_id="a"))

    assert known_to(first)


def test_where_udp_is_blocked_the_other_way_to_the_same_server_is_taken(folder: Path) -> None:
    with TcpServing(folder, scheme="wss") as server, nobody_listens() as silent:
        other = server.address.replace("wss", "https")
        for addresses in ((silent, server.address), (silent, other), ("127.0.0.1:9", other, server.address)):
            with door(*addresses, trusts=server) as client:
                assert client.call_from_thread(GetHealth()).version


def test_of_several_ways_the_first_one_is_preferred_whatever_chance_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "random", lambda: 0.9)
    with Serving(folder) as first, TcpServing(folder, scheme="wss") as second:
        with door(first.address, second.address, trusts=first) as client:
            client.call_from_thread(RegisterInstance(attempt_id="a"))

        assert (known_to(first), known_to(second)) == (True, False)


def test_a_first_address_at_which_nobody_is_costs_next_to_nothing(servers: tuple[Serving, Serving]) -> None:
    first, _ = servers
    scheme = first.address.rpartition("//")[0]
    nobody = [f"{scheme}{'//' if scheme else ''}{where}" for where in ("nobody.invalid:1", "127.0.0.1:9")]
    with door(*nobody, first.address, trusts=first) as client:
        client.call_from_thread(RegisterInstance(attempt_id="a"))

    assert known_to(first)


@pytest.mark.parametrize("place", [0, 1])
def test_a_server_that_cannot_be_trusted_is_passed_over(
    servers: tuple[Serving, Serving], serving: Callable[..., Serving], tmp_path: Path, place: int
) -> None:
    first, _ = servers
    with serving(tmp_path) as stranger:
        addresses = [first.address]
        addresses.insert(place, stranger.address)
        with door(*addresses, trusts=first) as client:
            client.call_from_thread(RegisterInstance(attempt_id="a"))
            client.call_from_thread(RecordEvent(subtype="note", payload=b"1"))

        assert (known_to(first), known_to(stranger)) == (True, False)


def test_where_no_server_can_be_trusted_it_is_said_at_once(
    tmp_path: Path, servers: tuple[Serving, Serving], serving: Callable[..., Serving]
) -> None:
    first, second = servers
    with serving(tmp_path) as trusted:
        addresses = first.address, second.address
        with door(*addresses, trusts=trusted) as client, pytest.raises(UntrustedServer):
            client.call_from_thread(RegisterInstance(attempt_id="a"))


@pytest.mark.parametrize("place", [0, 1])
def test_a_server_that_is_only_away_is_waited_for_however_many_strangers_there_are(
    servers: tuple[Serving, Serving], serving: Callable[..., Serving], tmp_path: Path, place: int
) -> None:
    first, _ = servers
    first.stop()
    with serving(tmp_path) as stranger:
        addresses = [first.address]
        addresses.insert(place, stranger.address)
        with door(*addresses, trusts=first, timeout=1) as client:
            with pytest.raises(RuntaraError) as refused:
                client.call_from_thread(RegisterInstance(attempt_id="a"))
            first.start()
            while not known_to(first):  # a machine that stands still for a second makes it give up once more
                with contextlib.suppress(Unreachable, DeadlineExceeded):
                    client.call_from_thread(RegisterInstance(attempt_id="a"))

    assert not isinstance(refused.value, UntrustedServer)
    assert known_to(first)


def test_where_nobody_is_the_error_names_an_address(servers: tuple[Serving, Serving]) -> None:
    first, _ = servers
    named = pytest.raises(RuntaraError, match=r"127\.0\.0\.1:(9|10)")
    with door("127.0.0.1:9", "127.0.0.1:10", trusts=first, timeout=1) as client, named:
        client.call_from_thread(GetHealth())
