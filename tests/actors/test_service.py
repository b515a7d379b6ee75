import signal
from math import inf
from typing import Any

import pytest
import trio
import trio.testing

from runtara.actors import Actor, Child, Down, Intensity, child, hears
from runtara.actors._deferred import Deferred
from runtara.actors._reply import Reply
from runtara.actors._slot import current_frame
from runtara.errors import ActorFailed, DeadlineExceeded, InvalidInput, OutcomeUnknown
from tests.actors.troupe import (
    Boom,
    Fail,
    Forward,
    Gate,
    Hold,
    Later,
    Recorder,
    Run,
    Worker,
    caught,
    died,
    idle,
    one,
)

BOTH = pytest.mark.parametrize("kind", [Worker, Recorder], ids=["answered at once", "answered from the mailbox"])
"""The same semantics, whether an idle actor answers in the asker's task or in its own."""


class Loud(Worker):
    def add(self, number: int) -> int:  # overrides a handler, without marking it again
        return -number


class Hums:
    @hears(float)
    def hum(self, note: float) -> str:
        return f"hum {note}"


class Sings(Hums, Worker):
    pass


@BOTH
async def test_an_actor_answers_one_message_after_the_other(kind: type[Worker]) -> None:
    async with one(kind) as system:
        ref = system.ref("root/it")

        answers = [await ref.ask(number) for number in (1, 2, 3)]

        assert answers == [1, 3, 6]
        assert ref.slot.handled == 3


@BOTH
async def test_a_refusal_reaches_the_asker_and_the_actor_carries_on(kind: type[Worker]) -> None:
    async with one(kind) as system:
        ref = system.ref("root/it")
        await ref.ask(1)

        error = await caught(ref, "not so")

        assert isinstance(error, InvalidInput)
        assert str(error) == "not so"
        assert await ref.ask(1) == 2


@BOTH
@pytest.mark.parametrize("failure", [Boom("boom"), SystemExit(3), KeyboardInterrupt(), BaseException("base")])
async def test_any_other_exception_crashes_the_actor_and_asker_and_supervisor_see_it(
    kind: type[Worker], failure: BaseException, autojump_clock: object
) -> None:
    async with one(kind) as system:
        ref = system.ref("root/it")
        await ref.ask(1)

        error = await caught(ref, Fail(failure))

        assert isinstance(error, ActorFailed)
        assert error.__cause__ is failure
        await died(ref)
        assert ref.slot.failure is failure
        assert await ref.ask(1) == 1


@BOTH
async def test_an_async_handler_that_raises_crashes_the_actor(kind: type[Worker], autojump_clock: object) -> None:
    async def fail(_: Worker) -> None:
        await idle()
        raise Boom("late")

    async with one(kind) as system:
        ref = system.ref("root/it")

        error = await caught(ref, Later(fail))

        assert isinstance(error, ActorFailed)
        assert isinstance(error.__cause__, Boom)
        assert await ref.ask(1) == 1
        assert ref.slot.restarts == 1


@BOTH
async def test_an_async_handler_may_refuse_also_from_inside_a_nursery(kind: type[Worker]) -> None:
    async def refuse(_: Worker) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise InvalidInput("no")

    async with one(kind) as system:
        error = await caught(system.ref("root/it"), Later(refuse))

        assert isinstance(error, InvalidInput)
        assert system.ref("root/it").slot.restarts == 0


@BOTH
async def test_what_nobody_hears_is_refused(kind: type[Worker]) -> None:
    async with one(kind) as system:
        error = await caught(system.ref("root/it"), 1.5)

        assert isinstance(error, InvalidInput)
        assert "root/it does not hear float: it hears" in str(error)


