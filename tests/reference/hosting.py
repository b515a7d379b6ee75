"""A real server with images on it: one program, pushed as a file of Python and as a container, and one for the shell.

The program (`WORKER`) does as many steps as its input says. Each step writes a line, which is its side effect, and
saves a checkpoint; at the step called ``hold`` it goes on when it is told to, and at the one called ``rest`` it sleeps.
"""

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from msgspec.structs import replace

from runtara.actors.runners._run_folder import RunFolder
from runtara.ids import InstanceKey, new_id
from runtara.lifecycle import FINAL
from runtara.messages import GetStatus, ImageInfo, InstanceInfo, ReadLog, SendSignal, StartInstance
from runtara.records import ImageOptions
from runtara.sdk import _flows as flows
from runtara.sdk._drive import perform_blocking
from runtara.sdk.images import push_image
from tests.actors.runners.boxes import make_rootfs
from tests.crash.host.client import config_of
from tests.crash.host.processes import Process
from tests.crash.host.scene import LIMIT_S, Scene
from tests.crash.host.server import Server
from tests.crash.host.site import ROOT, Site

__all__ = ["BOX", "JAR", "PLAIN", "SHELL", "Hosting", "make_jar"]

PLAIN, JAR, SHELL, BOX = "plain", "jar", "shell", "box"
"""Names of images: the worker as a file and in a container, and a shell's script as a file and in a container."""

SETTINGS: Mapping[str, Any] = {"park_after_ms": 500, "max_concurrent_instances": 8, "max_auto_restarts": 3}

WORKER = """import json, os
from runtara.sdk import RuntaraSdk

with open(os.environ["RUNTARA_INPUT_FILE"]) as file:
    plan = {"steps": 3, "hold": None, "rest": None} | json.load(file)
if plan["hold"] is not None:
    os.environ["RUNTARA_PARK_AFTER_MS"] = "600000"  # it waits as a process, not at rest
with RuntaraSdk.from_env() as sdk:
    for step in range(plan["steps"]):
        if sdk.get_checkpoint(f"step {step}") is None:
            print(f"row {step}", flush=True)
            sdk.checkpoint(f"step {step}", b"")
        if step == plan["rest"]:
            sdk.sleep(plan["for_s"], f"rest after {step}")
        if step == plan["hold"]:
            sdk.wait_for_signal("go")
    sdk.completed(json.dumps({"mine": os.environ.get("MINE")}).encode())
"""

_SCRIPT = 'eval "$(cat "$RUNTARA_INPUT_FILE")"\n'


def make_jar(folder: Path) -> Path:
    """Make the archive of a container with the worker, as the example does."""
    program, archive = folder / "worker.py", folder / "jar.tar"
    program.write_text(WORKER)
    command = [sys.executable, str(ROOT / "examples" / "rootfs.py"), str(archive), str(program)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return archive


class Hosting(Scene):
    """A scene with images, and what is asked about their instances."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.server = self.make_server()

    def make_server(self, **settings: Any) -> Server:
        """Return a server of this site that is not started yet."""
        return Server(self.site, **{**SETTINGS, **settings})

    # Images

    def push(self, name: str, path: Path, tenant: str = "default", **more: Any) -> ImageInfo:
        """Push an image, as a tenant."""
        door = self.manager(tenant)
        try:
            return push_image(door, name, path, **more)
        finally:
            door.close()

    def push_scripts(self, folder: Path) -> None:
        """Push the programs for the shell: each does what its input says, in the words of a shell."""
        script, rootfs, archive = folder / "script", folder / "rootfs", folder / "box.tar"
        script.write_text(f"#!/bin/sh\n{_SCRIPT}")
        make_rootfs(rootfs)
        with tarfile.open(archive, "w") as tar:
            tar.add(rootfs, arcname=".")
        command = ("/bin/sh", "-c", _SCRIPT)
        self.push(SHELL, script)
        self.push(BOX, archive, options=ImageOptions(command=command, memory_bytes=32_000_000, pids=16))

    def manager(self, tenant: str) -> Any:
        """Return a door for a tenant."""
        return replace(config_of(self.site, "manager"), tenant_id=tenant).open_door()

    # Instances

    def begin(self, who: str, image: str, plan: Any = None, **options: Any) -> None:
        """Start an instance of an image; a plan is the worker's, or words for the shell."""
        data = plan.encode() if isinstance(plan, str) else json.dumps(plan or {}).encode()
        self.ask(who, StartInstance(program=image, image=True, input=data, **options))

    def go(self, who: str) -> None:
        """Let a worker go on that holds."""
        self.ask(who, SendSignal(kind="custom", name="go", signal_id=new_id()))

    def signal(self, who: str, kind: Any) -> None:
        """Send a signal to the whole instance."""
        self.ask(who, SendSignal(kind=kind, signal_id=new_id()))

    def log(self, who: str, stream: Any = "stdout") -> list[str]:
        """Return the lines that an instance's program has written."""
        return self.ask(who, ReadLog(stream=stream, limit=1 << 20)).data.decode().splitlines()

    def await_log(self, who: str, line: str) -> None:
        """Wait until a program has written a line."""
        give_up_at = monotonic() + LIMIT_S
        while line not in (lines := self.log(who)):
            written = sum(len(one) + 1 for one in lines)
            self.ask(who, ReadLog(offset=written, wait_ms=1_000))
            assert monotonic() < give_up_at, f"{lines} {self.story(who)}\n{self.site.tails()}"

    def await_info(self, who: str, wanted: Callable[[InstanceInfo], bool]) -> InstanceInfo:
        """Wait until an instance stands as wanted."""
        door = self.door.beside(who, watch=True)
        give_up_at = monotonic() + LIMIT_S
        try:
            while True:
                since = door.session.pushes
                info = door.call_from_thread(GetStatus())
                if wanted(info):
                    return info
                assert monotonic() < give_up_at, f"{info}\n{self.story(who)}\n{self.site.tails()}"
                perform_blocking(door, flows.AwaitPush(1.0, since))
        finally:
            door.close()

    def finished(self, who: str) -> InstanceInfo:
        """Wait until an instance has ended, and return how."""
        return self.await_info(who, lambda info: info.status in FINAL)

    # What lies below

    def folder(self, who: str) -> Path:
        """Return the folder of an instance's runs."""
        return RunFolder(self.site.data_dir / "runs", InstanceKey("default", who)).path

    def program_of(self, who: str) -> Process:
        """Return the process of an instance's program."""
        (note,) = self.folder(who).glob("shim.*.json")
        said = json.loads(note.read_bytes())
        found = Process.find(said["program"], said["program_started"])
        assert found is not None, f"{who} has no process"
        return found
