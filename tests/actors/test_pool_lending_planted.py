"""The tests of lending have teeth: each bug that is planted makes one of them fail."""

from typing import Any

import pytest
import trio

from runtara.actors import _pool_board as board
from runtara.actors import _pool_lending as lends
from runtara.actors import pool as the_pool
from runtara.actors._pool_borrowing import Borrowing
from runtara.actors._pool_hands import Hands
from runtara.actors._pool_lending import Lending
from runtara.actors.pool import Pool
from runtara.errors import RuntaraError
from tests.actors import test_pool_lending as checks
from tests.actors.test_pool_lending import village
from tests.actors.village import Village
from tests.crash.planted import Planted, planting

__all__ = ["village"]

Check = Any
"""One of the tests; Any: each takes what it needs."""


def _nothing(*_: object) -> None:
    """Do nothing."""


async def _nothing_soon(*_: object) -> None:
    """Do nothing, and wait for nothing."""


def _not_kept(patches: pytest.MonkeyPatch) -> None:
    patches.setattr(Borrowing, "_keep_soon", _nothing)


def _loss_not_told(patches: pytest.MonkeyPatch) -> None:
    patches.setattr(Hands, "_take_from", lambda hands, worker_id, claim_id, *, tell: None)


def _cut_not_noticed(patches: pytest.MonkeyPatch) -> None:
    patches.setattr(Borrowing, "_is_silent", lambda pool, lender: False)


def _not_given_back(patches: pytest.MonkeyPatch) -> None:
    patches.setattr(Borrowing, "_pay", _nothing)


def _lost_answer_forgotten(patches: pytest.MonkeyPatch) -> None:
    patches.setattr(Borrowing, "_owe", _nothing)


def _not_returned(patches: pytest.MonkeyPatch) -> None:
    patches.setattr(Borrowing, "return_all", _nothing_soon)


def _outcome_forgotten(patches: pytest.MonkeyPatch) -> None:
    patches.setattr(Borrowing, "was_finished", _nothing)


def _outcome_dropped(patches: pytest.MonkeyPatch) -> None:
    right = Borrowing.finish_loan

    def finish(pool: Borrowing, worker: Any, loan: Any, command: Any) -> Any:
        worker.drop(loan.claim_id)
        return right(pool, worker, loan, command)

    patches.setattr(Borrowing, "finish_loan", finish)


def _said_once(patches: pytest.MonkeyPatch) -> None:
    right = Lending._say_in

    def say_in(pool: Lending, delay: float, cry: Any) -> None:
        if delay == lends.SAY_AFTER:
            right(pool, delay, cry)

    patches.setattr(Lending, "_say_in", say_in)


def _not_said_anew(patches: pytest.MonkeyPatch) -> None:
    right = Lending.lend

    def lend(pool: Lending, worker_id: Any, command: Any) -> Any:
        try:
            return right(pool, worker_id, command)
        finally:
            for cry in pool._cries.values():
                cry.is_old = False

    patches.setattr(Lending, "lend", lend)


def _tags_ignored(patches: pytest.MonkeyPatch) -> None:
    patches.setattr(board.Work, "fits", lambda work, slot: work.program in slot.programs)


def _tenants_ignored(patches: pytest.MonkeyPatch) -> None:
    patches.setattr(board.Board, "idle_of", lambda board, tenant_id: list(board._idle.values()))


def _instances_lent(patches: pytest.MonkeyPatch) -> None:
    patches.setattr(lends, "_is_task", lambda item: True)


def _names_shared(patches: pytest.MonkeyPatch) -> None:
    patches.setattr(the_pool, "WorkerId", lambda tenant_id, name, is_node: board.WorkerId(tenant_id, name))


def _withdrawn_from_others(patches: pytest.MonkeyPatch) -> None:
    right = Pool._withdraw

    def withdraw(pool: Pool, key: Any, command: Any) -> bool:
        offer = pool._offers.get(key, {}).get(command.place)
        if offer is not None and offer.worker is not None and offer.worker.is_node:
            pool._drop_offer(offer)
        return right(pool, key, command)

    patches.setattr(the_pool.Pool, "_withdraw", withdraw)


