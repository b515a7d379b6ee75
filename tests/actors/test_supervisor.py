from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
import trio
import trio.testing

from runtara.actors import (
    Backoff,
    Child,
    Intensity,
    Restart,
    Strategy,
    System,
    SystemFailed,
    child,
    open_system,
    supervisor,
)
from runtara.actors._supervisor import GaveUp, StartChild, StartFailed, StopChild
from runtara.errors import ActorFailed, ActorStopped, AlreadyExists, InvalidInput, NotFound, OutcomeUnknown
from tests.actors.troupe import Boom, Fail, Forward, Gate, Hold, Later, Run, Worker, caught, died, idle

NEVER_TIRED = Intensity(restarts=1000)
EVEN = Backoff(first=1, most=1, jitter=0)


def workers(log: list[Any], names: str, **options: Any) -> tuple[Child, ...]:
    return tuple(child(name, Worker, log, name, **options) for name in names)


def states(system: System, names: str) -> dict[str, int]:
    return {name: system.ref(f"root/{name}").slot.restarts for name in names}


class BadStart(Worker):
    """Fails to start while `failing` says so."""

    def __init__(self, log: list[Any], failing: list[Exception]) -> None:
        super().__init__(log)
        self.failing = failing

    async def on_start(self) -> None:
        if self.failing:
            raise self.failing.pop()
        await super().on_start()


class SlowStart(Worker):
    """Takes as long to start as the next number says."""

    def __init__(self, log: list[Any], seconds: list[float]) -> None:
        super().__init__(log)
        self.seconds = seconds

    async def on_start(self) -> None:
        await trio.sleep(self.seconds.pop() if self.seconds else 0)
        await super().on_start()


class Asks(Worker):
    """Needs an answer of another one before it has started; the first time, that one fails over the question."""

    def __init__(self, log: list[Any], questions: list[Any], path: str) -> None:
        super().__init__(log, "asks")
        self.questions = questions
        self.path = path

    async def on_start(self) -> None:
        if self.questions:
            self.system.ref(self.path).tell_nowait(self.questions.pop())
            await trio.sleep_forever()  # as for the answer of somebody who is not there to read the question
        await super().on_start()


@pytest.mark.parametrize("strategy", [Strategy.REST_FOR_ONE, Strategy.ONE_FOR_ALL])
@pytest.mark.parametrize("depth", [0, 1])
async def test_who_waits_while_it_starts_for_one_that_fails_is_started_again_behind_it(
    strategy: Strategy, depth: int, autojump_clock: object
) -> None:
    log: list[Any] = []
    asks = child("asks", Asks, log, [Fail()], "root/a")
    tree = supervisor(
        "root", *workers(log, "a"), supervisor("group", asks) if depth else asks, *workers(log, "z"), strategy=strategy
    )
    began = trio.current_time()

    async with open_system(tree):
        log.append("block")

    first, again = ["a starts", "a stops: boom", "asks stops"], ["a starts", "asks starts", "z starts"]
    assert log[: log.index("block")] == first + again
    assert trio.current_time() - began < 10, "nobody waits for the time to start to be over"


async def test_who_starts_again_and_waits_for_one_that_fails_starts_once_more(autojump_clock: object) -> None:
    log: list[Any] = []
    questions: list[Any] = []
    asks = child("asks", Asks, log, questions, "root/a")
    tree = supervisor("root", *workers(log, "a"), asks, strategy=Strategy.REST_FOR_ONE, intensity=NEVER_TIRED)
    async with open_system(tree) as system:
        log.clear()
        questions.append(Fail())
        began = trio.current_time()

        await caught(system.ref("root/a"), Fail())
        await died(system.ref("root/asks"), 2)

    assert log.count("asks starts") == 1
    assert trio.current_time() - began < 15


