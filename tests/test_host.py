"""A host as a whole, in this process: what it launches, how it comes to rest, and who may connect."""

import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import runtara.system
from runtara.actors.runners import Engine
from runtara.actors.runners.native import NativeEngine
from runtara.errors import ConfigError, Draining, NotFound, StoreFull, StoreUnavailable, Unauthenticated, Unreachable
from runtara.host import Host, open_host
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status, TerminationReason
from runtara.messages import GetHealth, GetStatus, InstanceInfo, ReadLog, StartInstance
from runtara.sdk.config import SdkConfig
from runtara.settings import Settings
from runtara.store import Save, open_store
from runtara.transport.certificates import ensure_certificate
from runtara.transport.connection_file import ConnectionFile, write_connection_file
from runtara.transport.credentials import KeyRing
from runtara.transport.frames import Ask, Hello
from tests.actors.stage import WatchedStore
from tests.requirements import require
from tests.watch import Watch

PATIENCE_S = 100.0
KEY = InstanceKey("default", "one")

if sys.platform != "linux":
    require("linux", "programs are launched as processes of Linux")


@asynccontextmanager
async def opened(folder: Path, *, engine: Engine | None = None, **settings: Any) -> AsyncIterator[Host]:
    given: dict[str, Any] = {
        "data_dir": str(folder / "data"),
        "programs": str(folder),
        "quic_port": 0,
        "env_http_port": 0,
        "shutdown_grace_ms": 60_000,
        "relaunch_after_ms": 1,
    }
    with trio.fail_after(PATIENCE_S):
        async with open_host(Settings(**given | settings), engine=engine) as host:
            yield host


def script(folder: Path, text: str, name: str = "program") -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


async def start(host: Host, program: str, key: InstanceKey = KEY, **more: Any) -> None:
    await host.runtime.dispatch.call(key, StartInstance(program=program, **more))


async def status_of(host: Host, key: InstanceKey = KEY) -> InstanceInfo:
    return await host.runtime.dispatch.call(key, GetStatus())


async def until(host: Host, key: InstanceKey, wanted: Any) -> InstanceInfo:
    """Wait until an instance stands as wanted."""
    while True:
        watch = Watch(key)
        host.gate.attach(watch)
        info = await status_of(host, key)
        if wanted(info):
            return info
        with trio.move_on_after(1):
            await watch.heard.wait()


async def ended(host: Host, key: InstanceKey = KEY) -> InstanceInfo:
    return await until(host, key, lambda info: info.status in FINAL)


async def running(folder: Path, host: Host, text: str, key: InstanceKey = KEY) -> None:
    """Start a program and wait until it says that it runs."""
    sign = folder / f"{key.instance_id}.fifo"
    os.mkfifo(sign)
    await start(host, script(folder, f"echo > {sign}\n{text}", f"{key.instance_id}.sh"), key)
    await trio.to_thread.run_sync(sign.read_text, abandon_on_cancel=True)


async def test_a_program_that_knows_nothing_of_us_completes_with_what_it_leaves(tmp_path: Path) -> None:
    async with opened(tmp_path) as host:
        await start(host, script(tmp_path, 'cat "$RUNTARA_INPUT_FILE" > "$RUNTARA_OUTPUT_FILE"'), input=b"42")

        info = await ended(host)

    assert (info.status, info.output, info.exit_code) == (Status.COMPLETED, b"42", 0)


async def test_a_program_that_may_run_elsewhere_is_told_of_no_file_of_this_machine(tmp_path: Path) -> None:
    engine = NativeEngine(Settings(data_dir=str(tmp_path / "data"), programs=str(tmp_path)), {})
    text = 'echo "$RUNTARA_SERVER_FINGERPRINT$RUNTARA_CA_FILE" > "$RUNTARA_OUTPUT_FILE"'

    async with opened(tmp_path, engine=engine) as host:
        await start(host, script(tmp_path, text))
        info = await ended(host)

    assert info.output == f"{host.identity.fingerprint}\n".encode()


async def test_a_program_that_exits_with_another_code_has_failed_with_what_it_said_last(tmp_path: Path) -> None:
    async with opened(tmp_path) as host:
        await start(host, script(tmp_path, "echo no paper >&2; exit 3"))

        info = await ended(host)

    assert (info.status, info.exit_code) == (Status.FAILED, 3)
    assert info.termination_reason is TerminationReason.APPLICATION_ERROR
    assert "no paper" in (info.error or "")


