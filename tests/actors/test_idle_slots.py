from runtara.actors._idle_slots import IdleSlots
from runtara.actors._pool_board import Group
from runtara.ids import InstanceKey

A, B = "pool:a@1", "pool:b@1"
BOTH, ONE = Group("acme", frozenset((A, B))), Group("acme", frozenset((A,)))
FIRST, SECOND = InstanceKey("acme", "1"), InstanceKey("acme", "2")


def test_a_slot_that_can_do_less_is_reckoned_with_first() -> None:
    slots = IdleSlots()
    slots.believe_all({BOTH: 1, ONE: 1})

    slots.take(FIRST, A)
    assert slots.can("acme", B)
    slots.take(SECOND, A)

    assert not slots.can("acme", A)
    assert not slots.can("acme", B)


def test_whoever_is_on_his_way_is_reckoned_with_until_he_has_got_there() -> None:
    slots = IdleSlots()
    slots.believe(ONE, 1)
    slots.take(FIRST, A)

    slots.believe(ONE, 2)  # one more is idle, and nobody has got there
    assert slots.total == 1
    slots.believe(ONE, 1, FIRST)

    assert slots.total == 1


def test_whoever_does_not_come_is_reckoned_with_no_more() -> None:
    slots = IdleSlots()
    slots.believe(ONE, 1)
    slots.take(FIRST, A)
    assert not slots.can("acme", A)

    slots.give_back(FIRST)
    slots.give_back(FIRST)

    assert slots.total == 1


def test_a_pool_that_has_begun_anew_knows_all_there_is() -> None:
    slots = IdleSlots()
    slots.believe_all({ONE: 3})
    slots.take(FIRST, A)

    slots.believe_all({BOTH: 2})

    assert slots.total == 2
    assert set(slots.programs()) == {("acme", A), ("acme", B)}


def test_the_slots_of_one_tenant_are_nothing_to_another() -> None:
    slots = IdleSlots()
    slots.believe(ONE, 1)

    assert not slots.can("rival", A)