async def test_a_group_whose_member_fails_again_and_again_while_others_start_gives_up(autojump_clock: object) -> None:
    log: list[Any] = []
    asks = child("asks", Asks, log, [Fail(), Fail(), Fail()], "root/a")
    tree = supervisor("root", *workers(log, "a"), asks, strategy=Strategy.REST_FOR_ONE, intensity=Intensity(restarts=1))

    with pytest.raises(SystemFailed) as failed:
        async with open_system(tree):
            raise AssertionError("it has not started")

    assert isinstance(failed.value.__cause__, GaveUp)


async def test_children_start_in_order_and_stop_in_reverse() -> None:
    log: list[Any] = []
    tree = supervisor(
        "root",
        *workers(log, "a"),
        supervisor("group", *workers(log, "bc")),
        *workers(log, "d"),
    )

    async with open_system(tree):
        log.append("block")

    starts = [f"{name} starts" for name in "abcd"]
    stops = [f"{name} stops" for name in "dcba"]
    assert log == [*starts, "block", *stops]


@pytest.mark.parametrize(
    ("strategy", "restarted"),
    [(Strategy.ONE_FOR_ONE, "b"), (Strategy.REST_FOR_ONE, "bc"), (Strategy.ONE_FOR_ALL, "abc")],
)
async def test_a_strategy_says_who_is_restarted_along(
    strategy: Strategy, restarted: str, autojump_clock: object
) -> None:
    log: list[Any] = []
    async with open_system(supervisor("root", *workers(log, "abc"), strategy=strategy)) as system:
        log.clear()

        await caught(system.ref("root/b"), Fail())
        await died(system.ref("root/b"))
        await died(system.ref(f"root/{restarted[-1]}"))

        assert states(system, "abc") == {name: int(name in restarted) for name in "abc"}
        others = restarted.replace("b", "")
        assert log == [
            "b stops: boom",
            *(f"{name} stops" for name in reversed(others)),
            *(f"{name} starts" for name in restarted),
        ]


@pytest.mark.parametrize(
    ("restart", "crashes", "again"),
    [
        (Restart.PERMANENT, True, True),
        (Restart.PERMANENT, False, True),
        (Restart.TRANSIENT, True, True),
        (Restart.TRANSIENT, False, False),
        (Restart.TEMPORARY, True, False),
        (Restart.TEMPORARY, False, False),
    ],
)
async def test_a_child_says_when_it_is_started_again(
    restart: Restart, crashes: bool, again: bool, autojump_clock: object
) -> None:
    log: list[Any] = []
    async with open_system(supervisor("root", *workers(log, "a", restart=restart))) as system:
        ref = system.ref("root/a")

        ref.slot.mailbox.put_control(Fail() if crashes else _stop())
        await trio.sleep(60)

        assert log.count("a starts") == (2 if again else 1)
        if again:
            assert await ref.ask(1) == 1
        else:
            assert isinstance(await caught(ref, 1), ActorStopped)
            with pytest.raises(NotFound):
                system.ref("root/a")


def _stop() -> object:
    from runtara.actors._slot import STOP

    return STOP


async def test_temporary_children_that_went_down_with_the_others_do_not_come_back(autojump_clock: object) -> None:
    log: list[Any] = []
    tree = supervisor(
        "root",
        *workers(log, "a"),
        *workers(log, "t", restart=Restart.TEMPORARY),
        strategy=Strategy.ONE_FOR_ALL,
    )
    async with open_system(tree) as system:
        temporary = system.ref("root/t")

        await caught(system.ref("root/a"), Fail())
        await died(system.ref("root/a"))

        assert isinstance(await caught(temporary, 1), ActorStopped)
        assert log.count("t starts") == 1


async def test_at_the_intensity_a_child_is_restarted_and_over_it_the_supervisor_gives_up(
    autojump_clock: object,
) -> None:
    tree = supervisor("root", *workers([], "a"), intensity=Intensity(restarts=2, within=1000))
    survived = 0

    with pytest.raises(SystemFailed, match="root gave up: 3 failures within 1000 s") as failed:  # noqa: PT012 - at its end
        async with open_system(tree) as system:
            for _ in range(3):
                await caught(system.ref("root/a"), Fail(Boom(f"boom {survived}")))
                await died(system.ref("root/a"), restarts=survived + 1)
                survived += 1

    assert survived == 2
    assert isinstance(failed.value.__cause__, GaveUp)
    assert str(failed.value.__cause__.__cause__) == "boom 2"


