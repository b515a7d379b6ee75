import gc
import tracemalloc

import pytest
import trio
import trio.testing

from runtara.actors import child, open_system, supervisor
from runtara.actors._cell import Cell
from runtara.errors import ActorStopped, Quarantined
from tests.actors.tally import Crash, Read, Shelf, Sum, Tally
from tests.actors.troupe import caught, idle, one

LIGHT = 250
"""Most bytes of an idle cell, its key and its state left aside."""


async def test_a_cell_has_the_path_of_its_region() -> None:
    async with one(Tally, Shelf()) as system:
        assert system.cell("root/it", "x").path == "root/it"


async def test_a_tell_from_a_thread_that_the_cell_refuses_is_a_dead_letter() -> None:
    shelf = Shelf()
    shelf.load_errors["x"] = LookupError("damaged")
    async with one(Tally, shelf) as system:
        cell = system.cell("root/it", "x")
        errors = [await caught(cell, 1) for _ in range(3)]

        await trio.to_thread.run_sync(cell.tell_nowait, 1)
        with pytest.raises(Quarantined):
            await trio.to_thread.run_sync(cell.tell_from_thread, 2)

        assert len(errors) == 3
        assert [(letter.reason, letter.message) for letter in system.dead_letters.recent] == [("refused", 1)]


async def test_a_cell_does_not_run_while_its_region_is_restarted(autojump_clock: object) -> None:
    async with one(Tally, Shelf()) as system:
        cell = system.cell("root/it", "x")
        await cell.ask(1)
        await caught(system.ref("root/it"), Crash())
        await idle()

        error = await caught(cell, 1)
        await trio.sleep(1)

        assert isinstance(error, ActorStopped)
        assert "does not run at the moment" in str(error)
        assert await cell.ask(1) == 2


async def test_a_cell_does_not_run_before_its_region_has_started(autojump_clock: object) -> None:
    refusals: list[BaseException] = []

    class Slow(Tally):
        async def on_start(self) -> None:
            try:
                self.system.cell("root/it", "x").tell_nowait(1)
            except ActorStopped as refusal:
                refusals.append(refusal)

    async with one(Slow, Shelf()) as system:
        answer = await system.cell("root/it", "x").ask(Read())

        assert len(refusals) == 1
        assert answer == 0


async def test_a_cell_ends_with_its_region() -> None:
    async with one(Tally, Shelf()) as system:
        cell = system.cell("root/it", "x")

        await system.stop_child("root/it")

        assert "root/it has stopped" in str(await caught(cell, 1))
        with pytest.raises(ActorStopped):
            cell.tell_nowait(1)
        with pytest.raises(ActorStopped):
            await cell.tell(1)


async def test_an_idle_cell_is_light() -> None:
    state, keys = Sum(), [f"key-{number}" for number in range(10_000)]
    shelf = Shelf()
    shelf.sums = dict.fromkeys(keys, state)
    tree = supervisor("root", child("it", Tally, shelf, kwargs={"resident": 20_000}))
    async with open_system(tree) as system:
        await system.cell("root/it", "warm").ask(Read())
        cells = [system.cell("root/it", key) for key in keys]
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for cell in cells:
                cell.tell_nowait(Read())
            await idle()
            shelf.log.clear()
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert system.inspect().children[0].facts["cells"] == 10_001
        assert (after - before) / len(keys) <= LIGHT


def test_a_cell_has_no_dictionary() -> None:
    assert not hasattr(Cell(), "__dict__")