@BOTH
async def test_an_answer_may_be_called_back(kind: type[Worker], autojump_clock: object) -> None:
    async def later(_: Worker) -> int:
        await trio.sleep(1)
        return 7

    replies: list[Reply] = []
    at_once: list[int] = []
    async with one(kind) as system:
        ref = system.ref("root/it")
        await idle()

        for message in (1, "not so", Later(later), Fail(Boom("boom"))):
            ref.ask_then(message, replies.append)
            at_once.append(len(replies))
            await trio.sleep(2)

    first, refused, late, crashed = replies
    assert (first.value, late.value) == (1, 7)
    assert isinstance(refused.error, InvalidInput)
    assert isinstance(crashed.error, ActorFailed)
    assert at_once == ([1, 2, 2, 4] if kind is Worker else [0, 1, 2, 3])


async def test_a_tell_that_is_refused_is_a_dead_letter() -> None:
    async with one(Worker) as system:
        ref = system.ref("root/it")

        ref.tell_nowait("no")
        ref.slot.mailbox.put_control("never")
        await idle()

        assert system.dead_letters.counts == {"refused": 2}
        assert ref.slot.restarts == 0


async def test_a_tell_that_crashes_the_actor_is_a_dead_letter(autojump_clock: object) -> None:
    async with one(Worker) as system:
        ref = system.ref("root/it")

        ref.tell_nowait(Fail())
        await died(ref)

        assert [letter.reason for letter in system.dead_letters.recent] == ["failed"]


@BOTH
async def test_an_async_handler_has_the_next_message_wait(kind: type[Worker]) -> None:
    log: list[Any] = []
    async with one(kind, log) as system, trio.open_nursery() as nursery:
        ref, gate = system.ref("root/it"), Gate()
        nursery.start_soon(ref.ask, Hold(gate))
        await gate.entered.wait()
        nursery.start_soon(ref.ask, 1)
        await idle()
        waited = list(log)

        gate.open.set()
        await ref.ask(2)

        assert waited == ["worker starts"]
        assert log[1:] == [1, 2]


@BOTH
async def test_an_asker_that_goes_away_while_its_message_is_in_hand_does_not_disturb_the_handler(
    kind: type[Worker],
) -> None:
    async with one(kind) as system:
        ref, gate, done = system.ref("root/it"), Gate(), []

        async def work(_: Worker) -> None:
            gate.entered.set()
            await gate.open.wait()
            done.append(True)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, Later(work))
            await gate.entered.wait()
            nursery.cancel_scope.cancel()
        gate.open.set()
        await ref.ask(1)

        assert done == [True]
        assert system.dead_letters.counts == {}


async def test_the_mail_of_an_asker_that_went_away_is_dropped_unread() -> None:
    async with one(Worker) as system:
        ref, gate = system.ref("root/it"), Gate()
        ref.tell_nowait(Hold(gate))
        await gate.entered.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, 1)
            await idle()
            nursery.cancel_scope.cancel()

        gate.open.set()
        total = await ref.ask(0)

        assert total == 0
        assert [(letter.reason, letter.message) for letter in system.dead_letters.recent] == [("expired", 1)]


@BOTH
async def test_a_handler_sees_the_deadline_of_its_message_and_the_asker_keeps_its_own(kind: type[Worker]) -> None:
    seen: list[float] = []

    def look(_: Worker) -> None:
        frame = current_frame.get()
        assert frame is not None
        seen.append(frame.deadline)

    async with one(kind) as system:
        ref = system.ref("root/it")
        now = trio.current_time()

        await ref.ask(Run(look), timeout=5)
        ref.tell_nowait(Run(look))
        await ref.ask(0)

        assert now + 5 <= seen[0] < now + 10
        assert seen[1] == inf
        assert current_frame.get() is None


async def test_an_asker_that_fails_keeps_its_frame(autojump_clock: object) -> None:
    async with one(Worker) as system:
        ref = system.ref("root/it")

        await caught(ref, Fail())
        await caught(ref, "no")

        assert current_frame.get() is None