async def test_failures_that_lie_far_apart_are_not_added_up(autojump_clock: object) -> None:
    tree = supervisor("root", *workers([], "a"), intensity=Intensity(restarts=1, within=10))
    async with open_system(tree) as system:
        for crash in range(1, 6):
            await caught(system.ref("root/a"), Fail())
            await died(system.ref("root/a"), restarts=crash)
            await trio.sleep(11)

        assert system.ref("root/a").slot.restarts == 5


async def test_the_delay_before_a_restart_grows_with_the_failures(autojump_clock: object) -> None:
    backoff = Backoff(first=1, most=5, jitter=0.1)
    tree = supervisor("root", *workers([], "a"), intensity=NEVER_TIRED, backoff=backoff)
    delays: list[float] = []
    async with open_system(tree, rng=Random(1)) as system:
        ref = system.ref("root/a")
        for crash in range(1, 6):
            crashed_at = trio.current_time()
            await caught(ref, Fail())
            await ref.ask(0)
            delays.append(trio.current_time() - crashed_at)
            assert ref.slot.restarts == crash

    expected = [backoff.delay(failures, random) for random in [Random(1).random] for failures in range(1, 6)]
    assert delays == pytest.approx(expected)


async def test_mail_that_waits_is_read_after_the_restart(autojump_clock: object) -> None:
    log: list[Any] = []
    async with open_system(supervisor("root", *workers(log, "a"))) as system, trio.open_nursery() as nursery:
        ref, gate, answers = system.ref("root/a"), Gate(), []

        async def crash_later(_: Worker) -> None:
            gate.entered.set()
            await gate.open.wait()
            raise Boom("boom")

        async def ask() -> None:
            answers.append(await ref.ask(20))

        ref.tell_nowait(Later(crash_later))
        await gate.entered.wait()
        ref.tell_nowait(1)
        nursery.start_soon(ask)
        await idle()

        gate.open.set()
        await died(ref)
        await idle()

        assert answers == [21]


async def test_asks_during_the_back_off_wait_for_the_restart(autojump_clock: object) -> None:
    async with open_system(supervisor("root", *workers([], "a"), backoff=EVEN)) as system:
        ref = system.ref("root/a")
        await caught(ref, Fail())
        await trio.sleep(0.5)
        state = ref.slot.state.value

        answer = await ref.ask(5)

        assert state == "restarting"
        assert answer == 5


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_children_that_crash_at_the_same_time_all_come_back(strategy: Strategy, autojump_clock: object) -> None:
    tree = supervisor("root", *workers([], "abc"), strategy=strategy, intensity=NEVER_TIRED, backoff=EVEN)
    async with open_system(tree) as system:
        for name in "abc":
            system.ref(f"root/{name}").tell_nowait(Fail())

        await trio.sleep(10)

        assert [await system.ref(f"root/{name}").ask(1) for name in "abc"] == [1, 1, 1]