async def test_a_program_that_is_killed_is_launched_again_until_its_budget_is_spent(tmp_path: Path) -> None:
    async with opened(tmp_path, max_auto_restarts=2) as host:
        await start(host, script(tmp_path, f"echo again >> {tmp_path}/lives; kill -9 $$"))

        info = await ended(host)

    assert info.termination_reason is TerminationReason.RECOVERY_BUDGET_SPENT
    assert (tmp_path / "lives").read_text().count("again") == 3


async def test_a_program_that_is_replaced_is_gone_before_the_next_one_runs_and_leaves_it_nothing(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as host:
        await running(tmp_path, host, f"trap '' TERM; echo $$ > {tmp_path}/old; touch left; echo old; sleep 60")
        await until(host, KEY, lambda _: (tmp_path / "old").exists())
        new = script(tmp_path, f'ls; kill -0 $(cat {tmp_path}/old) || echo gone > "$RUNTARA_OUTPUT_FILE"')
        replied = await host.runtime.dispatch.call(KEY, StartInstance(program=new, input=b"new", replace=True))

        info = await ended(host)
        log = await host.runtime.dispatch.call(KEY, ReadLog())

    assert (replied.created, info.status, info.output) == (True, Status.COMPLETED, b"gone\n")
    assert (info.epoch, log.data) == (3, b"")


async def test_what_lies_elsewhere_cannot_be_started(tmp_path: Path) -> None:
    (tmp_path / "programs").mkdir()

    async with opened(tmp_path, programs=str(tmp_path / "programs")) as host:
        with pytest.raises(NotFound, match="below the folders"):
            await start(host, script(tmp_path, "true"))


async def test_no_more_programs_run_than_there_are_places(tmp_path: Path) -> None:
    text = f"mkdir {tmp_path}/place || exit 9; sleep 0.05; rmdir {tmp_path}/place"
    program = script(tmp_path, text)
    keys = [InstanceKey(tenant, str(number)) for tenant in ("a", "b") for number in range(3)]

    async with opened(tmp_path, max_concurrent_instances=1) as host:
        for key in keys:
            await start(host, program, key)
        found = [await ended(host, key) for key in keys]

    assert [info.status for info in found] == [Status.COMPLETED] * len(keys)


async def test_a_drain_suspends_what_runs_and_the_next_host_takes_it_up(tmp_path: Path) -> None:
    async with opened(tmp_path) as host:
        await running(tmp_path, host, f"test -e {tmp_path}/second && exit 0; touch {tmp_path}/second; sleep 600")
        await host.drain()
        info = await status_of(host)
        assert (info.status, info.termination_reason) == (Status.SUSPENDED, TerminationReason.SHUTDOWN_REQUESTED)
        with pytest.raises(Draining, match="going down"):
            await ask_through_the_gate(host, StartInstance(program="x"), "new")
    script(tmp_path, "exit 0", "one.sh")

    async with opened(tmp_path) as host:
        assert (await ended(host)).status is Status.COMPLETED


async def test_a_drain_in_a_hurry_kills_what_does_not_want_to_go(tmp_path: Path) -> None:
    async with opened(tmp_path, kill_grace_ms=60_000) as host:
        await running(tmp_path, host, "trap '' TERM; while true; do sleep 0.1; done")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.drain)
            host.hurry()
        info = await status_of(host)

    assert info.status is Status.SUSPENDED


async def test_a_drain_that_cannot_be_noted_names_the_store_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores: list[WatchedStore] = []

    def open_watched(*arguments: Any, **names: Any) -> WatchedStore:
        stores.append(WatchedStore(open_store(*arguments, **names)))
        return stores[-1]

    def refuse(_saves: Sequence[Save]) -> None:
        raise StoreFull("no room")

    monkeypatch.setattr(runtara.system, "open_store", open_watched)

    async with opened(tmp_path, shutdown_grace_ms=100, kill_grace_ms=100, stop_grace_ms=500) as host:
        await running(tmp_path, host, f"while ! test -e {tmp_path}/go; do sleep 0.02; done")
        for store in stores:
            store.before_commit = refuse
        (tmp_path / "go").touch()
        with pytest.raises(StoreUnavailable, match="see that the store's disk has room"):
            await host.drain()
    monkeypatch.undo()

    async with opened(tmp_path) as host:
        assert (await ended(host)).status is Status.COMPLETED