@BOTH
async def test_an_async_handler_that_is_too_slow_is_not_waited_for(kind: type[Worker], autojump_clock: object) -> None:
    async with one(kind) as system:
        ref, gate = system.ref("root/it"), Gate()

        error = await caught(ref, Hold(gate), timeout=2)

        gate.open.set()
        assert isinstance(error, DeadlineExceeded)
        assert await ref.ask(1) == 1


@BOTH
async def test_an_asker_in_a_loop_lets_others_run(kind: type[Worker]) -> None:
    async with one(kind) as system, trio.open_nursery() as nursery:
        ref = system.ref("root/it")
        others: list[Any] = []
        nursery.start_soon(keep_counting, others)

        for _ in range(256):
            await ref.ask(1)
        for _ in range(8):
            await caught(ref, "no")

        nursery.cancel_scope.cancel()
        assert len(others) >= 15


async def keep_counting(others: list[int]) -> None:
    while True:
        others.append(1)
        await trio.lowlevel.checkpoint()


@BOTH
@pytest.mark.parametrize("message", [1, "no"])
async def test_an_asker_in_a_loop_can_be_cancelled(kind: type[Worker], message: object) -> None:
    async with one(kind) as system:
        ref = system.ref("root/it")

        with trio.move_on_after(0) as scope:
            while True:
                try:
                    await ref.ask(message)
                except InvalidInput:
                    continue

        assert scope.cancelled_caught


async def test_a_handler_that_floods_its_own_mailbox_lets_others_run() -> None:
    async with one(Worker) as system, trio.open_nursery() as nursery:
        ref = system.ref("root/it")
        others: list[Any] = []

        def again(actor: Worker) -> None:
            actor.ref.tell_nowait(Run(again))

        nursery.start_soon(keep_counting, others)
        ref.tell_nowait(Run(again))
        while ref.slot.handled < 5:
            await trio.lowlevel.checkpoint()

        nursery.cancel_scope.cancel()
        assert others


async def test_a_background_task_that_fails_crashes_the_actor(autojump_clock: object) -> None:
    async def fail() -> None:
        raise Boom("behind")

    async with one(Worker) as system:
        ref = system.ref("root/it")

        await ref.ask(Run(lambda actor: actor.start_soon(fail)))
        await died(ref)

        assert isinstance(ref.slot.failure, Boom)


async def test_an_asker_in_hand_when_a_background_task_fails_does_not_know_the_outcome(
    autojump_clock: object,
) -> None:
    async def work(actor: Worker) -> None:
        actor.start_soon(fail)
        await trio.sleep_forever()

    async def fail() -> None:
        await idle()
        raise Boom("behind")

    async with one(Worker) as system:
        error = await caught(system.ref("root/it"), Later(work))

        assert isinstance(error, OutcomeUnknown)


async def test_an_ask_around_a_background_failure_is_answered_after_the_restart_or_cut_off(
    autojump_clock: object,
) -> None:
    async def wait(fail: trio.Event) -> None:
        await fail.wait()
        raise Boom("behind")

    async def answer(_: Worker) -> str:
        await trio.lowlevel.checkpoint()
        return "answered"

    async with one(Worker, intensity=Intensity(restarts=99, within=1)) as system:
        ref, answers = system.ref("root/it"), []
        for life in range(32):  # who runs first, the asker or the actor, is left to chance
            fail = trio.Event()
            await ref.ask(Run(lambda actor, fail=fail: actor.start_soon(wait, fail)))
            await idle()
            fail.set()
            for _ in range(life % 3):
                await trio.lowlevel.checkpoint()

            try:
                answers.append(await ref.ask(Later(answer), timeout=20))
            except OutcomeUnknown:
                answers.append("cut off")

            await died(ref, restarts=life + 1)
        assert set(answers) == {"answered", "cut off"}


