"""A host whose programs are Jobs: from the start of an instance, through a Pod that is taken away, to its output."""

import sys
from pathlib import Path

import trio

import runtara.host
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import ReadLog, StartInstance
from runtara.settings import Settings
from tests.actors.runners.yard import Yard, open_yard
from tests.house.source import ROOT
from tests.test_host import ended

KEY = InstanceKey("acme", "report")
PROGRAM = """
import os, time
from runtara.sdk import RuntaraSdk

with RuntaraSdk.from_env() as sdk:
    sdk.register()
    saved = sdk.checkpoint("step", b"first").existing_state
    print("begun again" if saved else "begun", flush=True)
    if saved is None:
        time.sleep(1000)
    sdk.completed(saved + b" attempt's state")
"""


async def wait_log(host: runtara.host.Host, text: str) -> str:
    """Read the log as a client does, until something is in it."""
    found = b""
    while text.encode() not in found:
        asked = ReadLog(offset=len(found), wait_ms=5_000)
        answer = await host.runtime.dispatch.call(KEY, asked)
        found += answer.data
    return found.decode()


async def test_a_durable_program_goes_on_in_another_pod_when_its_own_is_taken_away(tmp_path: Path) -> None:
    async with open_yard(tmp_path) as yard:
        settings = Settings(data_dir=str(tmp_path / "data"), quic_port=0, env_http_port=0, relaunch_after_ms=1)
        with trio.fail_after(60):
            async with runtara.host.open_host(settings, engine=yard.another()) as host:
                await host.runtime.dispatch.call(KEY, StartInstance(program=_image(yard)))
                await wait_log(host, "begun\n")

                with yard.cluster.changed:
                    yard.cluster.evict(yard.cluster.pods()[0])
                await wait_log(host, "begun again\n")
                info = await ended(host, KEY)
                await yard.wait(lambda cluster: not any(cluster.objects.values()))

    assert (info.status, info.output) == (Status.COMPLETED, b"first attempt's state")


def _image(yard: Yard) -> str:
    program = yard.folder / "report.py"
    program.write_text(PROGRAM)
    return yard.image(f"PYTHONPATH={ROOT} exec {sys.executable} {program}")
