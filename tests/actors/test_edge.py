from typing import Any

import trio
from trio.testing import MockClock

from runtara.actors import Backoff, child, open_system, supervisor
from runtara.actors.edge import Drain, Edge, Renew


class Stall:
    """A server of nothing."""

    served = 0

    def __init__(self) -> None:
        self.broken = trio.Event()
        self.drained: list[int] = []
        self.renewed = 0

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        Stall.served += 1
        task_status.started()
        await self.broken.wait()
        raise RuntimeError("the socket is gone")

    async def drain(self, retry_after_ms: int = 0) -> None:
        await trio.lowlevel.checkpoint()
        self.drained.append(retry_after_ms)

    def renew(self) -> None:
        self.renewed += 1

    def describe(self) -> dict[str, Any]:
        return {"clients": 3}


async def test_an_edge_serves_before_anything_after_it_starts_and_shows_what_the_server_says() -> None:
    stalls: list[Stall] = []

    def make() -> Stall:
        stalls.append(Stall())
        return stalls[-1]

    async with open_system(supervisor("root", child("door", Edge, make))) as system:
        served = Stall.served
        facts = system.inspect().children[0].facts
        await system.ref("root/door").ask(Renew())
        await system.ref("root/door").ask(Drain(retry_after_ms=7))

    assert served == 1
    assert facts == {"clients": 3}
    assert (stalls[0].renewed, stalls[0].drained) == (1, [7])


async def test_a_server_that_crashes_is_followed_by_a_fresh_one() -> None:
    stalls: list[Stall] = []
    second = trio.Event()

    def make() -> Stall:
        stalls.append(Stall())
        if len(stalls) == 2:
            second.set()
        return stalls[-1]

    tree = supervisor("root", child("door", Edge, make), backoff=Backoff(first=0.01))
    async with open_system(tree) as system:
        stalls[0].broken.set()
        with trio.fail_after(60):
            await second.wait()
        await system.ref("root/door").ask(Drain())

    assert len(stalls) == 2
    assert stalls[1].drained == [0]


class Reluctant(Stall):
    """A server with a client that does not go."""

    async def drain(self, retry_after_ms: int = 0) -> None:
        self.drained.append(retry_after_ms)
        await trio.sleep_forever()


async def test_an_edge_stops_at_once_also_while_it_still_waits_for_clients_to_go(autojump_clock: MockClock) -> None:
    server = Reluctant()

    async with open_system(supervisor("root", child("door", Edge, lambda: server))) as system:
        with trio.move_on_after(1):
            await system.ref("root/door").ask(Drain())
        told = trio.current_time()

    assert server.drained == [0]
    assert trio.current_time() == told
