"""The tenure of a node: what it holds, for how long, and what is left of it."""

import pytest

from runtara.store import _tenure
from runtara.store._tenure import NodeSpec, Tenure

NOW_MS = 1_750_000_000_000


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the monotonic clock says."""
    now = [100.0]
    monkeypatch.setattr(_tenure, "monotonic", lambda: now[0])
    return now


def test_a_tenure_that_has_not_begun_holds_nothing() -> None:
    tenure = Tenure(NodeSpec())

    assert (tenure.holds, tenure.number, tenure.displaced) == (False, None, False)
    assert tenure.left < 0


def test_nodes_that_are_not_named_have_names_of_their_own() -> None:
    assert NodeSpec().name != NodeSpec().name


def test_a_tenure_holds_for_as_long_as_its_lease_counted_from_the_question(now_s: list[float]) -> None:
    tenure = Tenure(NodeSpec(lease_ms=10_000))
    tenure.begin(7, 3, 4711)
    now_s[0] = 104.0  # the answer has taken four seconds

    tenure.renewed(NOW_MS, 100.0)

    assert (tenure.number, tenure.incarnation, tenure.backend) == (7, 3, 4711)
    assert (tenure.holds, tenure.left) == (True, 6.0)
    now_s[0] = 109.999
    assert tenure.holds
    now_s[0] = 110.0
    assert (tenure.holds, tenure.left) == (False, 0.0)


def test_every_renewal_counts_from_its_own_question(now_s: list[float]) -> None:
    tenure = Tenure(NodeSpec(lease_ms=10_000))
    tenure.renewed(NOW_MS, 100.0)

    tenure.renewed(NOW_MS + 5_000, 105.0)

    assert tenure.until == 115.0


def test_a_renewal_sets_the_clock_that_all_nodes_share() -> None:
    tenure = Tenure(NodeSpec())

    tenure.renewed(NOW_MS, 0.0)

    assert 0 <= tenure.clock.now_ms() - NOW_MS < 60_000


def test_a_tenure_that_has_ended_holds_nothing_and_has_no_number() -> None:
    tenure = Tenure(NodeSpec(lease_ms=60_000))
    tenure.begin(7, 3, 4711)
    tenure.renewed(NOW_MS, _tenure.monotonic())

    tenure.ended()

    assert (tenure.holds, tenure.number) == (False, None)


@pytest.mark.parametrize("lasting", [True, False])
def test_whether_a_node_lasts_is_decided_by_its_spec_until_it_is_known_better(lasting: bool) -> None:
    assert Tenure(NodeSpec(lasting=lasting)).lasting is lasting
