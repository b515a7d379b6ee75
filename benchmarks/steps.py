"""Durable steps per second: a function whose result is kept on stable storage before the next one runs. Our side."""

import tempfile
import time

import trio

from runtara.sdk import durable, embedded, use_sdk

STEPS = 300
AT_ONCE = 100
EACH = 20


@durable(max_retries=0)
async def double(number: int) -> int:
    """Do next to nothing, durably."""
    return 2 * number


@durable(max_retries=0)
def double_sync(number: int) -> int:
    """The same for the sync face."""
    return 2 * number


def ours_sequential() -> float:
    """Steps per second of one program, trio face."""

    async def main() -> float:
        with tempfile.TemporaryDirectory() as folder:
            async with embedded.open(folder) as system, system.sdk("one") as sdk:
                with use_sdk(sdk):
                    await double(-1)
                    began = time.perf_counter()
                    for number in range(STEPS):
                        await double(number)
                    return STEPS / (time.perf_counter() - began)

    return trio.run(main)


def ours_sync() -> float:
    """Steps per second of one program, sync face."""
    with (
        tempfile.TemporaryDirectory() as folder,
        embedded.open(folder) as system,
        system.sdk("one") as sdk,
        use_sdk(sdk),
    ):
        double_sync(-1)
        began = time.perf_counter()
        for number in range(STEPS):
            double_sync(number)
        return STEPS / (time.perf_counter() - began)


def ours_concurrent() -> float:
    """Steps per second of 100 programs at once, trio face."""

    async def main() -> float:
        with tempfile.TemporaryDirectory() as folder:
            async with embedded.open(folder) as system:

                async def program(number: int) -> None:
                    async with system.sdk(f"program-{number}") as sdk:
                        with use_sdk(sdk):
                            for step in range(EACH):
                                await double(step)

                began = time.perf_counter()
                async with trio.open_nursery() as nursery:
                    for number in range(AT_ONCE):
                        nursery.start_soon(program, number)
                return AT_ONCE * EACH / (time.perf_counter() - began)

    return trio.run(main)
