"""The client against the real server: connections that are made, lost and made again, as programs see them."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from runtara.errors import (
    ConfigError,
    DeadlineExceeded,
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
    ListEvents,
    RecordEvent,
    RegisterInstance,
    SaveCheckpoint,
    SendSignal,
)
from runtara.transport.quic import _client_engine
from runtara.transport.quic._client_call import Call
from runtara.transport.quic.client import QuicDoor, ServerSpec, open_quic_door
from tests.house.source import run_python
from tests.transport.quic.serving import Serving
from tests.transport.udp_proxy import STORM, UdpProxy

A_LONG_TIME = 30.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, so that one certificate is made for all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def server(folder: Path) -> Iterator[Serving]:
    with Serving(folder) as running:
        yield running


def spec(server: Serving, **options: Any) -> ServerSpec:
    given = {"address": server.address, "ca_file": str(server.identity.ca_file)} | options
    return ServerSpec(**given)


@pytest.fixture
def opened(server: Serving) -> Iterator[Callable[..., QuicDoor]]:
    """Opens doors of instances, and closes them at the end."""
    doors: list[QuicDoor] = []

    def open(
        instance_id: str = "i", *, credential: str | None = None, epoch: int | None = None, **options: Any
    ) -> QuicDoor:
        key = InstanceKey("default", instance_id)
        doors.append(open_quic_door(spec(server, **options), key, credential=credential, epoch=epoch))
        return doors[-1]

    yield open
    for door in doors:
        door.close()


def registered(door: QuicDoor, attempt_id: str = "a") -> QuicDoor:
    door.call_from_thread(RegisterInstance(attempt_id=attempt_id))
    return door


def save(door: QuicDoor, name: str, state: bytes = b"state", request: int | None = None) -> bool:
    """Save a checkpoint; return whether it was there."""
    return door.call_from_thread(SaveCheckpoint(checkpoint_id=name, state=state, request=request)).found


def pushed(door: QuicDoor, since: int = 0) -> threading.Event:
    """Return what is set at the first push after the `since`-th."""
    event = threading.Event()
    door.session.on_push(since, event.set)
    return event


Opened = Callable[..., QuicDoor]


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
    assert server.server.describe()["connections"] == 1


@pytest.mark.parametrize("size", [0, 1_200, 64 * 1024, 65 * 1024, 3_000_000])
def test_payloads_of_any_size_arrive_as_they_were(opened: Opened, size: int) -> None:
    door, state = registered(opened()), os.urandom(size)

    assert not save(door, "c", state)

    assert door.call_from_thread(GetCheckpoint(checkpoint_id="c")).state == state


def test_what_is_too_large_is_refused_and_disturbs_nobody(folder: Path) -> None:
    with Serving(folder, state_max_bytes=100_000) as server:
        door = registered(open_quic_door(spec(server), InstanceKey("default", "i")))
        for size in (100_001, 1_000_000):
            with pytest.raises(TooLarge):
                save(door, "c", bytes(size))

        assert not save(door, "c", bytes(100_000))
        assert server.server.describe()["accepted"] == 1
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
    assert server.server.describe()["accepted"] == 1


@pytest.mark.parametrize(("tenant_id", "instance_id"), [("", "i"), ("t", ""), ("t", "a b"), ("t", "x" * 129)])
def test_malformed_ids_are_refused_before_anything_is_sent(tenant_id: str, instance_id: str) -> None:
    with pytest.raises(InvalidInput):
        open_quic_door(ServerSpec(address="127.0.0.1:1"), InstanceKey(tenant_id, instance_id))


def test_an_unreadable_address_is_refused_at_once() -> None:
    with pytest.raises(InvalidInput, match="write host:port"):
        open_quic_door(ServerSpec(address="host:port"), InstanceKey("t", "i"))


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
    assert server.server.describe()["connections"] == 2


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
    door = opened(connect_timeout=0.05)

    with pytest.raises(Unreachable, match=r"no server can be reached at 127\.0\.0\.1:.* \(connection refused\)"):
        door.call_from_thread(GetHealth())
    with pytest.raises(Unreachable):
        door.connect_from_thread()

    server.start()


def test_a_server_that_falls_silent_leaves_the_call_in_doubt(server: Serving) -> None:
    with UdpProxy(server.port) as proxy:
        door = registered(open_quic_door(spec(server, address=proxy.address), InstanceKey("default", "i")))
        proxy.swallow()

        with pytest.raises(DeadlineExceeded, match=r"SaveCheckpoint was sent and not answered within 0\.1 s"):
            door.call_from_thread(SaveCheckpoint(checkpoint_id="c", state=b""), timeout=0.1)

        proxy.swallow(False)
        assert not save(door, "d")
        door.close()


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
    assert server.server.describe()["accepted"] == 2


# Trust ----------------------------------------------------------------------------------------------------------------


def test_the_right_fingerprint_is_enough(server: Serving, opened: Opened) -> None:
    door = opened(ca_file=None, fingerprint=server.identity.fingerprint, server_name="another.name")

    assert door.call_from_thread(GetHealth()).version


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

    def noted(hello: Any, peer: str, certificate: bytes | None = None) -> Any:
        admitted.append(hello)
        return admit(hello, peer, certificate)

    server.gate.admit = noted  # type: ignore[method-assign]

    with pytest.raises(UntrustedServer, match="certificate"):
        door.call_from_thread(GetHealth())

    assert admitted == []
    assert not door.is_connected


def test_whoever_skips_the_check_believes_anybody(opened: Opened) -> None:
    assert opened(ca_file=None, skip_verification=True, server_name="x.y").call_from_thread(GetHealth()).version


def test_a_ca_file_that_is_not_there_is_said(opened: Opened) -> None:
    with pytest.raises(ConfigError, match="CA file"):
        opened(ca_file="/nowhere/ca.pem").call_from_thread(GetHealth())


def test_a_wrong_credential_is_said_at_once_and_a_good_one_lets_in(folder: Path) -> None:
    with Serving(folder, require_credentials=True) as server:
        key = InstanceKey("default", "i")
        for credential in (None, "rtk_wrong", "rti_wrong"):
            door = open_quic_door(spec(server), key, credential=credential)
            with pytest.raises(Unauthenticated):
                door.call_from_thread(GetHealth())
            door.close()

        for credential in (server.keys.add("default"), server.mint.mint(key, 1)):
            door = open_quic_door(spec(server), key, credential=credential)
            assert door.call_from_thread(GetHealth()).version
            door.close()


def test_the_token_of_an_attempt_is_renewed_and_shown_again(folder: Path) -> None:
    with Serving(folder, require_credentials=True) as server:
        key = InstanceKey("default", "i")
        server.call("i", RegisterInstance(attempt_id="a"))
        first = server.mint.mint(key, 1)
        door = registered(open_quic_door(spec(server), key, credential=first, epoch=1))
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

    assert opened(address=f"localhost:{server.port}").call_from_thread(GetHealth()).version


# Life of the engine ---------------------------------------------------------------------------------------------------


def connections_end(server: Serving) -> bool:
    """Wait until the server has no connection; each one that ends wakes its loop."""

    async def ended() -> bool:
        with trio.move_on_after(A_LONG_TIME):
            while server.server.describe()["connections"]:
                await trio.lowlevel.checkpoint()
            return True
        return False

    return bool(trio.from_thread.run(ended, trio_token=server._token))


def test_a_closed_door_ends_its_connection_and_opens_again(server: Serving, opened: Opened) -> None:
    door = registered(opened())

    door.close()
    assert connections_end(server)
    door.close()

    assert not save(door, "c")


def test_a_door_that_nobody_holds_any_more_ends_its_connection(server: Serving) -> None:
    registered(open_quic_door(spec(server), InstanceKey("default", "i")))

    assert connections_end(server)


@pytest.mark.parametrize("part", ["outgoing", "received"])
def test_a_bug_in_one_connection_is_told_to_its_askers_alone(opened: Opened, part: str) -> None:
    sound, door = opened("sound"), opened()
    door.connect_from_thread()
    _, link = door._trunk.line()

    setattr(link.calls, part, lambda *_: 1 / 0)
    with pytest.raises(Internal, match="ZeroDivisionError"):
        door.call_from_thread(GetHealth())

    assert sound.call_from_thread(GetHealth()).version


def test_an_attempt_that_says_nothing_is_kept_alive_until_it_is_silenced(folder: Path) -> None:
    with Serving(folder, heartbeat_interval_ms=20) as server:
        door = registered(open_quic_door(spec(server), InstanceKey("default", "i")))
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
        while beats.acquire(blocking=False):
            pass
        assert not beats.acquire(timeout=0.1)
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
    assert server.server.describe()["accepted"] == 2


PROGRAM = """
import sys
from runtara.ids import InstanceKey
from runtara.messages import GetHealth
from runtara.transport.quic.client import ServerSpec, open_quic_door