async def test_a_background_task_is_not_part_of_the_message_that_started_it(autojump_clock: object) -> None:
    answers: list[object] = []

    async def work(ref: Any) -> None:
        await trio.sleep(5)
        answers.append(await ref.ask(1))  # of its own actor, and after the deadline of the message

    async with one(Worker) as system:
        ref = system.ref("root/it")

        await ref.ask(Run(lambda actor: actor.start_soon(work, ref)), timeout=1)
        await trio.sleep(6)

        assert answers == [1]


async def test_background_tasks_end_with_the_life_that_started_them(autojump_clock: object) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("ended")

    async with one(Worker) as system:
        ref = system.ref("root/it")
        await ref.ask(Run(lambda actor: actor.start_soon(work)))
        await idle()

        await caught(ref, Fail())
        await died(ref)

        assert ended == ["ended"]


async def test_a_message_to_oneself_comes_at_its_time_and_can_be_taken_back(autojump_clock: object) -> None:
    log: list[Any] = []
    async with one(Worker, log) as system:
        ref = system.ref("root/it")
        await ref.ask(Run(lambda actor: actor.tell_later(2, 22)))
        scope = await ref.ask(Run(lambda actor: actor.tell_later(1, 11)))

        scope.cancel()
        await trio.sleep(1.9)
        early = list(log)
        await trio.sleep(0.2)

        assert early == ["worker starts"]
        assert log[1:] == [22]


async def test_timers_do_not_outlive_the_life_that_set_them(autojump_clock: object) -> None:
    async with one(Worker) as system:
        ref = system.ref("root/it")

        def die(actor: Worker) -> None:
            actor.tell_later(0, 5)
            actor.ref.slot.mailbox.put_control(7)
            raise Boom("boom")

        await caught(ref, Run(die))
        await died(ref)
        await trio.sleep(1)

        assert await ref.ask(0) == 0


async def test_news_of_others_outlives_the_life_that_did_not_hear_it(autojump_clock: object) -> None:
    log: list[Any] = []
    async with one(Worker, log) as system:
        ref = system.ref("root/it")

        def die(actor: Worker) -> None:
            actor.ref.slot.mailbox.put_control(Down("root/other", None, restarts=False))
            raise Boom("boom")

        await caught(ref, Run(die))
        await died(ref)
        await idle()

        assert log[-1] == Down("root/other", None, restarts=False)


async def test_on_stop_is_told_what_crashed_the_actor_and_nothing_where_it_was_asked_to_stop(
    autojump_clock: object,
) -> None:
    log: list[Any] = []

    async with one(Worker, log) as system:
        await caught(system.ref("root/it"), Fail(Boom("why")))
        await died(system.ref("root/it"))

    assert log == ["worker starts", "worker stops: why", "worker starts", "worker stops"]


class BadEnd(Worker):
    async def on_stop(self, failure: BaseException | None) -> None:
        raise Boom("clean-up")


class SlowEnd(Worker):
    async def on_stop(self, failure: BaseException | None) -> None:
        await trio.sleep_forever()


async def test_a_clean_up_that_fails_does_not_hide_why_it_was_needed(autojump_clock: object) -> None:
    async with one(BadEnd) as system:
        ref = system.ref("root/it")

        await caught(ref, Fail(ValueError("first")))
        await died(ref)

        assert isinstance(ref.slot.failure, ValueError)
        assert ref.slot.failure.__notes__ == ["and its clean-up failed: Boom('clean-up')"]


@pytest.mark.parametrize(("kind", "failure"), [(BadEnd, Boom), (SlowEnd, TimeoutError)])
async def test_a_clean_up_that_fails_after_a_good_life_is_a_failure(
    kind: type[Worker], failure: type[Exception], autojump_clock: object
) -> None:
    async with one(kind) as system:
        ref = system.ref("root/it")
        await ref.ask(1)

    assert isinstance(ref.slot.failure, failure)


