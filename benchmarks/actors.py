"""How fast messages are, and how little a cell costs: ours, pykka, and bare trio channels, doing the same counting."""

import time
import tracemalloc
from collections.abc import Mapping, Sequence
from typing import Any

import pykka
import trio
import trio.testing

from runtara.actors import Actor, Decision, MailboxSpec, Region, child, hears, open_system, supervisor

TELLS = 100_000
ASKS = 10_000
ROUND = 1_000
CELLS = 10_000


class Counter(Actor):
    """Counts."""

    total = 0

    @hears(int)
    def add(self, number: int) -> int:
        """Add a number; the reply is the sum."""
        self.total += number
        return self.total


class PykkaCounter(pykka.ThreadingActor):
    """The same for pykka."""

    total = 0

    def on_receive(self, message: Any) -> int:
        """Add a number; the reply is the sum."""
        self.total += message
        return self.total


def tell_ours() -> float:
    """Tells per second, sent and processed."""

    async def main() -> float:
        tree = supervisor("root", child("counter", Counter, mailbox=MailboxSpec(bound=10 * ROUND)))
        async with open_system(tree) as system:
            counter = system.ref("root/counter")
            began = time.perf_counter()
            for _ in range(TELLS // ROUND):
                for _ in range(ROUND):
                    counter.tell_nowait(1)
                await counter.ask(0)
            return TELLS / (time.perf_counter() - began)

    return trio.run(main)


def tell_pykka() -> float:
    """Tells per second, sent and processed."""
    counter = PykkaCounter.start()
    began = time.perf_counter()
    for _ in range(TELLS // ROUND):
        for _ in range(ROUND):
            counter.tell(1)
        counter.ask(0)
    elapsed = time.perf_counter() - began
    counter.stop()
    return TELLS / elapsed


def tell_channel() -> float:
    """Sends per second through a trio channel to a task that counts."""

    async def main() -> float:
        send, receive = trio.open_memory_channel[int](10 * ROUND)
        total = 0

        async def count() -> None:
            nonlocal total
            async for number in receive:
                total += number

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            began = time.perf_counter()
            for _ in range(TELLS // ROUND):
                for _ in range(ROUND):
                    send.send_nowait(1)
                await trio.testing.wait_all_tasks_blocked()
            elapsed = time.perf_counter() - began
            nursery.cancel_scope.cancel()
        assert total == TELLS
        return TELLS / elapsed

    return trio.run(main)


def ask_ours() -> float:
    """Asks per second, one after the other."""

    async def main() -> float:
        async with open_system(supervisor("root", child("counter", Counter))) as system:
            counter = system.ref("root/counter")
            began = time.perf_counter()
            for _ in range(ASKS):
                await counter.ask(1)
            return ASKS / (time.perf_counter() - began)

    return trio.run(main)


def ask_pykka() -> float:
    """Asks per second, one after the other."""
    counter = PykkaCounter.start()
    began = time.perf_counter()
    for _ in range(ASKS):
        counter.ask(1)
    elapsed = time.perf_counter() - began
    counter.stop()
    return ASKS / elapsed


def ask_channel() -> float:
    """Round trips per second over two trio channels."""

    async def main() -> float:
        send, receive = trio.open_memory_channel[int](0)
        reply, replied = trio.open_memory_channel[int](0)

        async def count() -> None:
            total = 0
            async for number in receive:
                total += number
                await reply.send(total)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            began = time.perf_counter()
            for _ in range(ASKS):
                await send.send(1)
                await replied.receive()
            elapsed = time.perf_counter() - began
            nursery.cancel_scope.cancel()
        return ASKS / elapsed

    return trio.run(main)


class Sums(Region[int, int]):
    """Cells that count, kept nowhere."""

    def hydrate(self, keys: Sequence[int], settle: Any) -> None:
        """Begin at nought."""
        states: Mapping[int, int] = dict.fromkeys(keys, 0)
        settle(states)

    def decide(self, state: int, message: int, now_ms: int, found: object) -> Decision:
        """Add the message."""
        return Decision((message,), state)

    def evolve(self, state: int, event: int) -> int:
        """Apply the sum."""
        return state + event


def idle_cell() -> float:
    """Bytes of an idle cell in memory, its key and its state aside."""

    async def main() -> float:
        async with open_system(supervisor("root", child("sums", Sums, kwargs={"resident": 2 * CELLS}))) as system:
            cells = [system.cell("root/sums", number) for number in range(CELLS)]
            tracemalloc.start()
            before, _ = tracemalloc.get_traced_memory()
            for cell in cells:
                cell.tell_nowait(0)
            await trio.testing.wait_all_tasks_blocked()
            after, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return (after - before) / CELLS

    return trio.run(main)