async def test_a_restart_that_fails_does_not_keep_others_from_theirs(autojump_clock: object) -> None:
    failing: list[Exception] = []
    tree = supervisor(
        "root",
        child("a", BadStart, [], failing),
        *workers([], "bc"),
        intensity=NEVER_TIRED,
        backoff=EVEN,
    )
    async with open_system(tree) as system:
        failing.extend([Boom("start"), Boom("start again")])
        for name in "abc":  # all of them are due at the same moment
            system.ref(f"root/{name}").tell_nowait(Fail())

        await trio.sleep(10)

        assert states(system, "abc") == {"a": 3, "b": 1, "c": 1}
        assert [await system.ref(f"root/{name}").ask(1) for name in "abc"] == [1, 1, 1]


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_a_restart_of_several_that_fails_half_way_is_tried_again(
    strategy: Strategy, autojump_clock: object
) -> None:
    log: list[Any] = []
    failing: list[Exception] = []
    tree = supervisor(
        "root",
        *workers(log, "a"),
        child("b", BadStart, log, failing),
        *workers(log, "c"),
        strategy=strategy,
        intensity=NEVER_TIRED,
        backoff=EVEN,
    )
    async with open_system(tree) as system:
        failing.append(Boom("start"))

        await caught(system.ref("root/a"), Fail())
        await trio.sleep(10)

        assert [await system.ref(f"root/{name}").ask(1) for name in "abc"] == [1, 1, 1]


async def test_a_first_start_that_fails_ends_the_system_and_stops_those_that_run() -> None:
    log: list[Any] = []
    tree = supervisor(
        "root", *workers(log, "a"), supervisor("group", child("b", BadStart, log, [Boom("no")])), *workers(log, "c")
    )

    with pytest.raises(SystemFailed) as failed:
        async with open_system(tree):
            pytest.fail("it cannot start")

    assert log[:1] == ["a starts"]
    assert log[-1] == "a stops"
    assert "c starts" not in log
    error: Any = failed.value
    causes = [error.__cause__, error.__cause__.__cause__, error.__cause__.__cause__.__cause__]
    assert [type(cause) for cause in causes] == [StartFailed, StartFailed, Boom]


async def test_a_factory_that_fails_is_a_start_that_fails() -> None:
    def make() -> Worker:
        raise Boom("factory")

    with pytest.raises(SystemFailed, match="root/a could not be started: Boom"):
        async with open_system(supervisor("root", child("a", make))):
            pytest.fail("it cannot start")


async def test_a_factory_that_makes_something_else_is_a_start_that_fails() -> None:
    with pytest.raises(SystemFailed, match="which is not an Actor"):
        async with open_system(supervisor("root", child("a", dict))):
            pytest.fail("it cannot start")


async def test_a_start_that_takes_too_long_fails(autojump_clock: object) -> None:
    tree = supervisor("root", child("a", SlowStart, [], [100], start_timeout=5))
    began = trio.current_time()

    with pytest.raises(SystemFailed, match="root/a did not start within 5 s"):
        async with open_system(tree):
            pytest.fail("it cannot start")

    assert trio.current_time() - began <= 10


async def test_a_restart_that_takes_too_long_is_one_failure(autojump_clock: object) -> None:
    seconds: list[float] = [0]
    tree = supervisor(
        "root",
        child("a", SlowStart, [], seconds, start_timeout=5, stop_grace=1),
        intensity=Intensity(restarts=2, within=1000),
        backoff=EVEN,
    )
    async with open_system(tree) as system:
        seconds.append(100)

        await caught(system.ref("root/a"), Fail())
        await trio.sleep(30)

        assert await system.ref("root/a").ask(1) == 1
        assert system.ref("root/a").slot.restarts == 2
        assert isinstance(system.ref("root/a").slot.failure, TimeoutError)


async def test_a_crash_loop_ends_the_system(autojump_clock: object) -> None:
    class Crashes(Worker):
        async def on_start(self) -> None:
            self.ref.tell_nowait(Fail())

    with pytest.raises(SystemFailed):
        async with open_system(supervisor("root", child("a", Crashes))):
            await trio.sleep_forever()


async def test_a_group_that_gives_up_is_restarted_by_the_supervisor_above_it(autojump_clock: object) -> None:
    log: list[Any] = []
    group = supervisor("group", *workers(log, "ab"), intensity=Intensity(restarts=0))
    async with open_system(supervisor("root", group, *workers(log, "c"))) as system:
        ref, sibling = system.ref("root/group/a"), system.ref("root/group/b")
        sibling.tell_nowait(5)
        log.clear()

        await caught(ref, Fail())
        await trio.sleep(10)

        assert await ref.ask(1) == 1
        assert await sibling.ask(1) == 1
        assert [entry for entry in log if isinstance(entry, str)] == [
            "a stops: boom",
            "b stops",
            "a starts",
            "b starts",
        ]
        assert isinstance(system.ref("root/group").slot.failure, GaveUp)


