"""What a node knows of its own tenure, and when it may still rely on it."""

import pytest

from runtara.store import NodeSpec, Tenure, _tenure


class Watch:
    """The monotonic clock of this process, in the hand of a test."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    monkeypatch.setattr(_tenure, "monotonic", watch)
    return watch


def test_before_the_first_answer_nothing_is_held(watch: Watch) -> None:
    tenure = Tenure(NodeSpec())

    assert not tenure.holds
    assert tenure.number is None


def test_a_lease_counts_from_the_moment_when_it_was_asked_for(watch: Watch) -> None:
    tenure = Tenure(NodeSpec(lease_ms=10_000))
    asked_at = watch.now
    watch.now += 4
    tenure.renewed(1_750_000_000_000, asked_at)

    left = tenure.left
    watch.now = asked_at + 9.9
    before = tenure.holds
    watch.now = asked_at + 10

    assert left == 6
    assert (before, tenure.holds) == (True, False)
    assert tenure.left == 0


def test_a_renewal_in_time_goes_on(watch: Watch) -> None:
    tenure = Tenure(NodeSpec(lease_ms=1_000))
    for _ in range(10):
        tenure.renewed(1_750_000_000_000, watch.now)
        watch.now += 0.9

        assert tenure.holds


def test_a_node_that_stood_still_holds_nothing_when_it_goes_on(watch: Watch) -> None:
    tenure = Tenure(NodeSpec(lease_ms=1_000))
    tenure.renewed(1_750_000_000_000, watch.now)
    watch.now += 300

    assert not tenure.holds
    assert tenure.left == -299


def test_what_has_ended_has_neither_number_nor_lease(watch: Watch) -> None:
    tenure = Tenure(NodeSpec())
    tenure.begin(7, 2, 4711)
    tenure.renewed(1_750_000_000_000, watch.now)
    tenure.ended()

    assert tenure.number is None
    assert not tenure.holds


def test_the_clock_is_the_stores(watch: Watch) -> None:
    tenure = Tenure(NodeSpec())
    tenure.renewed(1_750_000_000_000, watch.now)

    assert 0 <= tenure.clock.now_ms() - 1_750_000_000_000 < 10**12


def test_nodes_that_are_given_no_name_have_different_ones() -> None:
    assert NodeSpec().name != NodeSpec().name
