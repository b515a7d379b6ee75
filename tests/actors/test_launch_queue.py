from collections import Counter
from contextlib import suppress
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtara.actors._launch_queue import LaunchQueue
from runtara.ids import InstanceKey
from runtara.store import AGING_MS, DueInstance

IMAGE = f"image:{'a' * 32}@1"
OTHER = f"image:{'b' * 32}@1"


def due(tenant_id: str, name: str, wake_at: int = 0, priority: int = 0, program: str = "nap") -> DueInstance:
    return DueInstance(wake_at, InstanceKey(tenant_id, name), priority, program)


def drain(queue: LaunchQueue) -> list[tuple[str, str]]:
    return [tuple(queue.take().key) for _ in range(len(queue))]  # type: ignore[misc]  # a key is a pair


def test_one_tenant_is_served_in_order() -> None:
    queue = LaunchQueue()
    for name in "cab":
        queue.put(due("acme", name))

    assert drain(queue) == [("acme", "c"), ("acme", "a"), ("acme", "b")]


def test_tenants_take_turns_however_many_instances_each_has() -> None:
    queue = LaunchQueue()
    for number in range(5):
        queue.put(due("many", str(number)))
    queue.put(due("one", "x"))
    queue.put(due("two", "y"))
    queue.put(due("two", "z"))

    assert [tenant for tenant, _ in drain(queue)] == ["many", "one", "two", "many", "two", "many", "many", "many"]


def test_within_a_tenant_the_highest_priority_comes_first_and_then_whoever_waits_longest() -> None:
    queue = LaunchQueue()
    for name, wake_at, priority in [("a", 1, 0), ("b", 3, 5), ("c", 2, 5), ("d", 0, -5), ("e", 9, 100)]:
        queue.put(due("acme", name, wake_at, priority))

    assert [name for _, name in drain(queue)] == ["e", "c", "b", "a", "d"]


def test_the_priority_of_one_tenant_does_not_hold_up_another() -> None:
    queue = LaunchQueue()
    for number in range(3):
        queue.put(due("loud", str(number), priority=100))
    queue.put(due("quiet", "x", priority=-100))

    assert [tenant for tenant, _ in drain(queue)] == ["loud", "quiet", "loud", "loud"]


def test_who_may_not_go_is_passed_over_and_keeps_the_turn_of_his_tenant() -> None:
    queue = LaunchQueue()
    for tenant in ("full", "free", "also"):
        queue.put(due(tenant, "1"))
        queue.put(due(tenant, "2"))

    first = queue.take(lambda due: due.key.tenant_id != "full")
    second = queue.take()

    assert (first.key.tenant_id, second.key.tenant_id) == ("free", "full")


def test_an_image_that_is_full_holds_up_neither_other_programs_nor_other_images_of_its_tenant() -> None:
    queue = LaunchQueue()
    for nth, program in enumerate([IMAGE, IMAGE, OTHER, "nap", IMAGE]):
        queue.put(due("acme", str(nth), nth, program=program))

    taken = [queue.take(lambda due: due.program != IMAGE).key.instance_id for _ in range(2)]

    assert taken == ["2", "3"]
    with pytest.raises(KeyError):
        queue.take(lambda due: due.program != IMAGE)
    assert drain(queue) == [("acme", "0"), ("acme", "1"), ("acme", "4")]


def test_who_is_tried_again_stands_behind_those_who_waited_meanwhile() -> None:
    queue = LaunchQueue()
    queue.put(due("acme", "failed", 1), since=10)
    queue.put(due("acme", "waits", 5))

    assert drain(queue) == [("acme", "waits"), ("acme", "failed")]


def test_an_instance_that_is_put_again_keeps_its_turn_and_has_its_latest_time() -> None:
    queue = LaunchQueue()
    queue.put(due("acme", "a", 1))
    queue.put(due("acme", "b", 2))
    queue.put(due("acme", "a", 3))

    assert (len(queue), queue.take()) == (2, due("acme", "a", 3))


def test_an_instance_that_is_discarded_is_not_served() -> None:
    queue = LaunchQueue()
    queue.put(due("acme", "a"))
    queue.put(due("rival", "b"))

    queue.discard(InstanceKey("acme", "a"))
    queue.discard(InstanceKey("acme", "a"))
    queue.discard(InstanceKey("nobody", "a"))

    assert (len(queue), InstanceKey("acme", "a") in queue, InstanceKey("rival", "b") in queue) == (1, False, True)
    assert drain(queue) == [("rival", "b")]