async def test_mail_waits_while_a_group_gives_up_and_is_restarted(autojump_clock: object) -> None:
    group = supervisor("group", *workers([], "ab"), intensity=Intensity(restarts=0))
    async with open_system(supervisor("root", group)) as system, trio.open_nursery() as nursery:
        answers: list[int] = []

        async def ask() -> None:
            answers.append(await system.ref("root/group/b").ask(7))

        gate = Gate()
        system.ref("root/group/b").tell_nowait(Hold(gate))
        await gate.entered.wait()
        nursery.start_soon(ask)
        await idle()

        await caught(system.ref("root/group/a"), Fail())
        await trio.sleep(30)

        assert answers == [7]


async def test_failures_climb_through_nested_groups_to_the_end_of_the_system(autojump_clock: object) -> None:
    weak = Intensity(restarts=0)
    inner = supervisor("inner", *workers([], "a"), intensity=weak)
    tree = supervisor("root", supervisor("outer", inner, intensity=weak), intensity=weak)

    with pytest.raises(SystemFailed) as failed:  # noqa: PT012 - at its end
        async with open_system(tree) as system:
            await caught(system.ref("root/outer/inner/a"), Fail())
            await trio.sleep_forever()

    chain: list[str] = []
    cause = failed.value.__cause__
    while cause is not None:
        chain.append(type(cause).__name__)
        cause = cause.__cause__
    assert chain == ["GaveUp", "GaveUp", "GaveUp", "Boom"]


async def test_a_handler_that_hangs_is_cut_off_after_the_grace(autojump_clock: object) -> None:
    log: list[Any] = []
    async with open_system(supervisor("root", *workers(log, "ab", stop_grace=3))) as system:
        async with trio.open_nursery() as nursery:
            gate, errors = Gate(), []

            async def ask() -> None:
                errors.append(await caught(system.ref("root/a"), Hold(gate)))

            nursery.start_soon(ask)
            await gate.entered.wait()
            began = trio.current_time()

            await system.stop_child("root/a")

        assert 3 <= trio.current_time() - began <= 3.1
        assert [type(error) for error in errors] == [OutcomeUnknown]
        assert log[-1] == "a stops"


async def test_a_tell_whose_handler_is_cut_off_is_a_dead_letter(autojump_clock: object) -> None:
    async with open_system(supervisor("root", *workers([], "a"))) as system:
        gate = Gate()
        system.ref("root/a").tell_nowait(Hold(gate))
        await gate.entered.wait()

        await system.stop_child("root/a")

        assert [letter.reason for letter in system.dead_letters.recent] == ["unknown"]


async def test_mail_that_an_actor_did_not_read_before_its_end_is_answered_as_not_run(autojump_clock: object) -> None:
    async with open_system(supervisor("root", *workers([], "a"))) as system:
        async with trio.open_nursery() as nursery:
            gate, errors = Gate(), []

            async def ask() -> None:
                errors.append(await caught(system.ref("root/a"), 1))

            system.ref("root/a").tell_nowait(Hold(gate))
            await gate.entered.wait()
            nursery.start_soon(ask)
            await idle()
            system.ref("root/a").tell_nowait(2)

            await system.stop_child("root/a")

        assert [type(error) for error in errors] == [ActorStopped]
        assert [letter.message for letter in system.dead_letters.recent if letter.reason == "stopped"] == [1, 2]


