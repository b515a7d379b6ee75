"""`runtara serve`, as the process that it is."""

import json
import re
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtara import __version__
from runtara.errors import Code
from runtara.transport.certificates import read_identity
from runtara.transport.connection_file import read_connection_file
from tests.cli.terminal import SECONDS, Server, popen, type_command

STUBBORN = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
signal.pause()
"""

PATIENT = """
from runtara.sdk import InstanceShutdown, RuntaraSdk
with RuntaraSdk.from_env() as sdk:
    print("attempt", sdk.epoch, flush=True)
    try:
        word = sdk.wait_for_signal("word")
    except InstanceShutdown:
        sdk.suspended()
    else:
        sdk.completed(word.payload)
"""

Starting = Callable[..., Server]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Starting]:
    """Starts servers in one folder, and sees to it that none is left."""
    started: list[Server] = []

    def start(*options: str, **environment: str) -> Server:
        started.append(Server(tmp_path, *options, **environment))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()


def events_in(log: list[str]) -> list[str]:
    """What a log tells, without instants and fields."""
    return [line.split()[3] for line in log]


def wait_until_up(server: Server, instance_id: str) -> None:
    """Wait until the program has written its first line."""
    follower = popen("logs", instance_id, "-f", cwd=server.folder)
    assert follower.stdout is not None
    follower.stdout.readline()
    follower.kill()
    follower.communicate()


def test_it_says_where_it_listens_and_leaves_a_file_for_clients(serving: Starting, tmp_path: Path) -> None:
    server = serving()

    file = tmp_path / ".data" / "server.json"
    found = json.loads(file.read_text())
    mode = stat.S_IMODE(file.stat().st_mode)
    health = server("doctor", "--json")
    code, log = server.stop()

    address = found["address"]
    assert server.greeting.decode() == f"runtara {__version__} listens at {address}\n"
    assert re.fullmatch(r"127\.0\.0\.1:\d+", address)
    assert (mode, found["pid"], found["version"]) == (0o600, server.process.pid, __version__)
    assert {row["subject"]: row["state"] for row in json.loads(health.stdout)}["server"] == "ok"
    assert (code, file.exists()) == (0, False)
    assert [event for event in events_in(log) if event != "programs-run-as-root"] == ["ready", "draining", "drained"]
    assert f"address={address}" in log[0]


def test_an_interrupt_drains_just_as_well_and_quiet_is_quiet(serving: Starting) -> None:
    code, log = serving("--quiet").stop(signal.SIGINT)

    assert code == 0
    assert [event for event in events_in(log) if event != "programs-run-as-root"] == []


def test_a_hangup_has_it_show_the_certificate_that_is_there_now(serving: Starting, tmp_path: Path) -> None:
    server, tls = serving(), tmp_path / ".data" / "tls"
    before = read_connection_file(tmp_path / ".data")
    shutil.rmtree(tls)  # then one is made
    assert server.process.stderr is not None

    server.process.send_signal(signal.SIGHUP)
    while b" certificate-renewed " not in server.process.stderr.readline():
        pass
    after = read_connection_file(tmp_path / ".data")
    made = read_identity(tls / "cert.pem", tls / "key.pem")
    listed = server("ps")
    (tls / "key.pem").write_text("nothing")
    server.process.send_signal(signal.SIGHUP)
    while b" certificate-not-renewed " not in server.process.stderr.readline():
        pass
    still = server("ps")

    assert before is not None
    assert after is not None
    assert before.fingerprint != after.fingerprint == made.fingerprint
    assert (listed.exit_code, still.exit_code) == (0, 0), f"{listed.stderr}{still.stderr}"


def test_its_log_is_written_as_its_settings_say(serving: Starting, tmp_path: Path) -> None:
    program = tmp_path / "job"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    server = serving(RUNTARA_LOG_FORMAT="json", RUNTARA_LOG_LEVEL="debug")
    server("start", str(program), "--id", "one", "--wait")
    _, log = server.stop()

    lines = [json.loads(line) for line in log]
    about = {line["event"]: line for line in lines if line.get("instance_id") == "one"}
    assert {"launched", "ended", "call"} <= about.keys()
    assert (about["launched"]["tenant_id"], about["launched"]["epoch"]) == ("default", 1)
    assert about["ended"]["exit_code"] == 0
    assert {line["level"] for line in lines} >= {"debug", "info"}


@pytest.mark.slow
def test_a_second_server_for_the_same_folder_is_refused_and_leaves_the_first_alone(
    serving: Starting, tmp_path: Path
) -> None:
    first = serving()
    found = (tmp_path / ".data" / "server.json").read_text()

    second = serving()
    code, log = second.end()

    assert code == Code.STORE_IN_USE.exit_code
    assert log[-1].endswith("[store-in-use]")
    assert (tmp_path / ".data" / "server.json").read_text() == found
    assert first("ps").exit_code == 0


@pytest.mark.slow
def test_a_port_that_is_taken_is_refused(serving: Starting, tmp_path: Path) -> None:
    port = serving().greeting.decode().rpartition(":")[2].strip()

    other = popen("serve", "--port", port, "--http-port", "0", "--data-dir", "other", cwd=tmp_path)
    _, errors = other.communicate(timeout=SECONDS)

    assert other.returncode == Code.UNREACHABLE.exit_code
    assert errors.decode().endswith("; choose another RUNTARA_QUIC_PORT [unreachable]\n")


@pytest.mark.parametrize(
    ("options", "environment"), [(("--port", "high"), {}), ((), {"RUNTARA_QUIC_PROT": "1"}), (("--host", "[x"), {})]
)
def test_a_setting_that_makes_no_sense_is_refused(
    options: tuple[str, ...], environment: dict[str, Any], tmp_path: Path
) -> None:
    done = type_command("serve", "--data-dir", str(tmp_path), *options, **environment)

    assert (done.exit_code, done.stdout) == (Code.CONFIG_ERROR.exit_code, "")
    assert done.stderr.endswith("[config-error]\n")


def ps(folder: Path, **environment: str) -> tuple[int, bytes]:
    done = popen("ps", cwd=folder, **environment)
    _, errors = done.communicate(timeout=SECONDS)
    return done.returncode, errors


def test_the_first_start_says_where_the_first_key_lies_and_it_is_good(serving: Starting, tmp_path: Path) -> None:
    server = serving(RUNTARA_REQUIRE_CREDENTIALS="true")
    assert server.process.stdout is not None
    told = "".join(server.process.stdout.readline().decode() for _ in ("where to browse", "where the key lies"))

    path = tmp_path / ".data" / "bootstrap-key"
    key = path.read_text().strip()
    refused = ps(tmp_path)
    accepted = ps(tmp_path, RUNTARA_TOKEN=key)
    _, log = server.stop()

    assert str(path.resolve()) in told
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert refused[0] == Code.UNAUTHENTICATED.exit_code
    assert refused[1].endswith(b"[unauthenticated]\n")
    assert accepted == (0, b"")
    assert "nobody-can-connect" not in events_in(log)
    assert key not in told + "".join(log)


@pytest.mark.slow
def test_a_second_start_makes_no_key_and_who_has_revoked_all_is_told_so(serving: Starting, tmp_path: Path) -> None:
    serving(RUNTARA_REQUIRE_CREDENTIALS="true").stop()
    path = tmp_path / ".data" / "bootstrap-key"
    key = path.read_text()

    second = serving(RUNTARA_REQUIRE_CREDENTIALS="true")
    kept = path.read_text()
    second("keys", "revoke", key.split("_")[1])
    refused = ps(tmp_path, RUNTARA_TOKEN=key.strip())
    second.stop()
    _, log = serving(RUNTARA_REQUIRE_CREDENTIALS="true").stop()

    assert kept == key
    assert refused[0] == Code.UNAUTHENTICATED.exit_code
    assert not path.exists()
    assert "nobody-can-connect" in events_in(log)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_server_that_others_can_reach_does_not_start_without_credentials(tmp_path: Path, host: str) -> None:
    done = type_command(
        "serve", "--host", host, "--data-dir", str(tmp_path / "data"), RUNTARA_REQUIRE_CREDENTIALS="false"
    )

    assert (done.exit_code, done.stdout) == (Code.CONFIG_ERROR.exit_code, "")
    assert all(word in done.stderr for word in (host, "RUNTARA_REQUIRE_CREDENTIALS", "127.0.0.1", "[config-error]"))
    assert not (tmp_path / "data" / "bootstrap-key").exists()


@pytest.mark.slow
def test_a_drained_program_goes_on_under_the_next_server(serving: Starting) -> None:
    first = serving()
    first("start", first.write_program("patient.py", PATIENT), "--id", "i")
    wait_until_up(first, "i")

    code, _ = first.stop()
    second = serving()
    second("signal", "i", "word", "--payload", "done")
    done = second("start", str(second.folder / "patient.py"), "--id", "i", "--wait")

    story = [line.split()[3] for line in second("events", "i").stdout.splitlines()]
    assert (code, done.exit_code, done.stdout) == (0, 0, "done\n")
    assert story.count("registered") == 2
    assert "shut-down" in story
    assert story[-1] == "completed"


@pytest.mark.slow
def test_a_second_signal_kills_what_takes_too_long(serving: Starting) -> None:
    server = serving()
    server("start", server.write_program("stubborn.py", STUBBORN), "--id", "i")
    wait_until_up(server, "i")

    server.process.terminate()
    assert server.process.stderr is not None
    while b"draining" not in server.process.stderr.readline():
        pass
    code, log = server.stop()

    assert code == 128 + 15
    assert events_in(log)[-3:] == ["killing", "ended", "drained"]
