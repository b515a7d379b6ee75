from collections import Counter
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from runtara.actors._launch_places import LaunchPlaces
from runtara.actors._pool_board import Group
from runtara.ids import InstanceKey
from runtara.store import Barred, DueInstance

IMAGE, NEWER = f"image:{'a' * 32}@1", f"image:{'a' * 32}@2"


def due(name: str, tenant_id: str = "acme", program: str | None = "nap") -> DueInstance:
    return DueInstance(0, InstanceKey(tenant_id, name), 0, program)


def places_for(most: float = 10, per_tenant: float = inf, cap: float = inf) -> LaunchPlaces:
    return LaunchPlaces(most, per_tenant, lambda tenant_id, program: cap if program.startswith("image:") else inf)


def test_a_place_is_taken_from_the_wake_up_until_the_process_is_gone() -> None:
    places = places_for(most=2)
    one = due("one")

    places.wake(one)
    waking = (places.waking, places.in_use, places.free)
    places.woken(one.key, claimed=True)
    woken = (places.waking, places.in_use, places.free)
    places.freed(one.key)

    assert (waking, woken) == ((1, 0, 1), (0, 1, 1))
    assert (places.in_use, places.taken, places.free) == (0, 0, 2)


def test_a_wake_up_that_leads_to_nothing_takes_no_place() -> None:
    places = places_for()

    places.wake(due("one"))
    places.woken(due("one").key, claimed=False)

    assert (places.taken, places.in_use) == (0, 0)


def test_an_instance_whose_earlier_process_is_still_leaving_needs_no_second_place() -> None:
    places = places_for(per_tenant=1)
    one = due("one")
    places.believe({one.key: "nap"})

    may_go = (places.may_go(one), places.may_go(due("two")))
    places.wake(one)
    taken = places.taken
    places.freed(one.key)  # the earlier one
    while_waking = places.taken
    places.woken(one.key, claimed=True)

    assert may_go == (True, False)
    assert (taken, while_waking, places.taken) == (1, 1, 1)


def test_a_tenant_at_its_cap_waits_and_the_others_do_not() -> None:
    places = places_for(per_tenant=2)
    for name in ("one", "two"):
        places.wake(due(name))

    assert not places.may_go(due("three"))
    assert places.may_go(due("three", "rival"))
    assert places.full_tenants() == ("acme",)


def test_the_versions_of_an_image_share_its_cap_and_other_programs_do_not() -> None:
    places = places_for(cap=1)
    places.wake(due("one", program=IMAGE))
    known = [("acme", IMAGE), ("acme", NEWER)]

    full = places.full_programs(known)
    places.freed(due("one").key)
    places.woken(due("one").key, claimed=False)

    assert full == (IMAGE, NEWER)
    assert places.full_programs(known) == ()


def test_nobody_of_an_image_goes_as_long_as_its_cap_is_not_known() -> None:
    places = places_for(cap=0)

    assert not places.may_go(due("one", program=IMAGE))
    assert places.may_go(due("two"))


def test_where_places_are_no_limit_nobody_is_at_a_cap() -> None:
    places = places_for(most=inf, per_tenant=1, cap=0)
    places.wake(due("one"))
    places.woken(due("one").key, claimed=True)

    assert places.may_go(due("two", program=IMAGE))
    assert (places.in_use, places.taken) == (0, 0)


def test_what_the_runner_says_counts_more_than_what_was_known() -> None:
    places = places_for(cap=2)
    places.believe({due("one").key: IMAGE, due("two").key: None})

    places.believe({due("two").key: None, due("three").key: IMAGE})

    assert (places.in_use, places.taken) == (2, 2)
    assert places.may_go(due("four", program=IMAGE))


POOLED = "pool:a@1"
GROUP = Group("acme", frozenset((POOLED,)))


def test_what_a_worker_runs_takes_its_slot_and_no_place_of_the_host() -> None:
    places = places_for(most=1)
    places.wake(due("process"))
    places.idle.believe(GROUP, 1)
    one = due("one", program=POOLED)

    may = (places.may_go(one), places.may_go(due("other")), places.room)
    places.wake(one)
    places.woken(one.key, claimed=True, pooled=True)

    reckoned = (places.may_go(due("two", program=POOLED)), places.taken, places.in_use, places.room)
    places.idle.believe(GROUP, 1, one.key)

    assert [*may, *reckoned] == [True, False, 1, False, 1, 0, 0]
    assert places.may_go(due("two", program=POOLED))


def test_a_slot_that_was_not_needed_is_free_for_another() -> None:
    places = places_for(most=inf)
    places.idle.believe(GROUP, 1)
    places.wake(due("one", program=POOLED))

    places.woken(due("one").key, claimed=False, pooled=True)

    assert places.may_go(due("two", program=POOLED))
    assert not places.may_go(due("two", "rival", program=POOLED))


def test_without_a_place_nothing_goes_but_what_workers_run() -> None:
    places = places_for(most=1)
    places.idle.believe(GROUP, 2)
    barred = [places.barred(())]
    places.wake(due("process"))
    barred.append(places.barred(()))

    assert barred == [Barred((), (), (("acme", POOLED),), only, 2) for only in (False, True)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["wake", "claimed", "ignored", "freed", "believe"]),
            st.sampled_from(["a", "b"]),
            st.integers(0, 3),
        )
    )
)
def test_the_counts_are_those_of_who_has_a_place(steps: list[tuple[str, str, int]]) -> None:
    places, waking, in_use = places_for(most=99), set[InstanceKey](), set[InstanceKey]()
    for step, tenant_id, number in steps:
        one = due(str(number), tenant_id, IMAGE if number % 2 else "nap")
        if step == "wake":
            places.wake(one)
            waking.add(one.key)
        elif step in ("claimed", "ignored") and one.key in waking:
            places.woken(one.key, claimed=step == "claimed")
            waking.discard(one.key)
            in_use.update({one.key} if step == "claimed" else ())
        elif step == "freed":
            places.freed(one.key)
            in_use.discard(one.key)
        elif step == "believe":
            places.believe({one.key: one.program})
            in_use = {one.key}

    expected = waking | in_use
    assert (places.waking, places.in_use, places.taken) == (len(waking), len(in_use), len(expected))
    assert places._of_tenant == Counter(key.tenant_id for key in expected)
    assert places._of_image.total() == sum(int(key.instance_id) % 2 for key in expected)
