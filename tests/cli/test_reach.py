"""How a command finds its server."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from runtara.cli._reach import Reach, Where, load_given, open_door
from runtara.errors import Code, ConfigError
from runtara.ids import InstanceKey
from runtara.messages import GetStatus
from runtara.settings import Settings
from runtara.transport import EmbeddedDoor, Session
from runtara.transport.client.door import RemoteDoor
from runtara.transport.connection_file import ConnectionFile, write_connection_file
from tests.cli.terminal import Terminal, type_command

NOBODY = "127.0.0.1:9"


def test_options_come_before_the_environment(terminal: Terminal) -> None:
    seen: list[Where] = []

    def open_door(where: Where) -> object:
        seen.append(where)
        return terminal.system.open_door("cli", where.tenant)

    environment = {
        "RUNTARA_SERVER_ADDR": "a:1",
        "RUNTARA_TENANT_ID": "t",
        "RUNTARA_CA_FILE": "ca",
        "RUNTARA_SERVER_FINGERPRINT": "ff",
        "RUNTARA_CLIENT_CERT_FILE": "me",
        "RUNTARA_CLIENT_KEY_FILE": "mine",
        "RUNTARA_DATA_DIR": "d",
        "RUNTARA_CONNECT_TIMEOUT_MS": "5",
    }
    type_command("ps", obj=open_door, **environment)  # type: ignore[arg-type]  # a door is a door
    type_command("ps", "--server", "b:2", "--tenant", "u", obj=open_door, **environment)  # type: ignore[arg-type]  # likewise
    type_command("ps", obj=open_door, RUNTARA_CONNECT_TIMEOUT_MS="")  # type: ignore[arg-type]  # likewise

    first = Where(
        server="a:1",
        tenant="t",
        ca_file="ca",
        fingerprint="ff",
        cert_file="me",
        key_file="mine",
        data_dir="d",
        connect_timeout_ms=5,
    )
    assert seen == [first, replace(first, server="b:2", tenant="u"), Where()]


def test_a_variable_that_is_not_known_is_refused_with_the_nearest_one(terminal: Terminal) -> None:
    done = terminal("ps", RUNTARA_SERVER_ADRESS="x")

    assert done.exit_code == Code.CONFIG_ERROR.exit_code
    assert "did you mean RUNTARA_SERVER_ADDR" in done.stderr or "unknown setting RUNTARA_SERVER_ADRESS" in done.stderr


def test_where_nobody_answers_it_is_one_line_and_an_exit_code() -> None:
    done = type_command("ps", "--server", NOBODY, "--connect-timeout", "200")

    assert done.exit_code == Code.UNREACHABLE.exit_code
    assert done.stdout == ""
    assert NOBODY in done.stderr
    assert done.stderr.endswith("or say where it is with --server or --data-dir [unreachable]\n")


@pytest.mark.parametrize("address", ["127.0.0.1:x", "", "[::1", "a:1:b"])
def test_an_address_that_none_can_be_is_refused(address: str) -> None:
    done = type_command("ps", "--server", address, "--connect-timeout", "200")

    assert done.exit_code in (Code.INVALID_INPUT.exit_code, Code.UNREACHABLE.exit_code)
    assert done.stderr.startswith("runtara: ")


def test_the_server_of_a_data_folder_is_found_by_its_file(tmp_path: Path) -> None:
    written = ConnectionFile(address="127.0.0.1:4711", ca_file="/ca.pem", fingerprint="ab", pid=1, version="1")
    write_connection_file(tmp_path, written)

    found, asked = (open_door(Where(data_dir=str(tmp_path), server=server)) for server in (None, "h:1"))

    assert isinstance(found, RemoteDoor)
    assert isinstance(asked, RemoteDoor)
    assert (found._trunk.server.address, found._trunk.server.ca_file) == ("127.0.0.1:4711", "/ca.pem")
    assert (asked._trunk.server.address, asked._trunk.server.ca_file) == ("h:1", None)


def test_the_live_stream_is_at_the_http_door_where_that_is_known(tmp_path: Path) -> None:
    content = ConnectionFile(
        address="127.0.0.1:7", ca_file="ca", fingerprint="ff", pid=1, version="1", http_address="https://127.0.0.1:8"
    )
    write_connection_file(tmp_path, content)

    found = [
        Reach(where, open_door).live()
        for where in (
            Where(data_dir=str(tmp_path)),
            Where(server="a:1,https://b:2", tenant="t", key="rtk_x"),
            Where(server="a:1", data_dir=str(tmp_path)),
            Where(data_dir=str(tmp_path / "none")),
        )
    ]

    assert [live and str(live.address) for live in found] == ["wss://127.0.0.1:8", "wss://b:2", None, None]
    assert [live and (live.tenant_id, live.credential) for live in found[:2]] == [("default", None), ("t", "rtk_x")]


def test_a_door_is_closed_behind_its_block_however_that_ends(terminal: Terminal) -> None:
    attached: list[Session] = []
    detached: list[Session] = []
    line = terminal.system.runtime.dispatch.line
    own = Session(InstanceKey("default", "cli"))
    reach = Reach(Where(), lambda _: EmbeddedDoor(own, line, attached.append, detached.append))
    terminal("start", "/programs/greet.py", "--id", "i")

    def watch_and_fail() -> None:
        with reach.door("i", watch=True) as door:
            door.call_from_thread(GetStatus())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        watch_and_fail()

    assert [session.key.instance_id for session in attached] == ["i"]
    assert detached == attached


def test_options_that_were_not_given_leave_the_settings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTARA_QUIC_PORT", "7")

    assert load_given(host="::1", data_dir=None, quic_port=None) == Settings(host="::1", quic_port=7)
    with pytest.raises(ConfigError):
        load_given(quic_port="high")
