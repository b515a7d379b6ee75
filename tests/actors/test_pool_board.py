"""What a pool's board promises: whoever fits and has waited longest, and nobody of another tenant."""

from hypothesis import given
from hypothesis import strategies as st

from runtara.actors._pool_board import Board, Group, Slot, SlotId, Work, WorkerId, aged
from runtara.store import AGING_MS

A, B = "pool:a@1", "pool:b@1"


def slot(name: str = "w", *programs: str, tags: tuple[str, ...] = (), number: int = 0, tenant: str = "acme") -> Slot:
    return Slot(SlotId(WorkerId(tenant, name), number), frozenset(programs or (A,)), frozenset(tags))


def work(
    item: str, program: str = A, *, since: int = 0, kind: int = 0, tags: tuple[str, ...] = (), tenant: str = "acme"
) -> Work[str]:
    return Work((kind, since), tenant, program, frozenset(tags), item)


def test_work_goes_to_an_idle_slot_that_can_run_it() -> None:
    board = Board[str]()
    board.park(slot("other", B))
    board.park(slot("able"))

    assert board.put(work("one")) == slot("able")
    assert board.put(work("two")) is None
    assert (board.idle, board.waiting) == (1, 1)


def test_a_slot_gets_what_has_begun_first_and_then_what_has_waited_longest() -> None:
    board = Board[str]()
    for one in (work("late", since=2), work("lead", kind=1), work("early", since=1), work("as early", since=1)):
        board.put(one)

    order = [found.item for _ in range(4) if (found := board.take(slot()))]

    assert order == ["early", "as early", "late", "lead"]
    assert board.take(slot()) is None


def test_nothing_goes_to_a_worker_of_another_tenant() -> None:
    board = Board[str]()
    board.park(slot(tenant="rival"))

    assert board.put(work("one")) is None
    assert board.take(slot("another", tenant="rival")) is None


def test_a_tagged_worker_takes_what_has_no_other_tags_and_an_untagged_one_takes_everything() -> None:
    board = Board[str]()
    board.put(work("large", tags=("large",)))
    board.put(work("plain", since=1))

    first = board.take(slot(tags=("small",)))
    second = board.take(slot(tags=("small", "large")))

    assert first is not None
    assert first.item == "plain"
    assert second is not None
    assert second.item == "large"
    board.put(work("any", tags=("large", "small")))
    assert board.take(slot(tags=("large",))) is None
    assert board.take(slot()) is not None


def test_what_can_do_less_goes_before_what_can_do_everything() -> None:
    board = Board[str]()
    board.park(slot("everything"))
    board.park(slot("two", tags=("large", "small")))
    board.park(slot("one", tags=("large",)))

    found = [board.put(work(name, tags=("large",))) for name in "abc"]

    assert [one and one.id.worker.name for one in found] == ["one", "two", "everything"]


def test_a_slot_to_which_nobody_listens_any_more_gets_nothing_and_is_gone() -> None:
    board = Board[str]()
    board.park(slot("gone"))
    board.park(slot("here"))

    found = board.put(work("one"), is_open=lambda one: one.id.worker.name == "here")

    assert found == slot("here")
    assert board.idle == 0


def test_idle_slots_are_counted_by_what_they_can_run() -> None:
    board = Board[str]()
    for one in (slot("w", A, number=0), slot("w", A, number=1), slot("v", A, B)):
        board.park(one)
    both, only = Group("acme", frozenset((A, B))), Group("acme", frozenset((A,)))

    assert board.groups() == {only: 2, both: 1}
    assert board.unpark(slot("w", A).id) is not None
    assert board.unpark(slot("w", A).id) is None
    assert (board.count(only), board.count(both)) == (1, 1)


def test_what_waits_can_be_taken_back_once() -> None:
    board, item = Board[str](), "one"
    board.put(work(item))

    assert board.discard("acme", item)
    assert not board.discard("acme", item)
    assert board.waiting == 0


def test_one_step_of_priority_is_worth_so_much_waiting_and_no_more() -> None:
    assert aged(AGING_MS, 1) == aged(0, 0)
    assert aged(AGING_MS + 1, 1) > aged(0, 0) > aged(AGING_MS - 1, 1)


SLOTS = st.tuples(st.integers(0, 3), st.sets(st.sampled_from((A, B)), min_size=1), st.sets(st.sampled_from("xy")))
WORKS = st.tuples(st.sampled_from((A, B)), st.sets(st.sampled_from("xy")), st.integers(0, 5))


@given(st.lists(SLOTS | WORKS, max_size=30))
def test_what_fits_together_never_stands_on_the_board_at_the_same_time(steps: list[tuple[object, ...]]) -> None:
    board, idle, waiting = Board[int](), dict[SlotId, Slot](), dict[int, Work[int]]()
    for i, step in enumerate(steps):
        if isinstance(step[0], int):
            one = Slot(SlotId(WorkerId("acme", str(i)), step[0]), frozenset(step[1]), frozenset(step[2]))  # type: ignore[call-overload]  # a tuple of `SLOTS`
            taken = board.take(one)
            if taken is None:
                board.park(one)
                idle[one.id] = one
            else:
                assert waiting.pop(taken.item).fits(one)
        else:
            new = Work((0, step[2]), "acme", step[0], frozenset(step[1]), i)  # type: ignore[call-overload, arg-type]  # a tuple of `WORKS`
            found = board.put(new)
            if found is None:
                waiting[i] = new
            else:
                assert new.fits(idle.pop(found.id))
        assert not any(one.fits(other) for one in waiting.values() for other in idle.values())
        assert (board.idle, board.waiting) == (len(idle), len(waiting))