def test_there_is_nothing_to_take_from_an_empty_queue() -> None:
    with pytest.raises(KeyError):
        LaunchQueue().take()


class Crowd(NamedTuple):
    """Who waits, and how many of each tenant and image may go."""

    waiting: list[DueInstance]
    per_tenant: int
    per_image: int


@st.composite
def crowds(draw: st.DrawFn) -> Crowd:
    fields = st.tuples(
        st.sampled_from("abc"), st.integers(0, 9), st.integers(-2, 2), st.sampled_from([IMAGE, OTHER, "nap"])
    )
    rows = draw(st.lists(fields, max_size=30))
    waiting = [due(tenant, str(nth), at, priority, program) for nth, (tenant, at, priority, program) in enumerate(rows)]
    return Crowd(waiting, draw(st.integers(1, 4)), draw(st.integers(1, 4)))


@given(crowds())
def test_nobody_goes_above_a_cap_and_whoever_is_left_could_not_go(crowd: Crowd) -> None:
    queue, gone = LaunchQueue(), list[DueInstance]()
    for one in crowd.waiting:
        queue.put(one)

    def may_go(due: DueInstance) -> bool:
        of_tenant = sum(other.key.tenant_id == due.key.tenant_id for other in gone)
        of_image = sum(other.program == due.program for other in gone if other.program != "nap")
        return of_tenant < crowd.per_tenant and of_image < crowd.per_image

    with suppress(KeyError):
        while True:
            gone.append(queue.take(may_go))
    left = [queue.take() for _ in range(len(queue))]

    assert sorted(one.key for one in gone + left) == sorted(one.key for one in crowd.waiting)
    assert not any(may_go(one) for one in left)
    assert max(Counter(one.key.tenant_id for one in gone).values(), default=0) <= crowd.per_tenant
    assert max(Counter(one.program for one in gone if one.program != "nap").values(), default=0) <= crowd.per_image


@given(crowds())
def test_those_of_a_tenant_and_an_image_go_by_priority_and_then_by_age(crowd: Crowd) -> None:
    queue = LaunchQueue()
    for one in crowd.waiting:
        queue.put(one)

    gone = [queue.take() for _ in range(len(queue))]

    for tenant in "abc":
        ranks = [(-one.priority, one.wake_at) for one in gone if one.key.tenant_id == tenant]
        assert ranks == sorted(ranks)


@given(st.lists(st.tuples(st.sampled_from(["put", "discard", "take"]), st.sampled_from("abc"), st.integers(0, 5))))
def test_everybody_is_served_once_in_the_order_of_his_tenant_and_waits_for_one_of_each_other_at_most(
    steps: list[tuple[str, str, int]],
) -> None:
    queue, rows, waited = LaunchQueue(), dict[str, list[str]](), dict[str, set[str]]()
    for step, tenant, number in steps:
        row = rows.setdefault(tenant, [])
        if step == "put" and str(number) not in row:
            waited.setdefault(tenant, set())
            row.append(str(number))
            queue.put(due(tenant, str(number)))
        elif step == "discard" and str(number) in row:
            row.remove(str(number))
            queue.discard(InstanceKey(tenant, str(number)))
        elif step == "take" and len(queue):
            key = queue.take().key
            assert key.instance_id == rows[key.tenant_id].pop(0)
            waited.pop(key.tenant_id)
            for other in (name for name, waiting in rows.items() if waiting and name != key.tenant_id):
                assert key.tenant_id not in waited[other], "nobody is served twice while another waits"
                waited[other].add(key.tenant_id)
            if rows[key.tenant_id]:
                waited[key.tenant_id] = set()
        waited = {name: seen for name, seen in waited.items() if rows[name]}
        assert len(queue) == sum(map(len, rows.values()))


def test_what_workers_run_grows_more_urgent_as_it_waits() -> None:
    queue, pooled = LaunchQueue(), "pool:a@1"
    queue.put(due("acme", "old", 0, 0, pooled))
    queue.put(due("acme", "late", AGING_MS + 1, 1, pooled))
    queue.put(due("acme", "soon", AGING_MS - 1, 1, pooled))

    assert drain(queue) == [("acme", "soon"), ("acme", "old"), ("acme", "late")]


def test_what_no_worker_can_take_holds_up_nothing_else() -> None:
    queue = LaunchQueue()
    queue.put(due("acme", "pooled", 0, 9, "pool:a@1"))
    queue.put(due("acme", "plain", 5))

    assert queue.take(lambda one: one.program == "nap").key.instance_id == "plain"
    assert len(queue) == 1
