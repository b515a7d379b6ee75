"""Cells that decide on what is presumed of them, and what becomes of that where it is not so."""

from typing import Any

import pytest

from runtara.actors import Region, Write
from runtara.actors._deciding import name_of
from runtara.actors._system import System
from runtara.errors import InvalidInput
from tests.actors.tally import Read, Shelf, Sum, Tally
from tests.actors.troupe import idle, one


class Presuming(Tally):
    """Presumes for numbers that nothing is stored, or what it remembers; it keeps nothing in memory."""

    def keeps(self, state: Sum) -> bool:
        return False

    def remembers(self, state: Sum) -> bool:
        return state.total < 1_000

    def presume(self, key: Any, message: Any, believed: Sum | None) -> Sum | None:
        return (believed or Sum()) if isinstance(message, int | str) else None

    def _store(self, write: Write[Any, Sum]) -> bool:
        is_stored = write.before.version == self.shelf.sums.get(write.key, Sum()).version
        return is_stored and super()._store(write)


def cell(system: System, key: str = "x") -> Any:
    return system.cell("root/it", key)


async def test_what_comes_of_a_presumed_state_is_kept_without_a_load() -> None:
    shelf = Shelf()
    async with one(Presuming, shelf) as system:
        answers = [await cell(system).ask(1), await cell(system).ask(1)]

    assert answers == [1, 2]
    assert shelf.calls("hydrate") == []
    assert shelf.sums["x"] == Sum(2, 2)


async def test_where_the_stored_state_is_another_one_it_is_loaded_and_decided_anew() -> None:
    shelf = Shelf()
    shelf.conflicts = 1  # somebody else has added 100 just before
    async with one(Presuming, shelf) as system:
        answer = await cell(system).ask(1)

    assert answer == 101
    assert shelf.calls("hydrate") == [["x"]]
    assert shelf.calls("persist") == [{"x": [1]}, {"x": [1]}]
    assert shelf.sums["x"].total == 101


async def test_what_is_remembered_and_out_of_date_harms_nobody() -> None:
    shelf = Shelf()
    async with one(Presuming, shelf) as system:
        await cell(system).ask(1)
        shelf.conflicts = 1
        again = [await cell(system).ask(1), await cell(system).ask(1)]

    assert again == [102, 103]
    assert shelf.sums["x"].total == 103


async def test_a_refusal_is_for_the_stored_state_to_say() -> None:
    shelf = Shelf()
    async with one(Presuming, shelf) as system:
        with pytest.raises(InvalidInput):
            await cell(system).ask("no")

    assert shelf.calls("hydrate") == [["x"]]
    assert shelf.calls("persist") == []


async def test_what_only_looks_never_sees_a_presumed_state() -> None:
    shelf = Shelf()
    shelf.sums["x"] = Sum(7)
    async with one(Presuming, shelf) as system:
        total = await cell(system).ask(Read())

    assert total == 7
    assert shelf.calls("hydrate") == [["x"]]


async def test_only_the_first_message_is_decided_on_it_and_the_others_wait_for_what_is_stored() -> None:
    shelf = Shelf()
    shelf.hold_writes = True
    async with one(Presuming, shelf) as system:
        cell(system).tell_nowait(1)
        for number in (10, 100):
            cell(system).tell_nowait(number)
        await idle()
        shelf.release()
        await idle()
        total = await cell(system).ask(Read())

    assert total == 111
    assert shelf.calls("persist") == [{"x": [1]}, {"x": [10]}, {"x": [100]}]


async def test_what_is_not_worth_it_is_not_remembered() -> None:
    shelf = Shelf()
    async with one(Presuming, shelf) as system:
        await cell(system).ask(5_000)
        answer = await cell(system).ask(1)  # presumed to be new, and found to be known

    assert answer == 5_001
    assert shelf.calls("hydrate") == [["x"]]


def test_a_cell_is_called_by_the_parts_of_its_key() -> None:
    assert (name_of(("acme", "one")), name_of("x")) == ("acme/one", "x")


def test_nothing_is_presumed_of_a_kind_that_does_not_say_so() -> None:
    assert Region.presume(Tally(Shelf()), "x", 1, Sum()) is None
    assert not Region.remembers(Tally(Shelf()), Sum())
