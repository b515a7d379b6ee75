import os
import warnings
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runtara import messages
from runtara.errors import ConfigError, InvalidInput, UntrustedServer
from runtara.sdk import AsyncRuntaraSdk, RuntaraSdk, SdkConfig, UnverifiedServerWarning, config
from runtara.transport.connection_file import ConnectionFile, write_connection_file
from tests.house.source import run_python
from tests.transport.quic.serving import Serving
from tests.transport.websocket.serving import TcpServing

IDS = {"RUNTARA_INSTANCE_ID": "i", "RUNTARA_TENANT_ID": "t"}


@pytest.fixture(autouse=True)
def _never_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "_warned", [])


def at(server: Serving, instance_id: str = "config", **options: Any) -> SdkConfig:
    return SdkConfig(instance_id, server_addr=server.address, **options)


def note_connection(folder: Path, server: Serving, address: str) -> None:
    """Write what a server writes into its data folder."""
    content = ConnectionFile(
        address=address,
        ca_file=str(server.identity.ca_file),
        fingerprint=server.identity.fingerprint,
        pid=os.getpid(),
        version="1",
    )
    write_connection_file(folder, content)


# From the environment -------------------------------------------------------------------------------------------------


def test_the_environment_gives_names_and_defaults_of_the_reference() -> None:
    found = SdkConfig.from_env(IDS)

    assert found == SdkConfig("i", "t")
    assert msgspec.structs.asdict(found) == {
        "instance_id": "i",
        "tenant_id": "t",
        "server_addr": "127.0.0.1:8001",
        "server_name": "localhost",
        "skip_cert_verification": False,
        "ca_file": None,
        "server_fingerprint": None,
        "client_cert_file": None,
        "client_key_file": None,
        "credential": None,
        "connect_timeout_ms": 10_000,
        "request_timeout_ms": 30_000,
        "signal_poll_interval_ms": 1_000,
        "heartbeat_interval_ms": 30_000,
        "park_after_ms": None,
        "epoch": None,
        "otel": False,
        "trace": None,
        "context": None,
        "data_dir": ".data",
    }


def test_every_variable_is_read_and_those_of_others_are_left_alone() -> None:
    given = IDS | {
        "RUNTARA_SERVER_ADDR": "[::1]:9",
        "RUNTARA_SERVER_NAME": "example.org",
        "RUNTARA_SKIP_CERT_VERIFICATION": "true",
        "RUNTARA_CA_FILE": "ca.pem",
        "RUNTARA_SERVER_FINGERPRINT": "00",
        "RUNTARA_CLIENT_CERT_FILE": "me.pem",
        "RUNTARA_CLIENT_KEY_FILE": "key.pem",
        "RUNTARA_TOKEN": "rtk_x",
        "RUNTARA_CONNECT_TIMEOUT_MS": "1",
        "RUNTARA_REQUEST_TIMEOUT_MS": "2",
        "RUNTARA_SIGNAL_POLL_INTERVAL_MS": "3",
        "RUNTARA_HEARTBEAT_INTERVAL_MS": "4",
        "RUNTARA_PARK_AFTER_MS": "5",
        "RUNTARA_EPOCH": "6",
        "RUNTARA_DATA_DIR": "data",
        "RUNTARA_READERS": "7",
        "RUNTARA_FROM_A_NEWER_HOST": "8",
    }

    assert SdkConfig.from_env(given) == SdkConfig(
        "i",
        "t",
        server_addr="[::1]:9",
        server_name="example.org",
        skip_cert_verification=True,
        ca_file="ca.pem",
        server_fingerprint="00",
        client_cert_file="me.pem",
        client_key_file="key.pem",
        credential="rtk_x",
        connect_timeout_ms=1,
        request_timeout_ms=2,
        signal_poll_interval_ms=3,
        heartbeat_interval_ms=4,
        park_after_ms=5,
        epoch=6,
        data_dir="data",
    )


@pytest.mark.parametrize("given", [{}, {"RUNTARA_INSTANCE_ID": ""}])
def test_a_program_must_know_which_instance_it_is(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="RUNTARA_INSTANCE_ID is not set"):
        SdkConfig.from_env(given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUNTARA_CONNECT_TIMEOUT_MS", "0"),
        ("RUNTARA_REQUEST_TIMEOUT_MS", "soon"),
        ("RUNTARA_SKIP_CERT_VERIFICATION", "perhaps"),
        ("RUNTARA_EPOCH", "-1"),
    ],
)
def test_an_unusable_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        SdkConfig.from_env(IDS | {name: value})


def test_the_credential_is_taken_out_of_the_environment_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTARA_INSTANCE_ID", "i")
    monkeypatch.setenv("RUNTARA_TOKEN", "rti_secret")
    monkeypatch.setattr("runtara.settings._taken", {})

    first, second = SdkConfig.from_env(), SdkConfig.from_env()

    assert "RUNTARA_TOKEN" not in os.environ
    assert (first.credential, second.credential) == ("rti_secret", "rti_secret")


