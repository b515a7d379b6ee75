"""When chores are done, and what is told of them: over chores that do nothing, under a clock that jumps."""

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from runtara.actors import child
from runtara.actors._ref import Ref
from runtara.actors.chores import InstanceChore
from runtara.actors.upkeep import ASKED_MAX, NAMES_MAX, ChoreWork, Removed, Upkeep
from runtara.clock import ManualClock
from runtara.errors import Busy, InstanceNotFound, InvalidInput, NotFound, RuntaraError, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.messages import ChoreDone, CompleteInstance, GetStatus, RegisterInstance, RunChore
from runtara.settings import Settings
from runtara.system import INSTANCES, READER, UPKEEP, WRITER, Runtime, in_process, open_runtime
from tests.actors.stage import crash_actor

EVERY_S = 100.0


class Chore:
    """A chore that notes when it was done, and may be told to take its time or to fail."""

    def __init__(self, *removed: Removed, on: bool = True) -> None:
        self.removed = removed
        self.on = on
        self.done: list[tuple[float, bool]] = []
        """When, and whether only to see what would be done."""
        self.takes = 0.0
        self.at_once = 0
        self.before: Callable[[], None] = lambda: None

    async def do(self, reader: Ref, writer: Ref, *, dry_run: bool) -> Sequence[Removed]:
        assert (reader.path, writer.path) == (READER, WRITER)
        self.done.append((trio.current_time(), dry_run))
        self.at_once += 1
        assert self.at_once == 1
        try:
            await trio.sleep(self.takes)
            self.before()
        finally:
            self.at_once -= 1
        return self.removed


@asynccontextmanager
async def opened(chores: Mapping[str, ChoreWork]) -> AsyncIterator[Runtime]:
    kwargs = {"reader": READER, "writer": WRITER, "instances": INSTANCES, "chores": chores, "every": EVERY_S}
    launcher = msgspec.structs.replace(in_process({}), upkeep=child("chores", Upkeep, kwargs=kwargs))
    async with open_runtime(Settings(database_url="memory://"), launcher=launcher) as runtime:
        yield runtime


async def ask(runtime: Runtime, chore: Any = "runs", *, tenant: str = "acme", dry_run: Any = False) -> ChoreDone:
    command = RunChore(chore=chore, dry_run=dry_run)
    return await runtime.dispatch.call(InstanceKey(tenant, "cli"), command)


def facts(runtime: Runtime) -> Mapping[str, Any]:
    info = runtime.system.inspect()
    for name in UPKEEP.split("/")[1:]:
        info = next(child for child in info.children if child.name == name)
    return info.facts


def times(chore: Chore) -> list[float]:
    return [at for at, _ in chore.done]


async def test_every_chore_is_done_at_the_start_and_then_again_and_again(autojump_clock: object) -> None:
    chores = {"instances": Chore(), "runs": Chore(Removed("acme", "one")), "images": Chore(on=False)}

    async with opened(chores) as runtime:
        began = trio.current_time()
        await trio.sleep(2.5 * EVERY_S)
        told = facts(runtime)

    for name in ("instances", "runs"):
        assert [at - began for at in times(chores[name])] == pytest.approx([0, EVERY_S, 2 * EVERY_S], abs=0.1)
    assert times(chores["images"]) == []
    assert told == {
        "removed": {"instances": 0, "runs": 3, "images": 0},
        "failures": {"instances": 0, "runs": 0, "images": 0},
    }


@pytest.mark.parametrize("error", [StoreUnavailable("away"), PermissionError("not yours")], ids=repr)
async def test_a_chore_that_fails_is_counted_and_tried_again(
    error: Exception, caplog: pytest.LogCaptureFixture, autojump_clock: object
) -> None:
    chore, other, failing = Chore(Removed("acme", "one")), Chore(), [error, error]
    chore.before = lambda: _raise(failing.pop() if failing else None)

    with caplog.at_level(logging.INFO):
        async with opened({"runs": chore, "instances": other}) as runtime:
            await trio.sleep(3.5 * EVERY_S)
            told = facts(runtime)

    assert (told["failures"], told["removed"]) == ({"runs": 2, "instances": 0}, {"runs": 2, "instances": 0})
    assert len(other.done) == 4
    assert [record.message for record in caplog.records if record.name.endswith("upkeep")] == [
        "chore-failed",
        "chore-failed",
        "chore-done",
        "chore-done",
    ]


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error


async def test_after_a_crash_the_upkeep_begins_anew(autojump_clock: object) -> None:
    chore = Chore()

    async with opened({"runs": chore}) as runtime:
        await trio.sleep(1)
        await crash_actor(runtime.system, UPKEEP)
        await trio.sleep(1)
        assert len(chore.done) == 2
        await trio.sleep(EVERY_S)

    assert len(chore.done) == 3


