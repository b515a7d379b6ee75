"""Clients of every kind against real servers: connections that are made, lost and made again, as programs see them."""

import asyncio
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from runtara.errors import (
    ConfigError,
    Internal,
    InvalidInput,
    TooLarge,
    Unauthenticated,
    Unreachable,
    UntrustedServer,
)
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import (
    CheckpointFound,
    CompleteInstance,
    GetCheckpoint,
    GetHealth,
    GetStatus,
    HealthFound,
    Heartbeat,
    RegisterInstance,
    SaveCheckpoint,
    SendSignal,
)
from runtara.transport.client import engine
from runtara.transport.client.call import Call
from runtara.transport.client.door import RemoteDoor, ServerSpec
from runtara.transport.remote import open_remote_door
from tests.house.source import run_python
from tests.transport.client.door import A_LONG_TIME, connections_end, pushed, registered, save, spec
from tests.transport.quic.serving import Serving
from tests.transport.websocket.serving import TcpServing

KINDS: Final[dict[str, Callable[..., Serving]]] = {
    "quic": Serving,
    "ws": partial(TcpServing, scheme="ws"),
    "wss": partial(TcpServing, scheme="wss"),
    "http": partial(TcpServing, scheme="http"),
    "https": partial(TcpServing, scheme="https"),
}
"""How to serve clients of each kind of connection."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, so that one certificate is made for all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(params=KINDS)
def serving(request: pytest.FixtureRequest, folder: Path) -> Callable[..., Serving]:
    """Makes a server of each kind."""
    return partial(KINDS[request.param], folder)


@pytest.fixture
def server(serving: Callable[..., Serving]) -> Iterator[Serving]:
    with serving() as running:
        yield running


@pytest.fixture
def opened(server: Serving) -> Iterator[Callable[..., RemoteDoor]]:
    """Opens doors of instances, and closes them at the end."""
    doors: list[RemoteDoor] = []

    def open(
        instance_id: str = "i", *, credential: str | None = None, epoch: int | None = None, **options: Any
    ) -> RemoteDoor:
        key = InstanceKey("default", instance_id)
        doors.append(open_remote_door(spec(server, **options), key, credential=credential, epoch=epoch))
        return doors[-1]

    yield open
    for door in doors:
        door.close()


def assert_lines(server: Serving, fact: str, count: int) -> None:
    """Check how many connections there are or were. With HTTP there are as many as are needed at once."""
    assert server.facts[fact] == count or server.address.startswith("http")


secure = pytest.mark.parametrize("serving", ["quic", "wss", "https"], indirect=True)
"""For tests of certificates."""


Opened = Callable[..., RemoteDoor]


# Calls ----------------------------------------------------------------------------------------------------------------


def test_a_call_is_answered_to_a_thread(opened: Opened) -> None:
    door = opened()
    assert not door.is_connected

    found = door.call_from_thread(GetHealth())

    assert isinstance(found, HealthFound)
    assert door.is_connected


@pytest.mark.parametrize("run", [trio.run, lambda main: asyncio.run(main())], ids=["trio", "asyncio"])
def test_calls_are_answered_to_tasks_several_at_once(opened: Opened, run: Callable[..., Any]) -> None:
    door = registered(opened())

    async def main() -> tuple[int | None, CheckpointFound]:
        await door.connect()
        await door.call(SaveCheckpoint(checkpoint_id="c", state=b"state"))
        return door.session.epoch, await door.call(GetCheckpoint(checkpoint_id="c"))

    assert run(main) == (1, CheckpointFound(found=True, state=b"state"))


def test_many_threads_share_one_connection(server: Serving, opened: Opened) -> None:
    door = registered(opened())
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.extend(save(door, f"c{n}") for n in range(25))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found.count(False) == 25
    assert_lines(server, "connections", 1)


@pytest.mark.parametrize("size", [0, 1_200, 64 * 1024, 65 * 1024, 3_000_000])
def test_payloads_of_any_size_arrive_as_they_were(opened: Opened, size: int) -> None:
    door, state = registered(opened()), os.urandom(size)

    assert not save(door, "c", state)

    assert door.call_from_thread(GetCheckpoint(checkpoint_id="c")).state == state


def test_what_is_too_large_is_refused_and_disturbs_nobody(serving: Callable[..., Serving]) -> None:
    with serving(state_max_bytes=100_000) as server:
        door = registered(open_remote_door(spec(server), InstanceKey("default", "i")))
        for size in (100_001, 1_000_000):
            with pytest.raises(TooLarge):
                save(door, "c", bytes(size))

        assert not save(door, "c", bytes(100_000))
        assert_lines(server, "accepted", 1)
        door.close()


TEXT: Any = "text"


@pytest.mark.parametrize(
    "command",
    [
        object(),
        SaveCheckpoint(checkpoint_id="c", state=TEXT),
        SaveCheckpoint(checkpoint_id="", state=b""),
    ],
    ids=["no command", "no bytes", "no id"],
)
def test_what_is_malformed_is_refused_and_disturbs_nobody(server: Serving, opened: Opened, command: Any) -> None:
    door = registered(opened())

    with pytest.raises(InvalidInput):
        door.call_from_thread(command)

    assert not save(door, "c")
    assert_lines(server, "accepted", 1)


@pytest.mark.parametrize(("tenant_id", "instance_id"), [("", "i"), ("t", ""), ("t", "a b"), ("t", "x" * 129)])
def test_malformed_ids_are_refused_before_anything_is_sent(tenant_id: str, instance_id: str) -> None:
    with pytest.raises(InvalidInput):
        open_remote_door(ServerSpec(address="127.0.0.1:1"), InstanceKey(tenant_id, instance_id))


def test_an_unreadable_address_is_refused_at_once() -> None:
    with pytest.raises(InvalidInput, match="write host:port"):
        open_remote_door(ServerSpec(address="host:port"), InstanceKey("t", "i"))


def test_a_task_that_is_cancelled_waits_no_more_and_leaves_nothing(server: Serving, opened: Opened) -> None:
    door = registered(opened())
    server.kill()

    async def main() -> bool:
        with trio.move_on_after(0.01) as scope:
            await door.call(GetHealth())
        return scope.cancelled_caught

    assert trio.run(main)
    server.start()
    door.connect_from_thread()

    assert not door._trunk.line()[1].calls.is_asking


def test_a_blocking_call_on_the_engines_own_thread_is_refused_rather_than_stuck(opened: Opened) -> None:
    door = opened()
    door.connect_from_thread()
    told: list[BaseException] = []
    done = threading.Event()

    def call() -> None:
        try:
            door.call_from_thread(GetHealth())
        except RuntimeError as error:
            told.append(error)
        done.set()

    door._trunk.line()[0].post(call)

    assert done.wait(A_LONG_TIME)
    assert "use another thread" in str(told[0])


# Other instances ------------------------------------------------------------------------------------------------------


def test_beside_a_door_another_instance_is_managed_over_the_same_connection(server: Serving, opened: Opened) -> None:
    door, other = registered(opened("i")), registered(opened("other"))
    save(other, "c")

    beside = door.beside("other")
    info = beside.call_from_thread(GetStatus())

    assert (info.instance_id, info.checkpoint_count) == ("other", 1)
    assert beside.session.epoch is None
    assert_lines(server, "connections", 2)


def test_whoever_watches_another_instance_hears_of_its_end(opened: Opened) -> None:
    door, other = opened("i"), registered(opened("other"))
    watching, looking = door.beside("other", watch=True), door.beside("other")
    watching.call_from_thread(GetStatus())
    looking.call_from_thread(GetStatus())
    heard = pushed(watching)

    other.call_from_thread(CompleteInstance())

    assert heard.wait(A_LONG_TIME)
    assert watching.call_from_thread(GetStatus()).status is Status.COMPLETED
    assert looking.session.pushes == 0
    watching.close()
    watching.close()


def test_a_program_hears_of_a_signal_to_it(opened: Opened) -> None:
    door = registered(opened())
    heard = pushed(door)

    opened("manager").beside("i").call_from_thread(SendSignal(kind="cancel", signal_id="s"))

    assert heard.wait(A_LONG_TIME)


# Lost connections -----------------------------------------------------------------------------------------------------


def test_a_call_outlives_the_death_of_the_server(server: Serving, opened: Opened) -> None:
    door = registered(opened())
    server.kill()
    starting = threading.Timer(0.05, server.start)
    starting.start()

    assert not save(door, "c", request=1)

    starting.join()
    assert not save(door, "c", request=1)  # sent again, it is the same call
    assert save(door, "c", request=2)


def test_a_program_that_asks_nothing_is_connected_again_and_looks(server: Serving, opened: Opened) -> None:
    door = registered(opened())
    before = door.session.pushes
    heard = pushed(door, before)

    server.stop()
    server.start()

    assert heard.wait(A_LONG_TIME)
    again = pushed(door, door.session.pushes)
    server.call("i", SendSignal(kind="cancel", signal_id="s"))
    assert again.wait(A_LONG_TIME)


def test_what_is_watched_is_watched_over_the_death_of_the_server(server: Serving, opened: Opened) -> None:
    watching = opened("i").beside("other", watch=True)
    registered(opened("other")).close()
    watching.call_from_thread(GetStatus())
    heard = pushed(watching)
    server.stop()
    server.start()
    assert heard.wait(A_LONG_TIME)

    again = pushed(watching, watching.session.pushes)
    watching.call_from_thread(GetStatus())  # whoever was woken looks
    server.call("other", SendSignal(kind="cancel", signal_id="s"))

    assert again.wait(A_LONG_TIME)


def test_a_server_that_goes_down_answers_what_it_was_asked_and_is_found_again(server: Serving, opened: Opened) -> None:
    door = registered(opened())
    server.drain(retry_after_ms=20)
    starting = threading.Timer(0.05, server.start)
    starting.start()

    assert not save(door, "c")

    starting.join()


def test_nobody_at_the_address_is_unreachable_and_says_so(opened: Opened, server: Serving) -> None:
    server.stop()
    door, hurried = opened(connect_timeout=1.0), opened(connect_timeout=0.05)

    with pytest.raises(
        Unreachable, match=rf"no server can be reached at {re.escape(server.address)} \(.*connection refused\)"
    ):
        door.call_from_thread(GetHealth())
    with pytest.raises(Unreachable):
        hurried.connect_from_thread()

    server.start()


def test_what_the_server_cannot_read_is_not_sent_again(server: Serving, opened: Opened) -> None:
    door = registered(opened())
    engine, link = door._trunk.line()
    done, errors = threading.Event(), []

    def then(_: Any, error: BaseException | None) -> None:
        errors.append(error)
        done.set()

    bad = Call(0, "Garbage", frame=b"\0\0\0\1\xc1", timeout=A_LONG_TIME, session=door.session, then=then)
    engine.post(link.ask, bad)
    assert done.wait(A_LONG_TIME)
    assert isinstance(errors[0], InvalidInput)

    assert not save(door, "c")
    assert_lines(server, "accepted", 2)


# Trust ----------------------------------------------------------------------------------------------------------------


@secure
def test_the_right_fingerprint_is_enough(server: Serving, opened: Opened) -> None:
    door = opened(ca_file=None, fingerprint=server.identity.fingerprint, server_name="another.name")

    assert door.call_from_thread(GetHealth()).version


@secure
@pytest.mark.parametrize(
    "wrong",
    [
        {"ca_file": None, "fingerprint": "00" * 32},
        {"ca_file": None},
        {"server_name": "another.name"},
    ],
    ids=["another fingerprint", "no authority that we know", "another name"],
)
def test_another_server_than_expected_is_told_nothing(server: Serving, opened: Opened, wrong: dict[str, Any]) -> None:
    door = opened(credential="rtk_secret", **wrong)
    admit: Any = server.gate.admit
    admitted: list[object] = []

    def noted(hello: Any, *who: Any) -> Any:
        admitted.append(hello)
        return admit(hello, *who)

    server.gate.admit = noted  # type: ignore[method-assign,assignment]

    with pytest.raises(UntrustedServer, match="certificate"):
        door.call_from_thread(GetHealth())

    assert admitted == []
    assert not door.is_connected


@secure
def test_whoever_skips_the_check_believes_anybody(opened: Opened) -> None:
    assert opened(ca_file=None, skip_verification=True, server_name="x.y").call_from_thread(GetHealth()).version


@secure
def test_a_ca_file_that_is_not_there_is_said(opened: Opened) -> None:
    with pytest.raises(ConfigError, match="CA file"):
        opened(ca_file="/nowhere/ca.pem").call_from_thread(GetHealth())


def test_a_wrong_credential_is_said_at_once_and_a_good_one_lets_in(serving: Callable[..., Serving]) -> None:
    with serving(require_credentials=True) as server:
        key = InstanceKey("default", "i")
        for credential in (None, "rtk_wrong", "rti_wrong"):
            door = open_remote_door(spec(server), key, credential=credential)
            with pytest.raises(Unauthenticated):
                door.call_from_thread(GetHealth())
            door.close()

        for credential in (server.keys.add("default"), server.mint.mint(key, 1)):
            door = open_remote_door(spec(server), key, credential=credential)
            assert door.call_from_thread(GetHealth()).version
            door.close()


def test_the_token_of_an_attempt_is_renewed_and_shown_again(serving: Callable[..., Serving]) -> None:
    with serving(require_credentials=True) as server:
        key = InstanceKey("default", "i")
        server.call("i", RegisterInstance(attempt_id="a"))
        first = server.mint.mint(key, 1)
        door = registered(open_remote_door(spec(server), key, credential=first, epoch=1))
        newer = door._trunk.line()[1].calls.credential
        assert newer is not None
        assert server.mint.check(newer).expires_at > server.mint.check(first).expires_at
        server.stop()
        server.start()

        assert not save(door, "c")
        door.close()


# Addresses ------------------------------------------------------------------------------------------------------------


def test_a_host_name_is_tried_at_each_of_its_addresses(server: Serving, opened: Opened, monkeypatch: Any) -> None:
    async def found(*_: object, **__: object) -> object:
        return [
            (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("::1", server.port, 0, 0)),
            (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", server.port)),
        ]

    monkeypatch.setattr(trio.socket, "getaddrinfo", found)

    assert opened(address=server.address.replace("127.0.0.1", "localhost")).call_from_thread(GetHealth()).version


# Life of the engine ---------------------------------------------------------------------------------------------------


def test_a_closed_door_ends_its_connection_and_opens_again(server: Serving, opened: Opened) -> None:
    door = registered(opened())

    door.close()
    assert connections_end(server)
    door.close()

    assert not save(door, "c")


def test_a_door_that_nobody_holds_any_more_ends_its_connection(server: Serving) -> None:
    registered(open_remote_door(spec(server), InstanceKey("default", "i")))

    assert connections_end(server)


@pytest.mark.parametrize("part", ["outgoing", "heard"])
def test_a_bug_in_one_connection_is_told_to_its_askers_alone(opened: Opened, part: str) -> None:
    sound, door = opened("sound"), opened()
    door.connect_from_thread()
    _, link = door._trunk.line()

    setattr(link.calls, part, lambda *_: 1 / 0)
    with pytest.raises(Internal, match="ZeroDivisionError"):
        door.call_from_thread(GetHealth())

    assert sound.call_from_thread(GetHealth()).version


def test_an_attempt_that_says_nothing_is_kept_alive_until_it_is_silenced(serving: Callable[..., Serving]) -> None:
    with serving(heartbeat_interval_ms=20) as server:
        door = registered(open_remote_door(spec(server), InstanceKey("default", "i")))
        beats = threading.Semaphore(0)
        ask: Any = server.gate.ask

        def noted(caller: Any, asked: Any, then: Any) -> None:
            if type(asked.command) is Heartbeat:
                beats.release()
            ask(caller, asked, then)

        server.gate.ask = noted  # type: ignore[method-assign,assignment]
        for _ in range(3):
            assert beats.acquire(timeout=A_LONG_TIME)

        door.stop_heartbeat()
        door.connect_from_thread()  # has its turn on the engine after that
        late = 0
        while beats.acquire(timeout=0.2):  # what was on its way comes later still
            late += 1
            assert late < 20
        door.close()


def test_a_child_process_has_a_connection_of_its_own(server: Serving, opened: Opened) -> None:
    door = registered(opened())
    save(door, "parent")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, b"1" if save(door, "parent") and not save(door, "child") else b"0")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        verdict = said.read()
    os.waitpid(child, 0)

    assert verdict == b"1"
    assert save(door, "child")  # and the parent's goes on
    assert_lines(server, "accepted", 2)


PROGRAM = """
import sys
from runtara.ids import InstanceKey
from runtara.messages import GetHealth
from runtara.transport.client.door import ServerSpec
from runtara.transport.remote import open_remote_door

address, ca_file = sys.argv[1:]
door = open_remote_door(ServerSpec(address=address, ca_file=ca_file), InstanceKey("default", "i"))
print(door.call_from_thread(GetHealth()).version)
"""


def test_a_process_ends_at_once_and_says_goodbye(server: Serving, tmp_path: Path) -> None:
    done = run_python("-c", PROGRAM, server.address, str(server.identity.ca_file), cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()
    assert connections_end(server)


def test_the_engine_starts_anew_where_it_was_stopped(opened: Opened) -> None:
    door = registered(opened())

    engine._stop()

    assert not save(door, "c")