address, ca_file = sys.argv[1:]
door = open_quic_door(ServerSpec(address=address, ca_file=ca_file), InstanceKey("default", "i"))
print(door.call_from_thread(GetHealth()).version)
"""


def test_a_process_ends_at_once_and_says_goodbye(server: Serving, tmp_path: Path) -> None:
    done = run_python("-c", PROGRAM, server.address, str(server.identity.ca_file), cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()
    assert connections_end(server)


def test_the_engine_starts_anew_where_it_was_stopped(opened: Opened) -> None:
    door = registered(opened())

    _client_engine._stop()

    assert not save(door, "c")


# Bad networks ---------------------------------------------------------------------------------------------------------


def session_through(proxy: UdpProxy, server: Serving, name: str, steps: int) -> None:
    """Hold a session through a bad network, and check what came of it at the server itself."""
    key = InstanceKey("default", name)
    door = open_quic_door(spec(server, address=proxy.address), key)
    registered(door)
    states = [os.urandom(10 + 400 * (n % 7)) for n in range(steps)]
    for n, state in enumerate(states):
        assert not save(door, f"c{n}", state, request=2 * n + 1)
        door.call_from_thread(RecordEvent(subtype="step", payload=b"%d" % n, request=2 * n + 2))
    assert not save(door, "large", bytes(100_000), request=2 * steps + 1)
    door.call_from_thread(CompleteInstance(output=b"done"))
    door.close()

    info = server.call(name, GetStatus())
    events = server.call(name, ListEvents(event_type="custom", limit=1000)).events
    assert (info.status, info.output, info.epoch, info.checkpoint_count) == (Status.COMPLETED, b"done", 1, steps + 1)
    assert [event.payload for event in events] == [b"%d" % n for n in range(steps)]
    for n, state in enumerate(states):
        assert server.call(name, GetCheckpoint(checkpoint_id=f"c{n}")).state == state


@pytest.mark.parametrize("seed", range(3))
def test_a_session_through_a_storm_has_right_results(server: Serving, seed: int) -> None:
    with UdpProxy(server.port, STORM, seed) as proxy:
        session_through(proxy, server, "i", steps=3)


def test_a_session_goes_on_when_its_address_changes(server: Serving) -> None:
    with UdpProxy(server.port) as proxy:
        door = registered(open_quic_door(spec(server, address=proxy.address), InstanceKey("default", "i")))
        for n in range(3):
            proxy.rebind()
            assert not save(door, f"c{n}")

        assert server.server.describe()["accepted"] == 1  # the connection itself has moved
        door.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_sessions_through_many_storms_have_right_results(server: Serving, seed: int) -> None:
    failures: list[BaseException] = []

    def hold(proxy: UdpProxy, name: str) -> None:
        try:
            session_through(proxy, server, name, steps=15)
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            failures.append(error)

    with UdpProxy(server.port, STORM, seed) as proxy:
        threads = [threading.Thread(target=hold, args=(proxy, f"i{n}")) for n in range(3)]
        for thread in threads:
            thread.start()
        proxy.swallow()
        for _ in range(20):
            assert proxy.swallowed.acquire(timeout=A_LONG_TIME)
        proxy.swallow(False)
        for thread in threads:
            thread.join()

    assert failures == []