async def test_whoever_asks_has_a_chore_done_at_once_and_is_told_of_their_own(autojump_clock: object) -> None:
    chore = Chore(Removed("acme", "one"), Removed("other", "two"), Removed(None, "blobs/aa/aa"), on=False)

    async with opened({"runs": chore}) as runtime:
        mine = await ask(runtime)
        theirs = await ask(runtime, tenant="other")
        nobody = await ask(runtime, tenant="nobody")
        told = facts(runtime)

    assert mine == ChoreDone(chore="runs", dry_run=False, removed=3, names=("one",))
    assert (theirs.names, nobody.names, nobody.removed) == (("two",), (), 3)
    assert told["removed"] == {"runs": 9}


async def test_a_dry_run_is_one_and_counts_for_nothing(autojump_clock: object) -> None:
    chore = Chore(Removed("acme", "one"), on=False)

    async with opened({"runs": chore}) as runtime:
        done = await ask(runtime, dry_run=True)
        told = facts(runtime)

    assert (done.dry_run, done.removed, done.names) == (True, 1, ("one",))
    assert [dry_run for _, dry_run in chore.done] == [True]
    assert told["removed"] == {"runs": 0}


async def test_an_answer_names_a_thousand_things_at_most(autojump_clock: object) -> None:
    chore = Chore(*(Removed("acme", str(number)) for number in range(NAMES_MAX + 5)), on=False)

    async with opened({"runs": chore}) as runtime:
        done = await ask(runtime)

    assert (done.removed, len(done.names)) == (NAMES_MAX + 5, NAMES_MAX)


async def test_a_chore_is_done_by_one_at_a_time_and_another_one_beside_it(autojump_clock: object) -> None:
    slow, other = Chore(on=False), Chore(on=False)
    slow.takes = 5

    async with opened({"runs": slow, "images": other}) as runtime, trio.open_nursery() as nursery:
        began = trio.current_time()
        for _ in range(3):
            nursery.start_soon(ask, runtime, "runs")
        nursery.start_soon(ask, runtime, "images")

    assert [at - began for at in times(slow)] == pytest.approx([0, 5, 10], abs=0.1)
    assert [at - began for at in times(other)] == pytest.approx([0], abs=0.1)


async def test_more_than_so_many_are_not_asked_for_at_a_time(autojump_clock: object) -> None:
    chore, refused = Chore(on=False), list[str]()
    chore.takes = 0.01

    async def try_to_ask() -> None:
        try:
            await ask(runtime)
        except Busy as refusal:
            refused.append(str(refusal))

    async with opened({"runs": chore}) as runtime:
        async with trio.open_nursery() as nursery:
            for _ in range(ASKED_MAX + 3):
                nursery.start_soon(try_to_ask)
        await ask(runtime)

    assert refused == ["64 chores are asked for and not done yet, the bound: try again later"] * 3
    assert len(chore.done) == ASKED_MAX + 1


@pytest.mark.parametrize(
    ("error", "refusal", "said"),
    [
        (StoreUnavailable("away"), StoreUnavailable, "away"),
        (PermissionError("not yours"), Busy, "'runs' could not be done.*not yours.*try again"),
    ],
    ids=["refusal", "disk"],
)
async def test_whoever_asks_is_told_what_went_wrong(
    error: Exception, refusal: type[RuntaraError], said: str, autojump_clock: object
) -> None:
    chore = Chore(on=False)
    chore.before = lambda: _raise(error)

    async with opened({"runs": chore}) as runtime:
        with pytest.raises(refusal, match=said):
            await ask(runtime)
        chore.before = lambda: None

        assert (await ask(runtime)).removed == 0


async def test_what_is_no_chore_or_not_one_of_this_host_is_refused(autojump_clock: object) -> None:
    async with opened({"runs": Chore()}) as runtime:
        nonsense: Any
        for nonsense in ("dishes", "", None, ["runs"], {}):
            with pytest.raises(InvalidInput, match=r"chore .* is unknown: use instances, runs, images"):
                await ask(runtime, nonsense)
        with pytest.raises(InvalidInput, match="dry_run must be true or false, not str"):
            await ask(runtime, dry_run="yes")
        with pytest.raises(NotFound, match="no chore 'images': it has runs"):
            await ask(runtime, "images")


async def test_a_system_without_upkeep_says_so(autojump_clock: object) -> None:
    async with open_runtime(Settings(database_url="memory://")) as runtime:
        with pytest.raises(NotFound, match="no upkeep of its own"):
            await ask(runtime)


async def test_an_instance_that_was_deleted_is_not_there_any_more_for_anybody(autojump_clock: object) -> None:
    clock = ManualClock()
    key = InstanceKey("acme", "done")

    async with opened({"instances": InstanceChore(clock, 1)}) as runtime:
        begun = await runtime.dispatch.call(key, RegisterInstance(attempt_id="a"))
        await runtime.dispatch.call(key, CompleteInstance(), begun.epoch)
        assert (await runtime.dispatch.call(key, GetStatus())).status == "completed"
        clock.jump_ms(10 * 365 * 86_400_000)
        done = await ask(runtime, "instances")

        assert done.names == ("done",)
        with pytest.raises(InstanceNotFound):
            await runtime.dispatch.call(key, GetStatus())
