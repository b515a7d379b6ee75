from runtara.actors import _pool_loans as loans
from runtara.actors._pool_board import Kind, Slot, SlotId, WorkerId
from runtara.actors._pool_checks import SLOTS_MAX
from runtara.actors._pool_loans import Lender, Loan
from runtara.messages import TaskClaim

A, B = "pool:a@1", "pool:b@1"
LEASE = 10.0


def kind(*programs: str, tags: tuple[str, ...] = ()) -> Kind:
    return Kind.of(Slot(SlotId(WorkerId("acme", "w"), 0), frozenset(programs), frozenset(tags)))


def lent(lender: Lender, number: int) -> Loan:
    task = TaskClaim(claim_id=f"c{number}", instance_id="one", program=A, place="t", payload=b"")
    loan = lender.loans[task.claim_id] = Loan(task, number, lender, lambda _: None)
    return loan


def test_news_are_believed_for_a_while_by_slots_that_can_run_the_program() -> None:
    lender = Lender(1, "acme")
    lender.has_news(A, until=5)

    assert [lender.may_have(kind(*programs), 4) for programs in ((A,), (A, B), (B,), ())] == [True, True, False, False]
    assert not lender.may_have(kind(A), 5)


def test_what_has_found_nothing_asks_again_when_there_are_news_for_it() -> None:
    lender = Lender(1, "acme")
    lender.has_news(A, until=5)
    lender.has_nothing(kind(A), lender.told)

    assert not lender.may_have(kind(A), 1)
    assert lender.may_have(kind(A, tags=("gpu",)), 1)
    lender.has_news(B, until=5)
    assert not lender.may_have(kind(A), 1)
    lender.has_news(A, until=5)
    assert lender.may_have(kind(A), 1)


def test_of_a_lender_that_is_gone_nothing_is_believed_until_it_says_something() -> None:
    lender = Lender(1, "acme")
    lender.has_news(A, until=5)
    lender.is_gone(lender.told)

    assert not lender.may_have(kind(A), 1)


def test_news_that_came_while_a_lender_was_asked_are_newer_than_its_answer() -> None:
    lender = Lender(1, "acme")
    lender.has_news(A, until=5)
    asked = lender.told
    lender.has_news(A, until=5)

    lender.has_nothing(kind(A), asked)
    lender.is_gone(asked)

    assert lender.may_have(kind(A), 1)


def test_a_slot_there_is_used_again_once_it_is_known_to_work_on_nothing() -> None:
    lender = Lender(1, "acme")
    lent(lender, 0)
    lender.debts.add(1)

    assert lender.free_number() == 2
    lender.debts.clear()
    assert lender.free_number() == 1
    for number in range(SLOTS_MAX):
        lent(lender, number)
    assert lender.free_number() is None


def test_a_lender_is_forgotten_once_nothing_is_lent_owed_or_believed() -> None:
    lender = Lender(1, "acme")
    assert lender.is_idle(0, LEASE)

    lender.has_news(A, until=5)
    assert [lender.is_idle(now, LEASE) for now in (4, 5)] == [False, True]
    loan = lent(lender, 0)
    assert not lender.is_idle(5, LEASE)
    del lender.loans[loan.claim_id]
    lender.debts.add(0)
    lender.asked_at = 5
    assert [lender.is_idle(now, LEASE) for now in (24, 25)] == [False, True]


def test_what_is_remembered_is_bounded() -> None:
    lender = Lender(1, "acme")
    for number in range(loans.NEWS_MAX + 1):
        lender.has_news(f"pool:{number}", until=5)
        lender.has_nothing(kind(f"pool:{number}", "pool:other"), lender.told)

    assert not lender.may_have(kind("pool:0"), 1)
    assert lender.may_have(kind(f"pool:{loans.NEWS_MAX}"), 1)
