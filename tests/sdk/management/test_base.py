"""The ways to a client, and what all of its faces have."""

from pathlib import Path
from typing import Any

import pytest

from runtara.errors import ConfigError, Forbidden, InvalidInput, Unauthenticated, Unreachable, UntrustedServer
from runtara.sdk import embedded
from runtara.sdk.management import AsyncioManagement, Management, TrioManagement
from runtara.transport.connection_file import ConnectionFile, write_connection_file
from tests.sdk.management.clients import CLIENTS, ServingPrograms
from tests.transport.quic.serving import Serving


def test_a_server_is_found_by_its_address_and_known_by_its_certificate(programs_server: ServingPrograms) -> None:
    for trust in (
        {"fingerprint": programs_server.identity.fingerprint},
        {"ca_file": str(programs_server.identity.ca_file)},
    ):
        with Management.connect(programs_server.address, tenant="t", **trust) as client:  # type: ignore[arg-type]
            assert (client.tenant_id, client.is_connected) == ("t", False)
            assert not client.health().draining
            assert client.is_connected

    with pytest.raises(UntrustedServer), Management.connect(programs_server.address, fingerprint="0" * 64) as client:
        client.health()


def test_a_client_that_was_closed_connects_again(programs_server: ServingPrograms) -> None:
    client = Management.connect(programs_server.address, fingerprint=programs_server.identity.fingerprint)

    client.health()
    client.close()
    client.close()

    assert not client.health().draining
    client.close()


def test_nobody_there_is_said_in_the_time_that_is_allowed() -> None:
    with Management.connect("127.0.0.1:9", connect_timeout=0.05) as client, pytest.raises(Unreachable):
        client.health()


@pytest.mark.parametrize("kind", CLIENTS.values())
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(kind: Any) -> None:
    for wrong in ({"address": "a b"}, {"tenant": "a/b"}, {"connect_timeout": -1}):
        with pytest.raises(InvalidInput):
            kind.connect(**{"address": "127.0.0.1:1"} | wrong)
    with pytest.raises(ConfigError, match="connect_timeout_ms of 0"):
        kind.connect("127.0.0.1:1", connect_timeout=0)


def test_the_environment_says_where_the_server_is(
    programs_server: ServingPrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTARA_SERVER_ADDR", programs_server.address)
    monkeypatch.setenv("RUNTARA_SERVER_FINGERPRINT", programs_server.identity.fingerprint)
    monkeypatch.setenv("RUNTARA_TENANT_ID", "of-the-environment")

    with Management.from_env() as client:
        assert (client.tenant_id, client.health().draining) == ("of-the-environment", False)

    monkeypatch.setenv("RUNTARA_CONNECT_TIMEOUT_MS", "soon")
    with pytest.raises(ConfigError):
        Management.from_env()


def test_the_server_on_this_machine_is_found_by_its_data_folder(
    programs_server: ServingPrograms, tmp_path: Path
) -> None:
    identity = programs_server.identity
    content = ConnectionFile(
        address=programs_server.address,
        ca_file=str(identity.ca_file),
        fingerprint=identity.fingerprint,
        pid=1,
        version="1",
    )
    write_connection_file(tmp_path, content)

    with Management.local("t", data_dir=str(tmp_path)) as client:
        assert (client.tenant_id, client.health().draining) == ("t", False)


def test_a_key_opens_its_own_tenant_only(tmp_path: Path) -> None:
    with Serving(tmp_path / "data", require_credentials=True) as server:
        key = server.keys.add("t")
        where: dict[str, Any] = {"address": server.address, "fingerprint": server.identity.fingerprint}
        with Management.connect(tenant="t", key=key, **where) as client:
            assert list(client.list_instances()) == []
        wrongs: list[dict[str, Any]] = [{"tenant": "other", "key": key}, {"tenant": "t", "key": "rk"}, {"tenant": "t"}]
        for wrong in wrongs:
            with (
                pytest.raises((Unauthenticated, Forbidden)),
                Management.connect(**where, **wrong) as client,
            ):
                client.health()


def test_a_system_in_this_process_needs_no_socket() -> None:
    with embedded.open(url="memory://") as system, Management.embedded(system, "t") as client:
        assert (client.tenant_id, client.is_connected, client.health().draining) == ("t", True, False)


async def test_the_same_under_trio() -> None:
    async with embedded.open(url="memory://") as system, TrioManagement.embedded(system) as client:
        assert not (await client.health()).draining


def test_the_faces_differ_in_nothing_but_their_event_loop() -> None:
    assert {name for name in dir(TrioManagement) if not name.startswith("__")} == {
        name for name in dir(AsyncioManagement) if not name.startswith("__")
    }