@pytest.mark.parametrize("after", [0.0, 0.5])
async def test_a_stop_during_a_restart_ends_promptly(after: float, autojump_clock: object) -> None:
    log: list[Any] = []
    seconds: list[float] = [0]
    tree = supervisor(
        "root",
        *workers(log, "a"),
        child("b", SlowStart, log, seconds, stop_grace=1),
        backoff=Backoff(first=9, jitter=0),
    )
    async with open_system(tree) as system:
        seconds.append(100)
        await caught(system.ref("root/b"), Fail())
        await trio.sleep(9.5 if after else 1)  # in the middle of its start, or of the back-off
        began = trio.current_time()

    assert trio.current_time() - began <= 2
    assert log[-1] == "a stops"


async def test_a_stop_of_a_group_that_is_starting_a_child_ends_promptly_and_tells_who_asked_for_it(
    autojump_clock: object,
) -> None:
    async with open_system(supervisor("root", supervisor("group"))) as system, trio.open_nursery() as nursery:
        errors: list[BaseException] = []

        async def start() -> None:
            errors.append(
                await caught(system.ref("root/group"), StartChild(child("a", SlowStart, [], [100], stop_grace=1)))
            )

        nursery.start_soon(start)
        await trio.sleep(1)
        began = trio.current_time()

        await system.stop_child("root/group")
        await idle()

        assert [type(error) for error in errors] == [OutcomeUnknown]
        assert trio.current_time() - began <= 2


async def test_children_can_be_added_and_removed() -> None:
    log: list[Any] = []
    async with open_system(supervisor("root", supervisor("group"))) as system:
        ref = await system.start_child("root/group", child("a", Worker, log, "a"))
        answer = await ref.ask(1)

        await system.stop_child("root/group/a")

        assert answer == 1
        assert log == ["a starts", 1, "a stops"]
        assert isinstance(await caught(ref, 1), ActorStopped)
        with pytest.raises(NotFound, match=r"system has no actor at 'root/group/a': there is root/group"):
            system.ref("root/group/a")


async def test_a_whole_group_can_be_added_and_removed() -> None:
    log: list[Any] = []
    async with open_system(supervisor("root")) as system:
        await system.start_child("root", supervisor("group", *workers(log, "ab")))
        a, b = system.ref("root/group/a"), system.ref("root/group/b")

        await system.stop_child("root/group")

        assert log == ["a starts", "b starts", "b stops", "a stops"]
        assert [type(await caught(ref, 1)) for ref in (a, b)] == [ActorStopped, ActorStopped]


async def test_a_name_can_be_taken_once_and_again_when_it_is_free() -> None:
    async with open_system(supervisor("root", *workers([], "a"))) as system:
        with pytest.raises(AlreadyExists, match="root has a child 'a' already"):
            await system.start_child("root", *workers([], "a"))

        await system.stop_child("root/a")
        fresh = await system.start_child("root", *workers([], "a"))

        assert await fresh.ask(1) == 1


async def test_a_name_is_free_again_after_a_start_that_failed() -> None:
    async with open_system(supervisor("root")) as system:
        with pytest.raises(ActorFailed, match="root/a could not be started: Boom") as failed:
            await system.start_child("root", child("a", BadStart, [], [Boom("no")]))

        fresh = await system.start_child("root", *workers([], "a"))
        await idle()

        assert isinstance(failed.value.__cause__, Boom)
        assert await fresh.ask(1) == 1


async def test_what_is_not_there_cannot_be_stopped() -> None:
    async with open_system(supervisor("root")) as system:
        with pytest.raises(NotFound, match="root has no child 'a'"):
            await system.stop_child("root/a")
        with pytest.raises(NotFound):
            await system.stop_child("root")


@pytest.mark.parametrize("message", [1, StartChild("no spec")])  # type: ignore[arg-type]
async def test_a_supervisor_refuses_what_it_does_not_hear(message: object) -> None:
    async with open_system(supervisor("root")) as system:
        error = await caught(system.ref("root"), message)

        assert isinstance(error, InvalidInput)
        assert "it hears StartChild, StopChild" in str(error)


