import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtara.actors._launch_queue import LaunchQueue
from runtara.ids import InstanceKey
from runtara.store import DueInstance


def due(tenant_id: str, name: str, wake_at: int = 0) -> DueInstance:
    return DueInstance(wake_at, InstanceKey(tenant_id, name))


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
