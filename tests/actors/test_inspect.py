import threading
from typing import Any

import trio
import trio.testing

from runtara.actors import ActorInfo, child, draw_tree, open_system, supervisor
from tests.actors.tally import Shelf, Tally
from tests.actors.troupe import Blocker, Boom, Fail, Forward, Gate, Hold, Stuck, Worker, caught, died, idle, one


class Secretive(Worker):
    def describe(self) -> dict[str, Any]:
        raise Boom("mind your own business")


def find(info: ActorInfo, path: str) -> ActorInfo:
    return next(found for found in everybody(info) if found.path == path)


def everybody(info: ActorInfo) -> list[ActorInfo]:
    return [info, *(found for below in info.children for found in everybody(below))]


async def test_the_tree_shows_every_kind_and_what_each_is_doing() -> None:
    tree = supervisor(
        "root",
        child("worker", Worker),
        child("blocker", Blocker),
        supervisor("group", child("cells", Tally, Shelf())),
    )
    async with open_system(tree) as system:
        await system.ref("root/worker").ask(3)
        await system.cell("root/group/cells", "x").ask(1)

        info = system.inspect()

        assert [(found.path, found.kind, found.state) for found in everybody(info)] == [
            ("root", "supervisor", "running"),
            ("root/worker", "service", "running"),
            ("root/blocker", "blocking", "running"),
            ("root/group", "supervisor", "running"),
            ("root/group/cells", "region", "running"),
        ]
        worker = find(info, "root/worker")
        assert (worker.name, worker.handled, worker.restarts, worker.failure) == ("worker", 1, 0, None)
        assert (worker.mailbox_bound, worker.mailbox_policy, worker.facts) == (1024, "wait", {"total": 3})
        assert find(info, "root/group/cells").facts == {"cells": 1, "quarantined": 0}


async def test_a_restart_and_its_reason_are_shown(autojump_clock: object) -> None:
    async with one(Worker) as system:
        ref = system.ref("root/it")

        await caught(ref, Fail())
        await idle()
        during = find(system.inspect(), "root/it")
        await died(ref)
        after = find(system.inspect(), "root/it")

        assert (during.state, during.facts) == ("restarting", {})
        assert (after.state, after.restarts, after.failure) == ("running", 1, "Boom('boom')")


async def test_it_works_while_an_actor_is_stuck() -> None:
    async with one(Worker) as system:
        gate = Gate()
        system.ref("root/it").tell_nowait(Hold(gate))
        await gate.entered.wait()
        system.ref("root/it").tell_nowait(1)

        info = find(system.inspect(), "root/it")

        gate.open.set()
        assert (info.state, info.mailbox_depth, info.handled) == ("running", 1, 1)


async def test_it_works_while_a_thread_is_stuck_and_from_another_thread() -> None:
    async with one(Blocker) as system:
        stuck = Stuck(threading.Event(), threading.Event())
        system.ref("root/it").tell_nowait(stuck)
        await trio.to_thread.run_sync(stuck.entered.wait)
        system.ref("root/it").tell_nowait(1)

        info = await trio.to_thread.run_sync(system.inspect_from_thread)

        stuck.released.set()
        assert find(info, "root/it").mailbox_depth == 1


async def test_it_shows_who_waits_for_whom() -> None:
    async with open_system(supervisor("root", child("a", Worker), child("b", Worker))) as system:
        async with trio.open_nursery() as nursery:
            gate = Gate()
            nursery.start_soon(system.ref("root/a").ask, Forward(system.ref("root/b"), Hold(gate)))
            await gate.entered.wait()

            info = find(system.inspect(), "root/a")

            gate.open.set()
        assert info.waits_for == ("root/b",)
        assert find(system.inspect(), "root/a").waits_for == ()


async def test_an_actor_that_cannot_describe_itself_does_not_hide_the_others() -> None:
    async with open_system(supervisor("root", child("a", Secretive), child("b", Worker))) as system:
        info = system.inspect()

        assert find(info, "root/a").facts == {"describe": "Boom('mind your own business')"}
        assert find(info, "root/b").facts == {"total": 0}


async def test_the_tree_is_drawn_a_line_an_actor(autojump_clock: object) -> None:
    tree = supervisor("root", supervisor("group", child("a", Worker), child("b", Worker)), child("c", Worker))
    async with open_system(tree) as system:
        await caught(system.ref("root/group/b"), Fail())
        await died(system.ref("root/group/b"))

        drawn = draw_tree(system.inspect())

        assert drawn.splitlines() == [
            "root     supervisor running",
            "├ group  supervisor running",
            "│ ├ a    service    running    mail 0/1024  handled 0  total 0",
            "│ └ b    service    running    mail 0/1024  handled 1  restarts 1  last failure Boom('boom')  total 0",
            "└ c      service    running    mail 0/1024  handled 0  total 0",
        ]
