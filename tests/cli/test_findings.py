"""What the doctor finds."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from runtara.actors.runners.containers import Runtime
from runtara.cli._findings import Finding, State, fail, ok, warn
from runtara.cli._findings_of_machine import EARLIEST_MS, check_clock, check_containers, check_sqlite, check_udp_buffer
from runtara.cli._findings_of_server import DAY_MS, SERVER, Scene, check_expiry
from runtara.cli._reach import Door, Reach, Where
from runtara.errors import Unauthenticated, Unreachable
from runtara.settings import Settings
from runtara.transport.certificates import ensure_certificate
from runtara.transport.connection_file import ConnectionFile, write_connection_file
from tests.cli.terminal import Terminal


def findings(scene: Scene) -> dict[str, Finding]:
    return {found.subject: found for found in (check(scene) for check in SERVER)}


def no_door(_: Where) -> Door:
    raise Unreachable("nobody answers")


def scene_of(folder: Path, *, open_door: object = no_door, **settings: object) -> Scene:
    where = Where(data_dir=str(folder))
    return Scene(
        Settings(data_dir=str(folder), **{"quic_port": 0, "env_http_port": 0, **settings}),  # type: ignore[arg-type]  # its fields
        Reach(where, open_door),  # type: ignore[arg-type]  # a way to open doors
    )


HTTP = "https://127.0.0.1:8"


def write_server_file(folder: Path, pid: int) -> None:
    content = ConnectionFile(
        address="127.0.0.1:9", ca_file=None, fingerprint="", pid=pid, version="1", http_address=HTTP
    )
    write_connection_file(folder, content)


# Containers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "failure", "settings", "state", "text"),
    [
        ({}, None, {}, State.OK, "/runc 1.2.3"),
        ({}, "no user namespaces", {}, State.WARN, "no user namespaces"),
        ({}, "no user namespaces", {"container_runtime": "/runc"}, State.FAIL, "no user namespaces"),
        ({"unlimited": frozenset({"pids", "memory"})}, None, {}, State.WARN, "limit memory, pids"),
        ({"repaired": False}, None, {}, State.WARN, "known ways out"),
        ({"repaired": False}, None, {"container_allow_old_runtime": True}, State.OK, "/runc 1.2.3"),
    ],
)
def test_containers_are_judged_by_their_runtime_and_by_one_that_was_made(
    more: dict[str, Any], failure: str | None, settings: dict[str, Any], state: State, text: str
) -> None:
    plain: dict[str, Any] = {"path": "/runc", "version": "1.2.3", "repaired": True, "unlimited": frozenset()}
    runtime = Runtime(**plain | more)

    found = check_containers(runtime, failure, Settings(**settings))

    assert found.state is state
    assert text in found.text


# The machine ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "state"),
    [((3, 51, 3), State.OK), ((3, 60, 0), State.OK), ((3, 40, 1), State.OK), ((3, 31, 0), State.FAIL)],
)
def test_an_sqlite_is_judged_by_its_version(version: tuple[int, ...], state: State) -> None:
    found = check_sqlite(version)

    assert found.state is state
    assert ("WAL-reset" in found.text) == (state is State.OK and version < (3, 51, 3))


@pytest.mark.parametrize(
    ("now_ms", "written_ms", "state"),
    [
        (EARLIEST_MS, 0, State.OK),
        (EARLIEST_MS, EARLIEST_MS + 1000, State.OK),
        (EARLIEST_MS, EARLIEST_MS + 3_600_000, State.FAIL),
        (0, 0, State.FAIL),
    ],
)
def test_a_clock_that_was_set_back_or_never_set_fails(now_ms: int, written_ms: int, state: State) -> None:
    assert check_clock(now_ms, written_ms).state is state


def test_a_receive_buffer_that_is_too_small_is_a_warning_with_the_command_that_helps() -> None:
    found = check_udp_buffer(2 << 20, 208 << 10)

    assert (found.state, found.advice) == (State.WARN, "sysctl -w net.core.rmem_max=2097152")
    assert check_udp_buffer(2 << 20, 2 << 20).state is State.OK
    assert check_udp_buffer(0, 208 << 10).state is State.OK


def test_only_what_is_wrong_carries_advice() -> None:
    assert [ok("a", "b").advice, warn("a", "b", "c").advice, fail("a", "b", "c").advice] == [None, "c", "c"]


# The data folder ------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_yet_is_well(tmp_path: Path) -> None:
    found = findings(scene_of(tmp_path / "none"))

    assert {finding.state for finding in found.values()} == {State.OK}
    assert "will make it" in found["data folder"].text


@pytest.mark.parametrize("name", ["keys.json", "secret", "runtara.db", "tls/key.pem"])
def test_a_secret_that_others_may_read_fails(tmp_path: Path, name: str) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "tls").mkdir()
    (tmp_path / name).write_text("")
    (tmp_path / name).chmod(0o644)

    found = findings(scene_of(tmp_path))["data folder"]

    assert found.state is State.FAIL
    assert str(tmp_path / name) in found.text


def test_a_file_where_the_folder_should_be_fails(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")

    assert findings(scene_of(tmp_path / "data"))["data folder"].state is State.FAIL


@pytest.mark.parametrize(
    ("kind", "field", "subject", "option"),
    [
        (socket.SOCK_DGRAM, "quic_port", "port", "--port"),
        (socket.SOCK_STREAM, "env_http_port", "HTTP port", "--http-port"),
    ],
)
def test_a_port_that_is_taken_fails(
    tmp_path: Path, kind: socket.SocketKind, field: str, subject: str, option: str
) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            other.listen()

        found = findings(scene_of(tmp_path, **{field: other.getsockname()[1]}))

    assert found[subject].state is State.FAIL
    assert option in (found[subject].advice or "")
    assert [one.subject for one in found.values() if one.state is State.FAIL] == [subject]


def test_an_address_that_is_not_this_machines_fails(tmp_path: Path) -> None:
    found = findings(scene_of(tmp_path, host="192.0.2.1"))

    assert (found["port"].state, found["HTTP port"].state) == (State.FAIL, State.FAIL)


def test_a_certificate_is_found_and_read(tmp_path: Path) -> None:
    identity = ensure_certificate(tmp_path / "tls")
    own = {"tls_cert_file": str(identity.cert_file), "tls_key_file": str(identity.key_file)}

    found = [findings(scene)["certificate"] for scene in (scene_of(tmp_path), scene_of(tmp_path / "none", **own))]
    identity.cert_file.write_text("damaged")
    damaged = findings(scene_of(tmp_path))["certificate"]

    assert [finding.state for finding in found] == [State.OK, State.OK]
    assert all("good until" in finding.text for finding in found)
    assert damaged.state is State.FAIL


@pytest.mark.parametrize(("days", "state"), [(-1, State.FAIL), (0, State.FAIL), (29, State.WARN), (31, State.OK)])
def test_a_certificate_is_judged_by_its_end(days: int, state: State) -> None:
    assert check_expiry(EARLIEST_MS + days * DAY_MS, EARLIEST_MS).state is state


# The server -----------------------------------------------------------------------------------------------------------


def test_a_server_that_answers_is_well(terminal: Terminal, tmp_path: Path) -> None:
    write_server_file(tmp_path, os.getpid())
    scene = scene_of(tmp_path, open_door=lambda where: terminal.system.open_door("cli", where.tenant))

    found = findings(scene)

    assert found["server"].state is State.OK
    assert "127.0.0.1:9: version" in found["server"].text
    assert found["HTTP server"].state is State.OK
    assert f"{HTTP}: version" in found["HTTP server"].text
    assert (found["port"].state, found["HTTP port"].state) == (State.OK, State.OK)


def test_a_door_that_does_not_answer_is_told_from_one_that_does(terminal: Terminal, tmp_path: Path) -> None:
    def open_door(where: Where) -> Door:
        if where.server == HTTP:
            raise Unreachable("nobody answers")
        return terminal.system.open_door("cli", where.tenant)

    write_server_file(tmp_path, os.getpid())

    found = findings(scene_of(tmp_path, open_door=open_door))

    assert (found["server"].state, found["HTTP server"].state) == (State.OK, State.FAIL)


def test_a_server_that_lives_but_does_not_answer_fails(tmp_path: Path) -> None:
    write_server_file(tmp_path, os.getpid())

    assert findings(scene_of(tmp_path))["server"].state is State.FAIL


def test_what_a_killed_server_has_left_behind_is_a_warning(tmp_path: Path) -> None:
    write_server_file(tmp_path, 2**22 + 1)  # no process has such a number

    found = findings(scene_of(tmp_path))["server"]

    assert (found.state, found.advice) == (State.WARN, "start it again")


def test_a_server_that_wants_a_key_is_a_warning(tmp_path: Path) -> None:
    def refuse(_: Where) -> Door:
        raise Unauthenticated("who are you")

    write_server_file(tmp_path, os.getpid())

    found = findings(scene_of(tmp_path, open_door=refuse))["server"]

    assert (found.state, found.advice) == (State.WARN, "put a key into RUNTARA_TOKEN")
