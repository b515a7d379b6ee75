from runtara.transport.budget import FAIR_BYTES, Budget


def test_who_fits_is_let_in_at_once() -> None:
    budget = Budget(100)
    called: list[str] = []

    let_in = [budget.reserve(60, lambda: called.append("a")), budget.reserve(40, lambda: called.append("b"))]

    assert let_in == [True, True]
    assert called == []
    assert budget.used == 100


def test_those_who_wait_are_let_in_in_their_order_when_there_is_room() -> None:
    budget = Budget(100)
    called: list[str] = []
    budget.reserve(90, lambda: None)

    waits = [
        budget.reserve(50, lambda: called.append("a")),
        budget.reserve(5, lambda: called.append("b")),
    ]
    budget.change(-30)
    before = list(called)
    budget.change(-20)

    assert waits == [False, False]
    assert before == []  # the second would fit, but comes after the first
    assert called == ["a", "b"]
    assert budget.used == 95


def test_a_frame_beyond_the_budget_is_let_in_alone() -> None:
    budget = Budget(100)

    assert budget.reserve(500, lambda: None)


def test_who_gives_up_waiting_lets_the_next_one_in() -> None:
    budget = Budget(100)
    called: list[str] = []
    budget.reserve(50, lambda: None)

    def first() -> None:
        called.append("a")

    budget.reserve(80, first)
    budget.reserve(20, lambda: called.append("b"))

    budget.withdraw(first)
    budget.withdraw(first)

    assert called == ["b"]


def test_only_who_holds_more_than_a_fair_share_is_to_blame_when_all_is_taken() -> None:
    budget = Budget(10 * FAIR_BYTES)

    budget.change(10 * FAIR_BYTES)
    full = budget.is_over(2 * FAIR_BYTES)
    budget.change(1)

    assert not full
    assert budget.is_over(FAIR_BYTES + 1)
    assert not budget.is_over(FAIR_BYTES)
