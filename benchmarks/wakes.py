"""How late wake-ups and signals are, on a real clock."""

import statistics
import tempfile
import time

import trio
import trio.testing

from benchmarks.rows import suspended
from runtara.clock import SystemClock
from runtara.ids import InstanceKey
from runtara.sdk import AsyncRuntaraSdk, embedded
from runtara.settings import Settings
from runtara.store import open_store
from runtara.system import open_runtime

IDLE = 200
APART_MS = 25
STORM = 10_000
LEAD_MS = 6_000
SIGNALS = 200


def idle_p99() -> float:
    """Milliseconds from the due time to the launch, 99th percentile, with nothing else to do."""
    return _lateness([number * APART_MS for number in range(IDLE)])


def storm_p99() -> float:
    """The same with 10,000 instances due within one second; each must be launched exactly once."""
    return _lateness([number * 1000 // STORM for number in range(STORM)])


def _lateness(offsets_ms: list[int]) -> float:
    clock = SystemClock()
    late: dict[InstanceKey, int] = {}

    async def main() -> float:
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(data_dir=folder)
            first = clock.now_ms() + LEAD_MS
            due = {InstanceKey("default", f"instance-{n}"): first + offset for n, offset in enumerate(offsets_ms)}
            writer = open_store(settings.store_url).open_writer()
            writer.commit([suspended(number, first + offset) for number, offset in enumerate(offsets_ms)])
            writer.close()
            everybody = trio.Event()

            async def noop(key: InstanceKey, _epoch: int) -> None:
                assert key not in late, f"{key} was launched twice"
                late[key] = clock.now_ms() - due[key]
                if len(late) == len(due):
                    everybody.set()

            async with open_runtime(settings, programs={"noop": noop}):
                assert clock.now_ms() < first, "it took too long to begin: allow more lead"
                with trio.fail_after(120):
                    await everybody.wait()
        assert min(late.values()) >= 0, "somebody was woken early"
        return statistics.quantiles(late.values(), n=100)[98]

    return trio.run(main)


def signal_p50() -> float:
    """Milliseconds from sending a signal until the waiting program has it, median."""
    seen: list[float] = []

    async def wait(sdk: AsyncRuntaraSdk) -> None:
        await sdk.wait_for_signal("go")
        seen.append(time.perf_counter())

    async def main() -> float:
        sent: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            async with embedded.open(folder) as system, system.sdk("waiting") as sdk:
                for _ in range(SIGNALS):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(wait, sdk)
                        await trio.testing.wait_all_tasks_blocked(0.005)
                        sent.append(time.perf_counter())
                        await system.custom_signal("waiting", "go")
        return statistics.median(end - begin for begin, end in zip(sent, seen, strict=True)) * 1000

    return trio.run(main)
