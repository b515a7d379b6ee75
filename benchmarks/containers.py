"""A program in a container of ours, against a bare `runc run` of the same bundle: until its first instruction."""

import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from runtara.actors.runners import Plan, PlannedImage, Prepared
from runtara.actors.runners._oci_bundle import Box, config_of
from runtara.actors.runners._run_folder import RunFolder
from runtara.actors.runners.native import NativeEngine
from runtara.ids import InstanceKey
from runtara.records import ImageOptions
from runtara.settings import Settings

LAUNCHES = 30
KEY = InstanceKey("default", "container")
COMMAND = ("/bin/busybox", "sh", "-c", "echo begun >/data/work/told")
"""The first thing that it does is to say so, into a pipe."""


def over_runc() -> float:
    """Milliseconds that a launch takes longer than `runc run`, median against median."""
    return first_instruction() - bare_runc()


def first_instruction() -> float:
    """Milliseconds from a launch to the first instruction of its program, median."""
    return _median(_ours)


def bare_runc() -> float:
    """Milliseconds from starting `runc run` to the first instruction, median."""
    return _median(_bare)


def _median(side: Callable[[Path], list[float]]) -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # the container's own root cannot look into what is private
        _make_rootfs(folder / "rootfs")
        return statistics.median(side(folder)) * 1000


def _make_rootfs(folder: Path) -> None:
    busybox = shutil.which("busybox")
    assert busybox is not None, "install busybox-static"
    for name in ("bin", "proc", "dev", "tmp", "data"):
        (folder / name).mkdir(parents=True)
    shutil.copy(busybox, folder / "bin" / "busybox")


def _ours(folder: Path) -> list[float]:
    settings = Settings(data_dir=str(folder / "data"))
    prepared = Prepared(kind="rootfs", path=folder / "rootfs")
    engine = NativeEngine(settings, {}, lambda _: prepared)
    image = PlannedImage(digest="", kind="rootfs", options=ImageOptions(command=COMMAND))
    run = RunFolder(Path(settings.data_dir).resolve() / "runs", KEY)
    run.make()

    async def measure() -> list[float]:
        taken = []
        with _pipe(run.work / "told") as told:
            for epoch in range(LAUNCHES):
                began = time.perf_counter()
                attempt = await engine.launch(Plan(key=KEY, epoch=epoch, program="bench", image=image))
                os.read(told, 100)
                taken.append(time.perf_counter() - began)
                await attempt.wait_ended()
                attempt.close()
                await attempt.forget()
        return taken

    return trio.run(measure)


def _bare(folder: Path) -> list[float]:
    runc, first_uid = shutil.which("runc"), Settings().container_first_uid
    assert runc is not None, "install runc"
    for name in ("data", "work", "data/work"):
        (folder / name).mkdir(exist_ok=True)
        os.chown(folder / name, first_uid + 1000, first_uid + 1000)
    box = Box(
        argv=COMMAND,
        env={"PATH": "/bin"},
        cwd="/",
        host_name="bench",
        machine=platform.machine(),
        place=str(folder),
        first_uid=first_uid,
        tmp_bytes=1 << 20,
        cgroup="/runtara-bench",
        memory_bytes=512 << 20,
        pids=256,
    )
    (folder / "config.json").write_text(json.dumps(config_of(box)))
    taken = []
    with _pipe(folder / "work" / "told") as told:
        for number in range(LAUNCHES):
            began = time.perf_counter()
            command = [runc, "--root", str(folder / "state"), "run", "--bundle", str(folder), f"bench-{number}"]
            with subprocess.Popen(command):
                os.read(told, 100)
                taken.append(time.perf_counter() - began)
    return taken


@contextmanager
def _pipe(path: Path) -> Iterator[int]:
    """Have a pipe that never comes to its end."""
    os.mkfifo(path)
    path.chmod(0o666)
    descriptor = os.open(path, os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