PLANTED: dict[str, tuple[Check, Planted]] = {
    name: (check, Planted(breaks, check.__name__, patch))
    for name, breaks, check, patch in [
        (
            "not-kept",
            "what is worked on stays lent",
            checks.test_a_task_that_takes_longer_than_the_lease_between_two_nodes_stays_where_it_is,
            _not_kept,
        ),
        (
            "loss-not-told",
            "who works in vain is told",
            checks.test_a_task_of_an_instance_that_is_cancelled_is_stopped_wherever_it_runs,
            _loss_not_told,
        ),
        (
            "cut-not-noticed",
            "no task is worked on for ever that others may have",
            checks.test_what_two_nodes_that_are_cut_off_have_lent_is_run_at_home_and_left_elsewhere,
            _cut_not_noticed,
        ),
        (
            "not-given-back",
            "what nobody works on goes to others",
            checks.test_a_slot_that_is_gone_when_the_task_comes_has_it_given_back,
            _not_given_back,
        ),
        (
            "lost-answer-forgotten",
            "what was lent and not heard of goes to others",
            checks.test_a_task_whose_lending_was_not_heard_of_is_given_back,
            _lost_answer_forgotten,
        ),
        (
            "not-returned",
            "who goes down leaves nothing waiting",
            checks.test_what_a_node_has_borrowed_that_goes_down_is_run_by_others_at_once,
            _not_returned,
        ),
        (
            "outcome-forgotten",
            "an outcome that is told again counts once and is answered alike",
            checks.test_a_task_goes_to_a_slot_that_waits_at_another_node_and_its_outcome_comes_back,
            _outcome_forgotten,
        ),
        (
            "outcome-dropped",
            "an outcome is kept until the lender has it",
            checks.test_an_outcome_whose_answer_was_lost_is_told_again_and_counts,
            _outcome_dropped,
        ),
        (
            "said-once",
            "what was said and not heard is said again",
            checks.test_a_newcomer_is_told_what_has_waited_before_it_came,
            _said_once,
        ),
        (
            "not-said-anew",
            "who has found nothing hears when there is something",
            checks.test_who_has_found_nothing_is_told_of_the_next_task_at_once,
            _not_said_anew,
        ),
        (
            "tags-ignored",
            "a task runs only where its tags are",
            checks.test_a_task_goes_to_no_worker_that_has_not_its_tags,
            _tags_ignored,
        ),
        (
            "tenants-ignored",
            "a tenant's task runs at its own workers",
            checks.test_another_tenants_worker_gets_nothing_whatever_it_runs,
            _tenants_ignored,
        ),
        (
            "names-shared",
            "no worker is taken for a node",
            checks.test_a_worker_that_has_the_name_of_a_node_takes_nothing_from_it,
            _names_shared,
        ),
        (
            "instances-lent",
            "an instance is led where it was claimed",
            checks.test_a_whole_instance_is_not_lent,
            _instances_lent,
        ),
        (
            "withdrawn-from-others",
            "what somebody works on is not withdrawn",
            checks.test_what_another_node_works_on_is_not_withdrawn,
            _withdrawn_from_others,
        ),
    ]
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
async def test_a_planted_bug_is_caught_by_its_check(
    name: str, village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, bug = PLANTED[name]
    monkeypatch.setattr(checks, "WAIT_MS", 2_500)
    with planting(bug), pytest.raises((AssertionError, trio.TooSlowError, RuntaraError, ExceptionGroup)) as caught:
        await checks.run(check, village, monkeypatch)

    assert is_of_the_check(caught.value), f"{bug.breaks}: {caught.value!r}"


def is_of_the_check(error: BaseException) -> bool:
    """Whether it was the check that has failed, and not what it looks at."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_of_the_check, error.exceptions))
    return isinstance(error, (AssertionError, trio.TooSlowError, RuntaraError))
