from math import inf

import pytest
import trio
import trio.testing

from runtara.actors import Reply
from runtara.actors._reply import Deadlines
from runtara.errors import DeadlineExceeded, OutcomeUnknown
from tests.actors.troupe import idle


@pytest.fixture
async def deadlines(nursery: trio.Nursery) -> Deadlines:
    made = Deadlines()
    nursery.start_soon(made.run)
    return made


def reply(deadlines: Deadlines, log: list[Reply], deadline: float = inf) -> Reply:
    return Reply("a", deadline, deadlines, log.append)


async def test_a_reply_is_settled_once(deadlines: Deadlines, autojump_clock: object) -> None:
    log: list[Reply] = []
    answer = reply(deadlines, log)

    answer.settle(1)
    answer.settle(2)
    answer.fail(ValueError())

    assert answer.result() == 1
    assert log == [answer]


async def test_a_failed_reply_raises(deadlines: Deadlines, autojump_clock: object) -> None:
    answer = reply(deadlines, [])

    answer.fail(ValueError("no"))

    with pytest.raises(ValueError, match="no"):
        answer.result()


async def test_a_task_that_waits_is_given_the_answer(
    deadlines: Deadlines, nursery: trio.Nursery, autojump_clock: object
) -> None:
    answers: list[object] = []

    async def ask() -> None:
        answer = Reply("a", inf, deadlines, trio.lowlevel.current_task())
        nursery.start_soon(answer_later, answer)
        answers.append(await answer.wait())

    async def answer_later(answer: Reply) -> None:
        await idle()
        answer.settle("yes")

    nursery.start_soon(ask)
    await idle()
    await idle()

    assert answers == ["yes"]


async def test_an_answer_that_was_there_before_the_wait_is_given_at_once(
    deadlines: Deadlines, autojump_clock: object
) -> None:
    answer = Reply("a", inf, deadlines, trio.lowlevel.current_task())

    answer.settle("early")

    assert await answer.wait() == "early"


async def test_a_waiter_that_is_cancelled_waits_no_more(deadlines: Deadlines, autojump_clock: object) -> None:
    answer = Reply("a", 1e9, deadlines, trio.lowlevel.current_task())

    with trio.move_on_after(0):
        await answer.wait()

    assert answer.waiter is None
    assert not deadlines._buckets


async def test_answers_at_once_let_others_run_now_and_then(
    deadlines: Deadlines, nursery: trio.Nursery, autojump_clock: object
) -> None:
    others: list[str] = []

    async def other() -> None:
        others.append("ran")

    nursery.start_soon(other)
    for _ in range(64):
        answer = Reply("a", inf, deadlines, trio.lowlevel.current_task())
        answer.settle(None)
        await answer.wait()

    assert others == ["ran"]


async def test_a_deadline_is_kept_at_most_a_hundredth_of_a_second_late_and_never_early(
    deadlines: Deadlines, autojump_clock: object
) -> None:
    log: list[float] = []
    due = [trio.current_time() + after for after in (0.5, 0.001, 3.0, 0.5, 0.507)]
    for deadline in due:
        Reply("a", deadline, deadlines, lambda _: log.append(trio.current_time()))

    await trio.sleep(4)

    assert len(log) == len(due)
    assert all(at <= happened <= at + 0.0101 for at, happened in zip(sorted(due), log, strict=True))


async def test_an_expired_reply_says_so(deadlines: Deadlines, autojump_clock: object) -> None:
    answer = reply(deadlines, [], trio.current_time() + 1)

    await trio.sleep(2)

    with pytest.raises(DeadlineExceeded, match="a did not answer in time"):
        answer.result()


async def test_a_deadline_that_comes_before_all_others_is_kept_in_time(
    deadlines: Deadlines, autojump_clock: object
) -> None:
    later: list[Reply] = []
    sooner: list[Reply] = []
    reply(deadlines, later, trio.current_time() + 9)
    await trio.sleep(1)

    reply(deadlines, sooner, trio.current_time() + 1)
    await trio.sleep(1.5)

    assert (len(later), len(sooner)) == (0, 1)


async def test_replies_that_are_settled_leave_nothing_behind(deadlines: Deadlines, autojump_clock: object) -> None:
    answers = [reply(deadlines, [], deadline) for deadline in (inf, trio.current_time() + 1, trio.current_time() + 1)]

    for answer in answers:
        answer.settle(None)

    assert not deadlines._buckets


async def test_closing_answers_whatever_is_open_that_its_outcome_is_unknown(
    deadlines: Deadlines, autojump_clock: object
) -> None:
    answers = [reply(deadlines, [], deadline) for deadline in (inf, trio.current_time() + 1)]

    deadlines.close()

    assert [type(answer.error) for answer in answers] == [OutcomeUnknown, OutcomeUnknown]