async def test_the_cause_of_a_crash_keeps_its_own_cause(autojump_clock: object) -> None:
    def fail(_: Worker) -> None:
        try:
            raise KeyError("root of it")
        except KeyError as error:
            raise Boom("boom") from error

    async with one(Recorder) as system:
        error = await caught(system.ref("root/it"), Run(fail))
        await died(system.ref("root/it"))

        failure = system.ref("root/it").slot.failure
        assert isinstance(failure, Boom)
        assert error.__cause__ is failure
        assert isinstance(failure.__cause__, KeyError)


def test_a_subclass_hears_what_its_ancestors_hear_and_may_override_it() -> None:
    assert Loud.HEARS[int](None, 3) == -3
    assert Loud.HEARS[str] is Worker.HEARS[str]
    assert Actor.HEARS == {}


async def test_mixins_bring_their_handlers() -> None:
    async with one(Sings) as system:
        ref = system.ref("root/it")

        assert await ref.ask(1.5) == "hum 1.5"
        assert await ref.ask(2) == 2


def test_an_interrupt_from_the_keyboard_is_for_the_asker() -> None:
    restarts: list[int] = []

    async def main() -> None:
        async with one(Worker) as system:
            ref = system.ref("root/it")
            try:
                await ref.ask(Run(lambda _: signal.raise_signal(signal.SIGINT)))
                await trio.sleep_forever()
            finally:
                restarts.append(ref.slot.restarts)
                assert ref.slot.failure is None

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)

    assert restarts == [0]


@BOTH
async def test_contextvars_of_the_asker_are_what_they_were(kind: type[Worker]) -> None:
    async with one(kind) as system:
        ref = system.ref("root/it")

        async def nested(actor: Worker) -> tuple[Any, Any]:
            before = current_frame.get()
            await system.ref("root/other").ask(1)
            return before, current_frame.get()

        await system.start_child("root", _other())
        before, after = await ref.ask(Later(nested))

        assert before is after
        assert before.slot is ref.slot


class Clerk(Actor):
    """Answers questions when it is told the answers."""

    AT_ONCE = False

    def __init__(self) -> None:
        self.open: list[Deferred] = []

    @hears(str)
    def ask_later(self, _: str) -> Deferred:
        self.open.append(Deferred())
        return self.open[-1]

    @hears(int)
    def answer_all(self, number: int) -> int:
        for deferred in self.open:
            if number:
                deferred.settle(number)
            deferred.fail(InvalidInput("there is no answer"))
        return len(self.open)


@pytest.mark.parametrize("answer", [7, 0])
async def test_an_answer_may_come_later_while_the_actor_hears_on(answer: int) -> None:
    async with one(Clerk) as system:
        ref = system.ref("root/it")
        outcomes: list[Any] = []

        async def ask() -> None:
            try:
                outcomes.append(await ref.ask("?", timeout=60))
            except InvalidInput as refusal:
                outcomes.append(str(refusal))

        async with trio.open_nursery() as nursery:
            began = trio.current_time()
            nursery.start_soon(ask)
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            clerk = ref.slot.actor
            assert isinstance(clerk, Clerk)
            deadline = clerk.open[0].deadline
            answered = await ref.ask(answer)

    assert answered == 2
    assert began + 60 <= deadline <= trio.current_time() + 60
    assert outcomes == [answer or "there is no answer"] * 2


async def test_a_late_answer_finds_nobody_and_a_tell_has_none() -> None:
    async with one(Clerk) as system:
        ref = system.ref("root/it")
        ref.tell_nowait("told")
        with pytest.raises(DeadlineExceeded):
            await ref.ask("?", timeout=0.02)

        assert await ref.ask(7) == 2
        clerk = ref.slot.actor
        assert isinstance(clerk, Clerk)
        assert clerk.open[0].deadline == inf


def _other() -> Child:
    return child("other", Worker)


async def test_a_message_to_another_actor_is_forwarded_with_its_refusal() -> None:
    async with one(Worker) as system:
        other = await system.start_child("root", _other())

        error = await caught(system.ref("root/it"), Forward(other, "no"))

        assert isinstance(error, InvalidInput)
