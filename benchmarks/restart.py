"""A system that comes back to 100,000 suspended instances: how soon it answers, and how much memory it takes."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from benchmarks.rows import suspended
from runtara.clock import SystemClock
from runtara.ids import InstanceKey
from runtara.messages import GetStatus
from runtara.settings import Settings
from runtara.store import open_store
from runtara.system import open_runtime

INSTANCES = 100_000
BATCH = 2_000
DAY_MS = 86_400_000


def ready() -> float:
    """Seconds from the start of the system until it has answered its first question."""
    return _restart()["ready"]


def resident() -> float:
    """MiB of memory that the whole process then holds."""
    return _restart()["resident"]


def _restart() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        writer = open_store(f"sqlite:///{folder}/runtara.db").open_writer()
        tomorrow = SystemClock().now_ms() + DAY_MS
        for first in range(0, INSTANCES, BATCH):
            stored = writer.commit([suspended(number, tomorrow + number) for number in range(first, first + BATCH)])
            assert all(stored)
        writer.close()
        code = f"from benchmarks import restart; restart.measure({folder!r})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        figures: dict[str, float] = json.loads(done.stdout)
        return figures


def measure(folder: str) -> None:
    """Open the system in this process, ask one question, and print the figures."""

    async def main() -> dict[str, float]:
        began = time.perf_counter()
        async with open_runtime(Settings(data_dir=folder)) as runtime:
            await runtime.dispatch.call(InstanceKey("default", "instance-77777"), GetStatus())
            elapsed = time.perf_counter() - began
            return {"ready": elapsed, "resident": _resident_mib()}

    print(json.dumps(trio.run(main)))


def _resident_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024