async def test_a_child_is_not_started_for_somebody_who_went_away(autojump_clock: object) -> None:
    log: list[Any] = []
    tree = supervisor("root", child("slow", SlowStart, [], [0]))
    async with open_system(tree) as system:
        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(system.start_child, "root", child("x", SlowStart, [], [20]))
                await idle()
                nursery.start_soon(system.start_child, "root", workers(log, "y")[0])
        await trio.sleep(30)

        assert log == []
        assert system.dead_letters.counts == {"expired": 1}


async def test_added_children_are_restarted_like_others_but_do_not_survive_their_group(autojump_clock: object) -> None:
    group = supervisor("group", *workers([], "a"), intensity=Intensity(restarts=1))
    async with open_system(supervisor("root", group)) as system:
        added = await system.start_child("root/group", *workers([], "x"))

        await caught(added, Fail())
        await died(added)
        alive = await added.ask(1)
        await caught(system.ref("root/group/a"), Fail())
        await trio.sleep(10)

        assert alive == 1
        assert isinstance(await caught(added, 1), ActorStopped)
        assert await system.ref("root/group/a").ask(1) == 1


async def test_a_stopped_sibling_is_announced_to_those_who_watch_it(autojump_clock: object) -> None:
    log: list[Any] = []
    group = supervisor("group", *workers([], "ab"), strategy=Strategy.ONE_FOR_ALL)
    async with open_system(supervisor("root", *workers(log, "w"), group)) as system:
        for name in "ab":
            system.ref(f"root/group/{name}").watch(system.ref("root/w"))

        await caught(system.ref("root/group/a"), Fail())
        await died(system.ref("root/group/b"))
        await idle()

        assert _heard(log) == [("root/group/a", True, True), ("root/group/b", False, True)]


async def test_the_restart_of_a_group_is_announced_once_for_each_of_its_actors(autojump_clock: object) -> None:
    log: list[Any] = []
    group = supervisor("group", *workers([], "ab"), intensity=Intensity(restarts=0))
    async with open_system(supervisor("root", *workers(log, "w"), group)) as system:
        for name in ("group", "group/a", "group/b"):
            system.ref(f"root/{name}").watch(system.ref("root/w"))

        await caught(system.ref("root/group/a"), Fail())
        await died(system.ref("root/group/b"), restarts=0)
        await trio.sleep(5)

        assert sorted(_heard(log)) == [
            ("root/group", True, True),
            ("root/group/a", True, True),
            ("root/group/b", False, True),
        ]


async def test_the_end_of_a_group_is_announced_for_each_of_its_actors() -> None:
    log: list[Any] = []
    async with open_system(supervisor("root", *workers(log, "w"), supervisor("g", *workers([], "a")))) as system:
        system.ref("root/g").watch(system.ref("root/w"))
        system.ref("root/g/a").watch(system.ref("root/w"))

        await system.stop_child("root/g")
        await idle()

        assert sorted(_heard(log)) == [("root/g", False, False), ("root/g/a", False, False)]


def _heard(log: Sequence[Any]) -> list[tuple[str, bool, bool]]:
    return [(down.path, down.failure is not None, down.restarts) for down in log if hasattr(down, "restarts")]


async def test_an_actor_that_asks_to_be_stopped_is_told_that_it_will_not_know(autojump_clock: object) -> None:
    async with open_system(supervisor("root", *workers([], "a"))) as system:
        error = await caught(system.ref("root/a"), Forward(system.ref("root"), StopChild("a")))

        assert isinstance(error, OutcomeUnknown)


async def test_a_supervisor_answers_one_after_the_other(autojump_clock: object) -> None:
    async with open_system(supervisor("root")) as system, trio.open_nursery() as nursery:
        nursery.start_soon(system.start_child, "root", child("slow", SlowStart, [], [3]))
        await idle()

        quick = await system.start_child("root", *workers([], "quick"[:1]))

        assert trio.current_time() >= 3
        assert await quick.ask(Run(lambda actor: actor.ref.path)) == "root/q"
