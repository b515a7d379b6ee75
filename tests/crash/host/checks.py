"""Checks of what only a host promises: each opens one in this process, on a folder of its own, and holds one promise.

They fail with an error where the promise is broken, as those of `tests.crash.checks` do.
"""

import os
import subprocess
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from runtara.actors.runners._process import boot_id
from runtara.actors.runners._run_folder import Marker, RunFolder, ShimNote
from runtara.actors.runners._shim import note_of
from runtara.actors.runners.native import NativeEngine
from runtara.errors import Unauthenticated
from runtara.host import Host, open_host
from runtara.ids import InstanceKey
from runtara.lifecycle import Status, TerminationReason
from runtara.messages import GetStatus, InstanceInfo, RegisterInstance, StartInstance
from runtara.sdk import StatusResponse
from runtara.sdk import _flows as flows
from runtara.sdk._doors import Doors
from runtara.sdk._drive import drive, perform
from runtara.settings import Settings
from runtara.transport.frames import Hello

__all__ = ["CHECKS", "LIMIT_S"]

Check = Callable[[Path], Awaitable[None]]

CHECKS: dict[str, Callable[[Path], None]] = {}
"""Name to check; each is given an empty folder."""

LIMIT_S = 100.0
"""What has not happened by then never will. The bugs on purpose are given less."""

NOTHING = ""
STAYS = "import os, signal; print(flush=True); open(os.environ['BEGUN'], 'w').close(); signal.pause()"


def _check(function: Check) -> Check:
    CHECKS[function.__name__] = lambda folder: trio.run(function, folder)
    return function


def _settings(folder: Path, **settings: Any) -> Settings:
    (folder / "programs").mkdir(exist_ok=True)
    ours: dict[str, Any] = {
        "data_dir": str(folder / "data"),
        "programs": str(folder / "programs"),
        "quic_port": 0,
        "env_http_port": 0,
    }
    return Settings(**ours | settings)


async def _start(host: Host, folder: Path, who: str, source: str, **env: str) -> None:
    program = folder / "programs" / f"{who}.py"
    program.write_text(source)
    await host.runtime.dispatch.call(_key(who), StartInstance(program=str(program), env=env))


def _key(who: str) -> InstanceKey:
    return InstanceKey("default", who)


async def _await_end(host: Host, who: str) -> StatusResponse:
    door = Doors(host.runtime).open(_key(who))
    try:
        return await drive(flows.wait_until_finished(door.session, LIMIT_S), partial(perform, door))
    finally:
        door.close()


@_check
async def place_is_freed(folder: Path) -> None:
    async with open_host(_settings(folder, max_concurrent_instances=1)) as host:
        for who in ("first", "second"):
            await _start(host, folder, who, NOTHING)
        for who in ("first", "second"):
            assert (await _await_end(host, who)).status is Status.COMPLETED


@_check
async def drain_suspends(folder: Path) -> None:
    begun = folder / "begun"
    os.mkfifo(begun)
    async with open_host(_settings(folder, shutdown_grace_ms=200, kill_grace_ms=200)) as host:
        await _start(host, folder, "stays", STAYS, BEGUN=str(begun))
        await trio.to_thread.run_sync(begun.read_bytes)
        await host.drain()
        info: InstanceInfo = await host.runtime.dispatch.call(_key("stays"), GetStatus())
    assert (info.status, info.termination_reason) == (Status.SUSPENDED, TerminationReason.SHUTDOWN_REQUESTED)


@_check
async def token_opens_one_attempt(folder: Path) -> None:
    async with open_host(_settings(folder)) as host:
        tokens = []
        for epoch in (1, 2):
            reply = await host.runtime.dispatch.call(_key("one"), RegisterInstance(attempt_id=str(epoch)))
            assert reply.epoch == epoch
            tokens.append(host.gate._mint.mint(_key("one"), epoch))
        hello = Hello(tenant_id="default", instance_id="one", credential=tokens[1], epoch=2)
        assert host.gate.admit(hello, "127.0.0.1").epoch == 2
        try:
            host.gate.admit(msgspec.structs.replace(hello, credential=tokens[0]), "127.0.0.1")
        except Unauthenticated:
            pass
        else:
            pytest.fail("the token of the first attempt opens the second")


def number_used_again_is_nobody(folder: Path) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:
        settings = _settings(folder)
        run = RunFolder((folder / "data" / "runs").resolve(), _key("one"))
        marker = Marker(
            tenant_id="default", instance_id="one", epoch=1, launch_id="launch", boot_id=boot_id(), stderr_from=0
        )
        note = ShimNote(launch_id="launch", pid=stranger.pid, started=1, program=stranger.pid, program_started=1)
        run.make()
        run.prepare(marker, None)
        (run.path / note_of("launch")).write_bytes(msgspec.json.encode(note))
        trio.run(_adopt_and_destroy, NativeEngine(settings, {}))
        told, _ = stranger.communicate(b"alive")
    assert told == b"alive", "a stranger was taken for the program, and killed"


CHECKS[number_used_again_is_nobody.__name__] = number_used_again_is_nobody


async def _adopt_and_destroy(engine: NativeEngine) -> None:
    (attempt,) = await engine.adopt()
    attempt.stop("destroy")
    with trio.fail_after(LIMIT_S):
        assert (await attempt.wait_ended()).exit_code is None
    attempt.close()