def test_a_configuration_shows_no_secret() -> None:
    shown = repr(SdkConfig("i", credential="rtk_secret"))

    assert "secret" not in shown
    assert shown.startswith("SdkConfig(instance_id='i', ")


# Put together in code -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tenant_id", "t"),
        ("server_addr", "h:1"),
        ("server_name", "n"),
        ("ca_file", "f"),
        ("server_fingerprint", "00"),
        ("skip_cert_verification", True),
        ("credential", "rtk_x"),
        ("connect_timeout_ms", 1),
        ("request_timeout_ms", 2),
        ("signal_poll_interval_ms", 3),
        ("heartbeat_interval_ms", 4),
    ],
)
def test_each_part_can_be_changed_by_itself(name: str, value: Any) -> None:
    plain = SdkConfig("i")

    changed = getattr(plain, f"with_{name}")(value)

    assert changed == SdkConfig("i", **{name: value})
    assert plain == SdkConfig("i")


def test_a_certificate_and_its_key_are_changed_together() -> None:
    both = SdkConfig("i").with_client_certificate("me.pem", "key.pem")

    assert both == SdkConfig("i", client_cert_file="me.pem", client_key_file="key.pem")
    assert both.with_client_certificate("other.pem") == SdkConfig("i", client_cert_file="other.pem")


@pytest.mark.parametrize("name", ["connect_timeout_ms", "request_timeout_ms", "heartbeat_interval_ms"])
def test_a_span_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        SdkConfig("i", **{name: 0}).open_door()  # type: ignore[arg-type]  # each of them is a number


