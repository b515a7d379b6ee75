"""The same for many instances: in a whole system under a clock that jumps."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runtara.actors import many as many_module
from runtara.errors import Busy, DeadlineExceeded, InvalidInput, StoreUnavailable, TooLarge
from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import (
    GetStatus,
    InstanceFilter,
    ListInstances,
    ManySignaled,
    ManyStarted,
    NamedStart,
    Request,
    SignalMany,
    SignalOutcome,
    StartInstance,
    StartMany,
    StartOutcome,
)
from runtara.system import MANY
from tests.actors.stage import NOW, Stage, WatchedStore, open_stage, sleeper

SHIP = StartInstance(program="ship")


def starts(*names: str, start: StartInstance = SHIP) -> StartMany:
    return StartMany(starts=tuple(NamedStart(instance_id=name, start=start) for name in names))


async def manage(stage: Stage, command: Request[Any], tenant_id: str = "acme") -> Any:
    return await stage.dispatch.call(InstanceKey(tenant_id, "cli"), command)


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


# Starts ---------------------------------------------------------------------------------------------------------------


async def test_many_instances_are_started_at_once_and_each_is_answered_for(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    names = [f"i{number:04}" for number in range(1_000)]
    async with open_stage(store) as stage:
        await stage.ask("i0001", SHIP)
        await stage.ask("i0002", StartInstance(program="other"))
        found: ManyStarted = await manage(stage, starts(*names))
        again: ManyStarted = await manage(stage, starts(*names))

    assert [outcome.instance_id for outcome in found.outcomes] == names
    assert found.outcomes[0] == StartOutcome(instance_id="i0000", created=True, status=Status.PENDING)
    assert (found.outcomes[1].created, found.outcomes[1].error) == (False, None)
    assert (found.outcomes[2].code, found.outcomes[2].status) == ("already-exists", None)
    assert sum(outcome.created for outcome in found.outcomes) == 998
    assert not any(outcome.created for outcome in again.outcomes)


async def test_a_start_that_is_malformed_harms_nobody_else(store: WatchedStore, autojump_clock: MockClock) -> None:
    bad = (
        NamedStart(instance_id="a b", start=SHIP),
        NamedStart(instance_id="loud", start=StartInstance(program="ship", priority=101)),
        NamedStart(instance_id="good", start=SHIP),
    )
    async with open_stage(store) as stage:
        found = await manage(stage, StartMany(starts=bad))

    assert [outcome.code for outcome in found.outcomes] == ["invalid-input", "invalid-input", None]


async def test_no_more_are_asked_at_the_same_time_than_the_bound(
    store: WatchedStore, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_module, "IN_FLIGHT", 8)
    async with open_stage(store) as stage:
        await manage(stage, starts(*map(str, range(100)), start=StartInstance(program="ship", start_at=NOW + 10**9)))

    assert max(store.commits) <= 8


async def test_a_store_that_is_away_is_answered_for_each(store: WatchedStore, autojump_clock: MockClock) -> None:
    def fail(_: object) -> None:
        raise StoreUnavailable("the disk is away")

    async with open_stage(store) as stage:
        store.before_commit = fail
        found = await manage(stage, starts("a", "b"))

    assert [outcome.code for outcome in found.outcomes] == ["store-unavailable"] * 2


# Signals --------------------------------------------------------------------------------------------------------------


async def test_all_that_a_filter_lets_through_are_cancelled_a_page_at_a_time(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    names = [f"order-{number}" for number in range(7)]
    async with open_stage(store) as stage:
        await manage(stage, starts(*names, "invoice-1"))
        command = SignalMany(kind="cancel", signal_id="stop", filter=InstanceFilter(prefix="order-"), limit=3)
        pages: list[ManySignaled] = [await manage(stage, command)]
        while pages[-1].cursor is not None:
            pages.append(await manage(stage, SignalMany(**{**_fields(command), "cursor": pages[-1].cursor})))
        again = await manage(stage, SignalMany(kind="cancel", signal_id="stop"))
        left = await stage.ask("invoice-1", GetStatus())

    outcomes = [outcome for page in pages for outcome in page.outcomes]
    assert [outcome.instance_id for outcome in outcomes] == names
    assert outcomes[0] == SignalOutcome(instance_id="order-0", created=True, status=Status.CANCELLED)
    assert all(len(page.outcomes) <= 3 for page in pages)
    assert [outcome.instance_id for outcome in again.outcomes] == ["invoice-1"], "what is finished is not asked"
    assert left.status is Status.CANCELLED


def _fields(command: SignalMany) -> dict[str, Any]:
    return {name: getattr(command, name) for name in command.__struct_fields__}


async def test_a_signal_that_is_sent_again_arrives_once(store: WatchedStore, autojump_clock: MockClock) -> None:
    async with open_stage(store) as stage:
        store_names = ("a", "b")
        await manage(stage, starts(*store_names))
        first = await manage(stage, SignalMany(kind="pause", signal_id="p"))
        again = await manage(stage, SignalMany(kind="pause", signal_id="p"))

    assert [outcome.created for outcome in first.outcomes] == [True, True]
    assert [outcome.created for outcome in again.outcomes] == [False, False]


async def test_the_instances_of_other_tenants_are_not_touched(store: WatchedStore, autojump_clock: MockClock) -> None:
    async with open_stage(store) as stage:
        await manage(stage, starts("mine"))
        found = await manage(stage, SignalMany(kind="cancel", signal_id="c"), "rival")
        info = await stage.ask("mine", GetStatus())

    assert (found.outcomes, info.status) == ((), Status.RUNNING)


async def test_who_is_asked_for_a_final_status_is_told_that_it_is_one(
    store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with open_stage(store) as stage:
        await manage(stage, starts("a"))
        await manage(stage, SignalMany(kind="cancel", signal_id="c"))
        wanted = InstanceFilter(status=Status.CANCELLED)
        found = await manage(stage, SignalMany(kind="pause", signal_id="p", filter=wanted))

    assert [outcome.instance_id for outcome in found.outcomes] == ["a"]
    assert found.outcomes[0].code is not None


# Lists ----------------------------------------------------------------------------------------------------------------


async def test_a_list_with_a_filter_holds_what_it_lets_through(store: WatchedStore, autojump_clock: MockClock) -> None:
    store.put(*(sleeper(f"old-{number}", NOW + 10**9) for number in range(3)))
    async with open_stage(store) as stage:
        await manage(stage, starts("new-1", "new-2"))
        found = await manage(stage, ListInstances(filter=InstanceFilter(program="ship")))
        status = await manage(stage, ListInstances(status=Status.SUSPENDED, filter=InstanceFilter(prefix="old-")))

    assert [row.instance_id for row in found.instances] == ["new-1", "new-2"]
    assert [row.instance_id for row in status.instances] == ["old-0", "old-1", "old-2"]


# Bounds ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (StartMany(starts=()), InvalidInput),
        (StartMany(starts=[NamedStart(instance_id="a", start=SHIP)]), InvalidInput),  # type: ignore[arg-type]
        (starts(*map(str, range(1_001))), TooLarge),
        (SignalMany(kind="shutdown", signal_id="s"), InvalidInput),  # type: ignore[arg-type]
        (SignalMany(kind="cancel", signal_id="a b"), InvalidInput),
        (SignalMany(kind="cancel", signal_id="s", grace_ms=-1), InvalidInput),
        (SignalMany(kind="cancel", signal_id="s", limit=1_001), InvalidInput),
        (SignalMany(kind="cancel", signal_id="s", filter=InstanceFilter(status="odd")), InvalidInput),  # type: ignore[arg-type]
        (SignalMany(kind="cancel", signal_id="s", filter=InstanceFilter(prefix="a b")), InvalidInput),
        (SignalMany(kind="cancel", signal_id="s", filter=InstanceFilter(prefix="-a")), InvalidInput),
        (SignalMany(kind="cancel", signal_id="s", filter=InstanceFilter(image_id="report")), InvalidInput),
        (SignalMany(kind="cancel", signal_id="s", filter=InstanceFilter(created_from=-1)), InvalidInput),
        (SignalMany(kind="cancel", signal_id="s", cursor="odd"), InvalidInput),
        (ListInstances(status=Status.FAILED, filter=InstanceFilter(status=Status.RUNNING)), InvalidInput),
        (ListInstances(filter=InstanceFilter(program=1)), InvalidInput),  # type: ignore[arg-type]
    ],
    ids=[
        *("none", "list", "too many", "kind", "signal id", "grace", "limit", "status", "prefix", "prefix start"),
        *("image", "created", "cursor", "two statuses", "program"),
    ],
)
async def test_what_is_malformed_or_too_large_is_refused(
    command: Request[Any], error: type[Exception], store: WatchedStore, autojump_clock: MockClock
) -> None:
    async with open_stage(store) as stage:
        with pytest.raises(error):
            await manage(stage, command)


async def test_only_so_many_calls_are_worked_on_and_the_others_are_told_to_try_again(
    store: WatchedStore, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_module, "CALLS_MAX", 2)
    refused: list[Exception] = []

    async def ask(number: int) -> None:
        try:
            await manage(stage, starts(f"i{number}"))
        except Busy as error:
            refused.append(error)

    async with open_stage(store) as stage:
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(ask, number)
        facts = stage.facts(MANY)
        found = await manage(stage, ListInstances())

    assert (len(refused), len(found.instances), facts) == (1, 2, {"under_way": 0})


async def test_who_waits_no_longer_leaves_no_work_behind(store: WatchedStore, autojump_clock: MockClock) -> None:
    async def never(*_: object) -> None:
        await trio.sleep_forever()

    with pytest.MonkeyPatch.context() as patches:
        work: dict[type, Callable[..., Awaitable[object]]] = many_module._WORK
        patches.setitem(work, StartMany, never)
        async with open_stage(store) as stage:
            with pytest.raises(DeadlineExceeded):
                await stage.dispatch.call(InstanceKey("acme", "cli"), starts("a"), timeout=5)
            await trio.sleep(1)

            assert stage.facts(MANY) == {"under_way": 0}
