"""An image pushed to a host: through the door in the same process, and over QUIC on loopback. The peer is the disk.

The disk's side does what no push can do without: it hashes a file, copies it part by part while it hashes it again, and
has the copy on stable storage.
"""

import gc
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio

from runtara.host import Host, open_host
from runtara.ids import InstanceKey
from runtara.sdk._doors import Doors
from runtara.sdk.config import SdkConfig
from runtara.sdk.images import PART_BYTES, push_image
from runtara.settings import Settings
from runtara.transport.door import Door

MIB = 1024 * 1024
EMBEDDED_MIB = 1024
QUIC_MIB = 64


def embedded() -> float:
    """MB per second through the door in the same process."""
    return _push("embedded", EMBEDDED_MIB)[0]


def embedded_growth() -> float:
    """MiB of memory that the process has grown by meanwhile."""
    return _push("embedded", EMBEDDED_MIB)[1]


def quic() -> float:
    """MB per second over QUIC; client and server share a process, and so one interpreter lock."""
    return _push("quic", QUIC_MIB)[0]


def quic_apart() -> float:
    """The same with the server in a process of its own."""
    return _push_apart(QUIC_MIB)


def quic_growth() -> float:
    """MiB of memory that client and server have grown by meanwhile."""
    return _push("quic", QUIC_MIB)[1]


def disk() -> float:
    """MB per second of what no push can do without."""
    with tempfile.TemporaryDirectory() as folder:
        path = _file(Path(folder), EMBEDDED_MIB)
        began = time.perf_counter()
        for target in (None, Path(folder) / "copy"):
            digest = hashlib.sha256()
            with path.open("rb") as file, (target or Path(os.devnull)).open("wb") as copy:
                while part := file.read(PART_BYTES):
                    digest.update(part)
                    if target is not None:
                        copy.write(part)
                if target is not None:
                    copy.flush()
                    os.fsync(copy.fileno())
        return EMBEDDED_MIB * MIB / 1e6 / (time.perf_counter() - began)


# What is measured -----------------------------------------------------------------------------------------------------


def _push(way: str, mebibytes: int) -> tuple[float, float]:
    """Push a file; return how many MB a second, and by how many MiB the process has grown at its worst."""
    with tempfile.TemporaryDirectory() as folder:
        path = _file(Path(folder), mebibytes)
        return trio.run(_measure, way, path, Path(folder))


async def _measure(way: str, path: Path, folder: Path) -> tuple[float, float]:
    settings = Settings(data_dir=str(folder / "data"), quic_port=0, env_http_port=0)
    async with open_host(settings) as host:
        door = _door(way, host)
        await trio.to_thread.run_sync(partial(push_image, door, "warm", _script(folder)))
        gc.collect()
        with _watched_memory() as grown:
            rate = await trio.to_thread.run_sync(_timed, door, path)
        await trio.to_thread.run_sync(door.close)
        return rate, max(grown) / MIB


def _door(way: str, host: Host) -> Door:
    if way == "embedded":
        return Doors(host.runtime).open(InstanceKey("default", "cli"))
    fingerprint = host.identity.fingerprint
    return SdkConfig(instance_id="cli", server_addr=host.address, server_fingerprint=fingerprint).open_door()


def _push_apart(mebibytes: int) -> float:
    import subprocess
    import sys

    with tempfile.TemporaryDirectory() as folder:
        path, data = _file(Path(folder), mebibytes), str(Path(folder) / "data")
        command = [sys.executable, "-m", "runtara", "serve", "--port", "0", "--http-port", "0", "--data-dir", data]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            server.stdout.readline()
            door = SdkConfig.localhost("cli", data_dir=data).open_door()
            try:
                push_image(door, "warm", _script(Path(folder)))
                return _timed(door, path)
            finally:
                door.close()
                server.terminate()


def _timed(door: Door, path: Path) -> float:
    began = time.perf_counter()
    info = push_image(door, "report", path)
    return info.size / 1e6 / (time.perf_counter() - began)


def _file(folder: Path, mebibytes: int) -> Path:
    path, part = folder / "image", os.urandom(MIB)
    with path.open("wb") as file:
        file.write(b"#!")
        for number in range(mebibytes):
            file.write(number.to_bytes(4, "big") + part[4:])
    return path


def _script(folder: Path) -> Path:
    path = folder / "warm"
    path.write_text("#!/bin/sh\n")
    return path


@contextmanager
def _watched_memory() -> Iterator[list[int]]:
    """Note by how much this process is larger than at first, a hundred times a second."""
    first, grown, over = _resident(), [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            grown.append(_resident() - first)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield grown
    finally:
        over.set()
        watcher.join()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
