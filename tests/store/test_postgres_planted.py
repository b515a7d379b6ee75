"""The checks of the PostgreSQL store have teeth: each bug that is planted makes one of them fail."""

import pytest

from runtara.errors import RuntaraError
from tests.store import postgres_checks
from tests.store.postgres_checks import CHECKS, Bench
from tests.store.postgres_planted import PLANTED, planting
from tests.store.test_postgres_faults import bench, fragile

__all__ = ["bench", "fragile"]


def test_every_bug_is_for_a_check_that_is_run_without_it() -> None:
    assert {bug.check.__name__ for bug in PLANTED.values()} <= CHECKS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_noticed(bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bug = PLANTED[name]
    monkeypatch.setattr(postgres_checks, "LIMIT_S", 3.0)

    with planting(bug), pytest.raises((AssertionError, pytest.fail.Exception, RuntaraError)):
        bug.check(bench)