@pytest.mark.parametrize("bad", [{"server_addr": "h:x"}, {"tenant_id": "a b"}])
def test_what_is_malformed_is_refused_before_anything_is_sent(bad: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        SdkConfig(**({"instance_id": "i"} | bad)).open_door()  # type: ignore[arg-type]  # likewise


def test_only_a_launched_program_parks() -> None:
    assert SdkConfig("i", park_after_ms=500).park_after == inf  # nobody would launch it again
    assert SdkConfig("i", park_after_ms=500, epoch=1).park_after == 0.5
    assert SdkConfig("i", epoch=1).park_after == inf
    sdk = RuntaraSdk.new(SdkConfig("i", park_after_ms=500, epoch=1))
    assert sdk.park_after == 0.5


# Whom to trust --------------------------------------------------------------------------------------------------------


def test_whoever_skips_the_check_is_warned_once(server: Serving) -> None:
    with pytest.warns(UnverifiedServerWarning, match="not verified"):
        sdk = RuntaraSdk.new(at(server, skip_cert_verification=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RuntaraSdk.new(at(server, skip_cert_verification=True))

    assert sdk.health().version
    sdk.close()


@pytest.mark.parametrize("address", ["ws://jobs.example.org:8002", "host:1,http://192.0.2.1:80"])
def test_whoever_sends_without_encryption_to_another_machine_is_warned(address: str) -> None:
    with pytest.warns(UnverifiedServerWarning, match="not encrypted: .* use wss:// or https://"):
        SdkConfig("i", server_addr=address).open_door()


@pytest.mark.parametrize(
    "address", ["ws://localhost:1", "http://[::1]:1", "wss://jobs.example.org:8002", "https://h:1"]
)
def test_on_this_machine_and_with_encryption_nobody_is_warned(address: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SdkConfig("i", server_addr=address).open_door()


def test_the_authority_of_a_server_on_this_machine_is_found_by_its_http_door_too(tmp_path: Path) -> None:
    with TcpServing(tmp_path / "data", scheme="wss") as server:
        content = ConnectionFile(
            address="127.0.0.1:1",
            ca_file=str(server.identity.ca_file),
            fingerprint=server.identity.fingerprint,
            pid=os.getpid(),
            version="1",
            http_address=server.address.replace("wss", "https"),
        )
        write_connection_file(tmp_path, content)
        for address in (server.address, server.address.replace("wss", "https")):
            with closing(RuntaraSdk.new(SdkConfig("i", server_addr=address, data_dir=str(tmp_path)))) as sdk:
                assert sdk.health().version


@pytest.mark.parametrize("trust", ["ca_file", "fingerprint"])
def test_whoever_says_whom_to_trust_skips_nothing(server: Serving, trust: str) -> None:
    skipping = at(server, skip_cert_verification=True)
    if trust == "ca_file":
        sdk = RuntaraSdk.new(skipping.with_ca_file(str(server.identity.ca_file)))
    else:
        sdk = RuntaraSdk.new(skipping.with_server_fingerprint("00" * 32))

    if trust == "ca_file":
        assert sdk.health().version
    else:
        with pytest.raises(UntrustedServer):
            sdk.health()
    sdk.close()


def test_a_server_on_this_machine_is_trusted_by_what_it_has_written(server: Serving, tmp_path: Path) -> None:
    note_connection(tmp_path, server, server.address)

    sdk = RuntaraSdk.new(at(server, data_dir=str(tmp_path)))

    assert sdk.health().version
    sdk.close()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "unreadable:address"])
def test_what_a_server_elsewhere_has_written_says_nothing_about_this_one(
    server: Serving, tmp_path: Path, address: str
) -> None:
    note_connection(tmp_path, server, address)
    sdk = RuntaraSdk.new(at(server, data_dir=str(tmp_path)))

    with pytest.raises(UntrustedServer):
        sdk.health()
    sdk.close()


# Ways in --------------------------------------------------------------------------------------------------------------


def test_the_server_of_a_data_folder_is_found_by_what_it_has_written(server: Serving, tmp_path: Path) -> None:
    note_connection(tmp_path, server, server.address)

    with RuntaraSdk.localhost("found", data_dir=str(tmp_path)) as sdk:
        assert sdk.is_connected
        assert (sdk.instance_id, sdk.tenant_id, sdk.epoch) == ("found", "default", 1)
        sdk.stop_heartbeat()


def test_without_a_server_in_the_folder_it_is_at_the_usual_port(tmp_path: Path) -> None:
    found = SdkConfig.localhost("i", "t", data_dir=str(tmp_path))

    assert (found.server_addr, found.instance_id, found.tenant_id) == ("127.0.0.1:8001", "i", "t")


def test_a_program_finds_its_server_by_its_environment(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTARA_INSTANCE_ID", "by-environment")
    monkeypatch.setenv("RUNTARA_SERVER_ADDR", server.address)
    monkeypatch.setenv("RUNTARA_CA_FILE", str(server.identity.ca_file))

    with RuntaraSdk.from_env() as sdk:
        assert isinstance(sdk.health(), messages.HealthFound)
        assert sdk.instance_id == "by-environment"


async def test_the_async_face_connects_and_asks_before_it_registers(server: Serving) -> None:
    sdk = AsyncRuntaraSdk.new(at(server, "async").with_ca_file(str(server.identity.ca_file)))
    before = sdk.is_connected

    await sdk.connect()

    assert (before, sdk.is_connected) == (False, True)
    assert (await sdk.health()).version
    assert not sdk.is_registered
    sdk.close()


def test_the_blocking_face_connects_and_asks_before_it_registers(server: Serving) -> None:
    sdk = RuntaraSdk.new(at(server, "blocking").with_ca_file(str(server.identity.ca_file)))

    sdk.connect()

    assert sdk.is_connected
    assert not sdk.is_registered
    sdk.close()


# What a launch pays for -----------------------------------------------------------------------------------------------


HEAVY = {
    "trio",
    "aioquic",
    "asyncio",
    "sqlite3",
    "sqlite_utils",
    "pykka",
    "runtara.actors",
    "runtara.store",
    "runtara.system",
}


@pytest.mark.parametrize(
    ("code", "banned"),
    [
        ("import runtara.sdk", HEAVY | {"msgspec"}),
        ("from runtara.sdk import RuntaraSdk, SdkConfig; RuntaraSdk.new(SdkConfig('i'))", HEAVY),
    ],
    ids=["import", "before the first call"],
)
def test_a_program_loads_no_more_than_it_needs(code: str, banned: set[str], tmp_path: Path) -> None:
    done = run_python("-c", f"import sys; {code}; print(*sys.modules)", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & banned == set()


def test_a_program_of_a_server_never_loads_the_server(server: Serving, tmp_path: Path) -> None:
    code = (
        "import sys; from runtara.sdk import RuntaraSdk, SdkConfig;"
        f"config = SdkConfig('light', server_addr={server.address!r}, ca_file={str(server.identity.ca_file)!r});"
        "sdk = RuntaraSdk.new(config).__enter__(); sdk.checkpoint('a', b''); print(*sys.modules)"
    )

    done = run_python("-c", code, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & (HEAVY - {"trio", "aioquic"}) == set()


# A launched program that parks ----------------------------------------------------------------------------------------


PARKING = """
import asyncio, sys
import trio
from runtara.sdk import AsyncRuntaraSdk, RuntaraSdk, SdkConfig

how, address, ca_file = sys.argv[1:]
config = SdkConfig(f"parks-{how}", server_addr=address, ca_file=ca_file, park_after_ms=0, epoch=1)

async def main():
    async with AsyncRuntaraSdk.new(config) as sdk:
        await sdk.sleep(600, "nap")
        print("never")

if how == "sync":
    with RuntaraSdk.new(config) as sdk:
        sdk.sleep(600, "nap")
        print("never")
elif how == "trio":
    trio.run(main)
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["sync", "trio", "asyncio"])
def test_a_program_that_parks_ends_quietly(server: Serving, tmp_path: Path, how: str) -> None:
    server.call(f"parks-{how}", messages.RegisterInstance(attempt_id="before"))

    done = run_python("-c", PARKING, how, server.address, str(server.identity.ca_file), cwd=tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert server.call(f"parks-{how}", messages.GetStatus()).status == "suspended"