async def test_a_host_that_ends_without_a_drain_leaves_its_programs_to_the_next_one(tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with opened(tmp_path) as host:
        await running(tmp_path, host, f"while ! test -e {go}; do sleep 0.02; done; echo -n done > $RUNTARA_OUTPUT_FILE")
    go.touch()

    async with opened(tmp_path) as host:
        info = await ended(host)

    assert (info.status, info.output, info.epoch) == (Status.COMPLETED, b"done", 1)


async def ask_through_the_gate(host: Host, command: Any, instance_id: str, credential: str | None = None) -> Any:
    """Ask as a client of the door would."""
    hello = Hello(tenant_id="default", instance_id=instance_id, credential=credential)
    caller = host.gate.admit(hello, "127.0.0.1")
    answered = trio.Event()
    outcomes = []

    def then(outcome: Any) -> None:
        outcomes.append((outcome.value, outcome.error))
        answered.set()

    host.gate.ask(caller, Ask(id=1, command=command), then)
    await answered.wait()
    value, error = outcomes[0]
    if error is not None:
        raise error
    return value


async def test_health_tells_when_the_host_is_going_down(tmp_path: Path) -> None:
    async with opened(tmp_path) as host:
        before = await ask_through_the_gate(host, GetHealth(), "x")
        await host.drain()
        after = await ask_through_the_gate(host, GetHealth(), "x")

    assert (before.draining, after.draining) == (False, True)


async def test_clients_find_the_door_over_the_network(tmp_path: Path) -> None:
    async with opened(tmp_path) as host:
        ca_file = str(host.identity.ca_file)
        config = SdkConfig(instance_id="one", server_addr=host.address, ca_file=ca_file)
        door = config.open_door()
        try:
            found = await door.call(GetHealth())
        finally:
            door.close()

    assert not found.draining


async def test_beyond_loopback_credentials_are_required(tmp_path: Path) -> None:
    async with opened(tmp_path, host="0.0.0.0") as host:
        assert host.address.startswith("127.0.0.1:")
        key = KeyRing(tmp_path / "data" / "keys.json").add("default")
        with pytest.raises(Unauthenticated, match="RUNTARA_TOKEN"):
            await ask_through_the_gate(host, GetHealth(), "x")

        assert await ask_through_the_gate(host, GetHealth(), "x", key)


async def test_where_any_port_will_do_the_last_one_is_taken_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as host:
        address = host.address
    content = ConnectionFile(address=address, ca_file=None, fingerprint="", pid=1, version="")
    write_connection_file(tmp_path / "data", content)

    async with opened(tmp_path) as host:
        assert host.address == address


async def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))

        with pytest.raises(Unreachable, match="RUNTARA_QUIC_PORT"):
            async with opened(tmp_path, quic_port=taken.getsockname()[1]):
                raise AssertionError("it is taken")


async def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="RUNTARA_TLS_KEY_FILE"):
        async with opened(tmp_path, tls_cert_file="cert.pem"):
            raise AssertionError("there is no key")


async def test_a_certificate_of_ones_own_is_shown_and_programs_are_told_its_fingerprint(tmp_path: Path) -> None:
    own = ensure_certificate(tmp_path / "own")
    files: dict[str, Any] = {"tls_cert_file": str(own.cert_file), "tls_key_file": str(own.key_file)}
    async with opened(tmp_path, **files) as host:
        await start(host, script(tmp_path, 'printf "$RUNTARA_SERVER_FINGERPRINT" > "$RUNTARA_OUTPUT_FILE"'))
        info = await ended(host)

    assert info.output == own.fingerprint.encode()


async def test_programs_may_be_told_another_address_than_the_one_that_is_listened_at(tmp_path: Path) -> None:
    async with opened(tmp_path, core_addr="127.0.0.1:9") as host:
        await start(host, script(tmp_path, 'printf "$RUNTARA_SERVER_ADDR" > "$RUNTARA_OUTPUT_FILE"'))
        info = await ended(host)

    assert info.output == b"127.0.0.1:9"
    assert host.address != "127.0.0.1:9"
