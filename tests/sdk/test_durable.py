"""Durable functions: what they are called in the store, what a replay sees, and how often they are tried."""

import inspect
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from runtara.errors import (
    ConfigError,
    DeadlineExceeded,
    Fenced,
    InstanceCancelled,
    InstancePaused,
    InvalidInput,
    InvalidState,
    RetriesExhausted,
)
from runtara.ids import CHECKPOINT_ID_MAX_BYTES
from runtara.messages import ListCheckpoints, ListRetries
from runtara.sdk import Parked, PermanentError, RetryLater, RetryStrategy, SignalType, durable, embedded, use_sdk
from tests.actors.stage import TrioClock
from tests.sdk.faces import Face, Unspeakable, outside, when_it_waits


async def steps_of(sdk: Any) -> list[str]:
    page = await sdk.perform(ListCheckpoints(limit=1000))
    return [row.checkpoint_id for row in page.checkpoints]


async def run_twice(face: Face, system: Any, program: Any) -> tuple[Any, Any]:
    """Run a program as two attempts of one instance; return what each has returned."""
    results = []
    for _ in range(2):
        async with system.sdk("i") as sdk:
            with face.use(sdk):
                results.append(await program())
    return results[0], results[1]


class Counter:
    """Counts its calls and returns the count."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        return self.calls


# Results -------------------------------------------------------------------------------------------------------------


def test_a_replay_returns_what_was_kept_and_does_not_run_the_function(face: Face) -> None:
    ran: list[int] = []

    def double(number: int) -> int:
        ran.append(number)
        return 2 * number

    step = face.durable(double)

    async def conversation(system: Any) -> None:
        async def program() -> list[int]:
            return [await step(number) for number in (1, 2, 3)]

        first, replayed = await run_twice(face, system, program)
        assert first == replayed == [2, 4, 6]

    face.hold(conversation)

    assert ran == [1, 2, 3]


@dataclass
class Parcel:
    name: str
    sizes: tuple[int, ...]


class Label(msgspec.Struct):
    text: str
    printed_at: datetime


def parcel() -> Parcel:
    return Parcel("p", (1, 2))


def label() -> Label:
    return Label("l", datetime(2026, 1, 1, tzinfo=UTC))


def instant() -> datetime:
    return datetime(2026, 1, 1, 12, 30, 0, 123456, tzinfo=UTC)


def pair() -> tuple[int, str]:
    return (1, "one")


def nothing() -> None:
    return None


def octets() -> bytes:
    return b"\x00\xff"


def optional() -> Parcel | None:
    return parcel()


def parcels() -> dict[str, list[Parcel]]:
    return {"a": [parcel()]}


TYPED = [parcel, label, instant, pair, nothing, octets, optional, parcels]


@pytest.mark.parametrize("function", TYPED, ids=lambda function: function.__name__)
def test_a_declared_result_comes_back_as_what_it_was(face: Face, function: Any) -> None:
    step = face.durable(function)

    async def conversation(system: Any) -> None:
        first, replayed = await run_twice(face, system, step)

        assert first == replayed == function()
        assert type(first) is type(replayed) is type(function())

    face.hold(conversation)


def test_without_a_declared_type_both_runs_see_what_json_makes_of_it(face: Face) -> None:
    def anything():  # type: ignore[no-untyped-def]
        return {"pair": (1, 2), "parcel": parcel()}

    step = face.durable(anything)

    async def conversation(system: Any) -> None:
        first, replayed = await run_twice(face, system, step)
        assert first == replayed == {"pair": [1, 2], "parcel": {"name": "p", "sizes": [1, 2]}}

    face.hold(conversation)


def test_a_type_that_only_checkers_know_is_no_type(face: Face) -> None:
    def unknown() -> "DoesNotExist":  # type: ignore[name-defined]  # noqa: F821 - on purpose
        return {"a": 1}

    step = face.durable(unknown)

    async def conversation(system: Any) -> None:
        assert await run_twice(face, system, step) == ({"a": 1}, {"a": 1})

    face.hold(conversation)


def lies() -> int:
    return "text"  # type: ignore[return-value]


def not_a_number() -> float:
    return float("nan")


def an_object() -> object:
    return object()


def surrogates() -> str:
    return "\ud800"


def deep() -> list[Any]:
    found: list[Any] = []
    for _ in range(100_000):
        found = [found]
    return found


@pytest.mark.parametrize("function", [lies, not_a_number, an_object, surrogates, deep], ids=lambda f: f.__name__)
def test_a_result_that_cannot_be_kept_is_refused_and_nothing_is_stored(face: Face, function: Any) -> None:
    step = face.durable(function)

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with face.use(sdk), pytest.raises(InvalidInput, match=rf"{function.__name__}\(\) cannot be stored"):
                await step()
            assert await steps_of(sdk) == []

    face.hold(conversation)


def unreadable() -> Parcel | Label:
    raise AssertionError("never runs")


def test_a_declared_type_that_json_cannot_tell_apart_is_refused_before_the_function_runs(face: Face) -> None:
    step = face.durable(unreadable)

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with face.use(sdk), pytest.raises(InvalidInput, match="unreadable returns"):
                await step()

    face.hold(conversation)


def test_a_kept_result_that_does_not_fit_a_changed_type_says_so(face: Face) -> None:
    def make(result: Any) -> Any:
        def changing() -> Any:
            return result

        changing.__annotations__["return"] = type(result)
        return face.durable(changing)

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with face.use(sdk):
                assert await make("text")() == "text"
        async with system.sdk("i") as sdk:
            with face.use(sdk), pytest.raises(InvalidInput, match=r"changing\(\) is not what the function returns"):
                await make(1)()

    face.hold(conversation)


# Names ---------------------------------------------------------------------------------------------------------------


def test_calls_in_a_loop_are_steps_of_their_own_also_with_equal_arguments(face: Face) -> None:
    counter = Counter()

    def tick(what: str) -> int:
        return counter()

    step = face.durable(tick)

    async def conversation(system: Any) -> None:
        async def program() -> list[int]:
            return [await step("a"), await step("a"), await step("b"), await step("a")]

        first, replayed = await run_twice(face, system, program)
        assert first == replayed == [1, 2, 3, 4]

    face.hold(conversation)


def test_defaults_and_keywords_name_the_same_step_as_plain_arguments(face: Face) -> None:
    def buy(what: str, count: int = 1, *, gift: bool = False) -> str:
        return f"{count} {what}"

    step = face.durable(buy)

    async def conversation(system: Any) -> None:
        calls: list[Callable[[], Any]] = [
            lambda: step("a"),
            lambda: step(what="a"),
            lambda: step("a", 1),
            lambda: step("a", gift=False),
        ]
        for call in calls:
            async with system.sdk("i") as sdk:
                with face.use(sdk):
                    assert await call() == "1 a"
                assert len(await steps_of(sdk)) == 1

    face.hold(conversation)


def first_scope(face: Face) -> Any:
    def same() -> str:
        return "first"

    return face.durable(same)


def second_scope(face: Face) -> Any:
    def same() -> str:
        return "second"

    return face.durable(same)


def test_two_functions_of_one_name_are_two_steps(face: Face) -> None:
    one, two = first_scope(face), second_scope(face)

    async def conversation(system: Any) -> None:
        async def program() -> list[str]:
            return [await one(), await two()]

        assert await run_twice(face, system, program) == (["first", "second"], ["first", "second"])

    face.hold(conversation)


async def test_a_nested_step_belongs_to_the_step_that_calls_it() -> None:
    counter = Counter()

    @durable
    async def inner() -> int:
        return counter()

    @durable
    async def outer(name: str) -> list[int]:
        return [await inner(), await inner()]

    async def program() -> list[Any]:
        return [await outer("a"), await outer("b"), await inner()]

    async with embedded.open(url="memory://") as system:
        async with system.sdk("i") as sdk:
            with use_sdk(sdk):
                assert await program() == [[1, 2], [3, 4], 5]
            names = await steps_of(sdk)
        async with system.sdk("i") as sdk:
            with use_sdk(sdk):
                assert await program() == [[1, 2], [3, 4], 5]

    assert len(set(names)) == 7
    assert sum("/" in name for name in names) == 4
    assert counter.calls == 5


async def test_a_step_that_was_interrupted_finds_the_steps_that_it_had_done() -> None:
    counter = Counter()

    @durable
    async def inner() -> int:
        return counter()

    @durable(max_retries=0)
    async def outer(fail: list[bool]) -> list[int]:
        found = [await inner(), await inner()]
        if fail:
            raise LookupError
        return found

    outer_by_name = durable(max_retries=0, key="outer")(outer.__wrapped__)  # type: ignore[attr-defined]

    async with embedded.open(url="memory://") as system:
        async with system.sdk("i") as sdk:
            with use_sdk(sdk), pytest.raises(LookupError):
                await outer_by_name([True])
        async with system.sdk("i") as sdk:
            with use_sdk(sdk):
                assert await outer_by_name([]) == [1, 2]


async def test_a_second_try_finds_the_steps_of_the_first() -> None:
    counter, tries = Counter(), Counter()

    @durable
    async def inner() -> int:
        return counter()

    @durable(delay=0)
    async def outer() -> list[int]:
        found = [await inner(), await inner()]
        if tries() < 3:
            raise LookupError
        return found

    async with embedded.open(url="memory://") as system:
        for _ in range(2):
            async with system.sdk("i") as sdk:
                assert await outer() == [1, 2]
                assert len(await steps_of(sdk)) == 3

    assert (counter.calls, tries.calls) == (2, 3)


def test_recursion_makes_a_step_of_each_call(face: Face) -> None:
    ran: list[int] = []

    def conversation_of(factorial: Any) -> Any:
        async def conversation(system: Any) -> None:
            async def program() -> int:
                found: int = await factorial(4)
                return found

            assert await run_twice(face, system, program) == (24, 24)

        return conversation

    if face.name == "sync":

        @durable
        def blocking(n: int) -> int:
            ran.append(n)
            return 1 if n == 0 else n * blocking(n - 1)

        async def called(n: int) -> int:
            return blocking(n)

        face.hold(conversation_of(called))
    else:

        @durable
        async def awaited(n: int) -> int:
            ran.append(n)
            return 1 if n == 0 else n * await awaited(n - 1)

        face.hold(conversation_of(awaited))

    assert ran == [4, 3, 2, 1, 0]


async def test_calls_in_a_nursery_run_at_the_same_time_and_are_steps_of_their_own() -> None:
    running = trio.Event()
    meeting: set[int] = set()
    ran: list[int] = []

    @durable
    async def meet(number: int) -> int:
        ran.append(number)
        meeting.add(number)
        if len(meeting) == 3:
            running.set()
        await running.wait()  # only over once all three are in here
        return number * 10

    async def program() -> dict[int, int]:
        found: dict[int, int] = {}

        async def call(number: int) -> None:
            found[number] = await meet(number)

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(call, number)
        return found

    async with embedded.open(url="memory://") as system:
        for _ in range(5):
            async with system.sdk("i") as sdk:
                with use_sdk(sdk):
                    assert await program() == {0: 0, 1: 10, 2: 20}
                assert len(await steps_of(sdk)) == 3
    assert sorted(ran) == [0, 1, 2]


async def test_nested_steps_of_calls_at_the_same_time_do_not_meet() -> None:
    @durable
    async def inner() -> str:
        return names.pop()

    @durable
    async def outer(number: int) -> str:
        await trio.lowlevel.checkpoint()
        return f"{number}{await inner()}"

    names = ["a", "b", "c"]
    runs: list[dict[int, str]] = []
    async with embedded.open(url="memory://") as system:
        for _ in range(3):
            found: dict[int, str] = {}
            async with system.sdk("i") as sdk, trio.open_nursery() as nursery:
                with use_sdk(sdk):
                    for number in range(3):
                        nursery.start_soon(_store, found, number, outer)
            runs.append(found)

    assert runs[0] == runs[1] == runs[2]
    assert names == []


async def _store(found: dict[int, str], number: int, step: Any) -> None:
    found[number] = await step(number)


async def test_another_instance_in_the_middle_of_a_step_has_steps_of_its_own() -> None:
    @durable
    async def leaf() -> str:
        return "leaf"

    async with embedded.open(url="memory://") as system, system.sdk("child") as child:

        @durable
        async def parent() -> str:
            with use_sdk(child):
                return await leaf()

        async with system.sdk("parent") as sdk:
            with use_sdk(sdk):
                await parent()
            assert len(await steps_of(sdk)) == 1
        assert [name for name in await steps_of(child) if "/" in name] == []


# Keys ----------------------------------------------------------------------------------------------------------------


def test_a_key_is_the_identity_of_a_step(face: Face) -> None:
    counter = Counter()

    def pay(order_id: str, note: object) -> int:
        return counter()

    def key_of(order_id: str, note: object) -> str:
        return order_id

    for key in ("{order_id}", key_of):
        counter.calls = 0
        step = face.durable(pay, key=key)

        async def conversation(system: Any, step: Any = step) -> None:
            async def program() -> list[int]:
                return [await step("a", object()), await step("b", object()), await step("a", "other")]

            assert await run_twice(face, system, program) == ([1, 2, 1], [1, 2, 1])
            async with system.sdk("i") as sdk:
                assert [name.rpartition("(")[2] for name in await steps_of(sdk)] == ["a)", "b)"]

        face.hold(conversation)


def test_a_key_counts_within_the_step_that_it_is_used_in() -> None:
    counter = Counter()

    @durable(key="same")
    def inner() -> int:
        return counter()

    @durable
    def outer(number: int) -> int:
        return inner()

    with embedded.open(url="memory://") as system:
        for _ in range(2):
            with system.sdk("i") as sdk, use_sdk(sdk):
                assert [outer(1), outer(2), inner(), inner()] == [1, 2, 3, 3]


def test_no_key_looks_like_the_name_of_another_step(face: Face) -> None:
    def pay(order_id: str) -> str:
        return order_id

    step = face.durable(pay, key="{order_id}")
    keys = ["a)/x.y(b", "'a)/x.y(b'", "a#2", "a\nb", "\ud800", "schön 1.5@home", "", "()"]

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with face.use(sdk):
                for key in keys[:4] + keys[5:]:
                    assert await step(key) == key
            names = await steps_of(sdk)
            assert len(set(names)) == len(keys) - 1
            assert not any(name.endswith(("/x.y(b)", "#2)")) for name in names)

    face.hold(conversation)


def test_a_key_that_is_too_long_for_a_name_is_hashed(face: Face) -> None:
    def pay(order_id: str) -> int:
        return len(order_id)

    step = face.durable(pay, key="{order_id}")
    long = "é" * CHECKPOINT_ID_MAX_BYTES

    async def conversation(system: Any) -> None:
        async def program() -> list[int]:
            return [await step(long), await step(long + "x"), await step(long)]

        assert (await run_twice(face, system, program))[1] == [1024, 1025, 1024]
        async with system.sdk("i") as sdk:
            names = await steps_of(sdk)
        assert len(names) == 2
        assert all(name.startswith("durable::") and len(name) < 100 for name in names)

    face.hold(conversation)


@pytest.mark.parametrize("key", ["{missing}", "{0}", "{order_id.missing}", "{order_id"])
def test_a_key_that_does_not_fit_the_arguments_says_so(face: Face, key: str) -> None:
    step = face.durable(lambda order_id: order_id, key=key)

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with face.use(sdk), pytest.raises(InvalidInput, match="does not fit"):
                await step("a")

    face.hold(conversation)


@pytest.mark.parametrize("argument", [object(), "\ud800", {1: object()}])
def test_arguments_that_cannot_name_a_step_ask_for_a_key(face: Face, argument: object) -> None:
    step = face.durable(lambda argument: 1)

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with face.use(sdk), pytest.raises(InvalidInput, match="give key="):
                await step(argument)
            assert await steps_of(sdk) == []

    face.hold(conversation)


def test_wrong_arguments_are_a_type_error_as_ever(face: Face) -> None:
    step = face.durable(lambda argument: 1)

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with face.use(sdk), pytest.raises(TypeError, match="argument"):
                await step(1, 2)

    face.hold(conversation)


@dataclass
class Shop:
    name: str

    @durable
    def sell(self, what: str) -> str:
        return f"{self.name} sells {what}"

    @staticmethod
    @durable
    def count() -> int:
        return 1


def test_methods_are_durable_with_the_object_as_an_argument() -> None:
    with embedded.open(url="memory://") as system:
        for _ in range(2):
            with system.sdk("i") as sdk, use_sdk(sdk):
                assert Shop("a").sell("tea") == "a sells tea"
                assert Shop("b").sell("tea") == "b sells tea"
                assert Shop.count() == 1
        assert system.status("i").checkpoint_count == 3


def test_the_wrapper_looks_like_the_function() -> None:
    @durable
    def plain(a: int, b: str = "x") -> str:
        """Do something plain."""
        return b

    @durable(max_retries=1)
    async def awaited(a: int) -> int:
        """Do something that waits."""
        return a

    assert (plain.__name__, plain.__doc__) == ("plain", "Do something plain.")
    assert str(inspect.signature(plain)) == "(a: int, b: str = 'x') -> str"
    assert inspect.iscoroutinefunction(awaited)
    assert not inspect.iscoroutinefunction(plain)


# Who runs it ---------------------------------------------------------------------------------------------------------


def test_without_an_sdk_in_use_a_step_cannot_run(face: Face) -> None:
    step = face.durable(parcel)

    async def conversation(system: Any) -> None:
        with pytest.raises(ConfigError):
            await step()

    face.hold(conversation)


def test_a_step_needs_the_face_of_its_own_kind(face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            other = durable(_asynchronous) if face.name == "sync" else _awaited(durable(parcel))
            with face.use(sdk), pytest.raises(InvalidInput, match="SDK"):
                await other()

    face.hold(conversation)


async def _asynchronous() -> None:
    raise AssertionError("never runs")


def _awaited(function: Any) -> Any:
    async def call() -> Any:
        return function()

    return call


def test_a_step_needs_a_registered_attempt(face: Face) -> None:
    step = face.durable(parcel)

    async def conversation(system: Any) -> None:
        with face.use(system.sdk("i")), pytest.raises(InvalidInput, match=r"register\(\)"):
            await step()

    face.hold(conversation)


def test_a_fenced_attempt_learns_so_from_its_next_step(face: Face) -> None:
    step = face.durable(parcel)

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as old, system.sdk("i"):
            with face.use(old), pytest.raises(Fenced):
                await step()

    face.hold(conversation)


def test_a_finished_instance_takes_no_more_steps(face: Face) -> None:
    step = face.durable(parcel)

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            await sdk.completed()
            with face.use(sdk), pytest.raises(InvalidState):
                await step()

    face.hold(conversation)


# Retries -------------------------------------------------------------------------------------------------------------


class Flaky:
    """Fails so many times, then returns the number of its calls."""

    def __init__(self, failures: int, error: type[BaseException] = LookupError) -> None:
        self.failures = failures
        self.error = error
        self.at: list[float] = []

    def __call__(self) -> int:
        self.at.append(trio.current_time() if _in_trio() else 0)
        if len(self.at) <= self.failures:
            raise self.error(f"failure {len(self.at)}")
        return len(self.at)


def _in_trio() -> bool:
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


def flaky_step(face: Face, flaky: Flaky, **options: Any) -> Any:
    def flaky_function() -> int:
        return flaky()

    return face.durable(flaky_function, **{"delay": 0, **options})


@pytest.mark.parametrize(("failures", "tries"), [(0, 1), (1, 2), (3, 4)])
def test_a_failure_is_tried_again_up_to_its_limit(face: Face, failures: int, tries: int) -> None:
    flaky = Flaky(failures)
    step = flaky_step(face, flaky)

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with face.use(sdk):
                assert await step() == tries

    face.hold(conversation)


def test_an_error_that_cannot_be_told_is_tried_again_like_any_other(face: Face) -> None:
    step = flaky_step(face, Flaky(2, Unspeakable))

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with face.use(sdk):
                assert await step() == 3

    face.hold(conversation)


@pytest.mark.parametrize(
    ("error", "options", "tries"),
    [
        (LookupError, {"max_retries": 2}, 3),
        (LookupError, {"max_retries": 0}, 1),
        (LookupError, {"retry_on": (OSError,)}, 1),
        (FileNotFoundError, {"retry_on": (OSError,)}, 4),
        (PermanentError, {}, 1),
        (InstanceCancelled, {}, 1),
        (InvalidInput, {}, 1),
        (KeyboardInterrupt, {}, 1),
    ],
)
def test_in_the_end_the_error_of_the_function_is_raised(
    face: Face, error: type[BaseException], options: dict[str, Any], tries: int
) -> None:
    flaky = Flaky(100, error)
    step = flaky_step(face, flaky, **options)

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with face.use(sdk), pytest.raises(error, match=f"failure {tries}"):
                await step()
            assert await steps_of(sdk) == []

    face.hold(conversation)

    assert len(flaky.at) == tries


async def test_the_waits_between_tries_grow_up_to_their_limit(autojump_clock: MockClock) -> None:
    flaky = Flaky(5)

    @durable(max_retries=5, delay=1, max_delay=5, jitter=0)
    async def step() -> int:
        return flaky()

    async with embedded.open(url="memory://", clock=TrioClock()) as system, system.sdk("i") as sdk:
        with use_sdk(sdk):
            assert await step() == 6

    waits = [later - earlier for earlier, later in zip(flaky.at, flaky.at[1:], strict=False)]
    assert waits == pytest.approx([1, 2, 4, 5, 5], abs=0.01)


async def test_waits_are_spread_by_the_chance_of_the_sdk(autojump_clock: MockClock) -> None:
    flaky = Flaky(2)

    @durable(delay=10, jitter=0.5, strategy=RetryStrategy.FIXED)
    async def step() -> int:
        return flaky()

    async with embedded.open(url="memory://", clock=TrioClock()) as system, system.sdk("i") as sdk:
        chance = iter([0.0, 1.0])
        sdk.random = lambda: next(chance)  # type: ignore[misc]
        with use_sdk(sdk):
            await step()

    assert [flaky.at[1] - flaky.at[0], flaky.at[2] - flaky.at[1]] == pytest.approx([5, 15], abs=0.01)


async def test_the_count_and_the_waiting_survive_a_crash(autojump_clock: MockClock) -> None:
    flaky = Flaky(100)

    @durable(max_retries=2, delay=100, max_delay=100, jitter=0, strategy=RetryStrategy.FIXED)
    async def step() -> int:
        return flaky()

    async with embedded.open(url="memory://", clock=TrioClock()) as system:
        async with system.sdk("i") as sdk:
            with use_sdk(sdk), trio.move_on_after(30):
                await step()
        async with system.sdk("i") as sdk:
            with use_sdk(sdk), pytest.raises(LookupError, match="failure 3"):
                await step()

    assert flaky.at == pytest.approx([0, 100, 200], abs=0.01)


async def test_a_clock_that_is_set_back_does_not_prolong_the_waiting(autojump_clock: MockClock) -> None:
    clock, flaky = TrioClock(), Flaky(1)

    @durable(delay=100, max_delay=100, jitter=0)
    async def step() -> int:
        return flaky()

    async with embedded.open(url="memory://", clock=clock) as system:
        async with system.sdk("i") as sdk:
            with use_sdk(sdk), trio.move_on_after(30):
                await step()
        clock.jump_ms(-86_400_000)
        async with system.sdk("i") as sdk:
            with use_sdk(sdk):
                assert await step() == 2

    assert flaky.at == pytest.approx([0, 130], abs=0.01)


def test_a_replay_of_a_step_whose_tries_are_used_up_says_so(face: Face) -> None:
    flaky = Flaky(100)
    step = flaky_step(face, flaky, max_retries=1)

    async def conversation(system: Any) -> None:
        for error in (LookupError, RetriesExhausted, RetriesExhausted):
            async with system.sdk("i") as sdk:
                with face.use(sdk), pytest.raises(error, match="failure 2"):
                    await step()

    face.hold(conversation)

    assert len(flaky.at) == 2


def test_the_tries_of_a_step_are_counted_in_the_store_across_systems(face: Face, tmp_path: Path) -> None:
    flaky = Flaky(100)
    step = flaky_step(face, flaky, max_retries=3)

    def die() -> float:
        raise ConnectionError("the program dies")

    async def first_life(system: Any) -> None:
        async with system.sdk("i") as sdk:
            chances = iter([0.5, 0.5])  # a third failure finds none: the program dies before it was counted
            (sdk.inner if face.name == "sync" else sdk).random = lambda: next(chances, None) or die()
            with face.use(sdk), pytest.raises(ConnectionError):
                await step()

    async def second_life(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with face.use(sdk), pytest.raises(LookupError):
                await step()
            (name,) = {retry.checkpoint_id for retry in (await _retries(sdk, step)).retries}
            assert name.endswith("flaky_function()")

    face.hold(first_life, url=f"sqlite:///{tmp_path}/runtara.db")
    face.hold(second_life, url=f"sqlite:///{tmp_path}/runtara.db")

    assert len(flaky.at) == 3 + 2  # the third failure was never stored, so it does not count


async def _retries(sdk: Any, step: Any) -> Any:
    name = f"durable::{step.__module__}.{step.__qualname__}()"
    return await sdk.perform(ListRetries(checkpoint_id=name))


class Limited(Exception):
    """As the libraries of web services raise it."""

    def __init__(self, text: str, retry_after: Any = 30) -> None:
        super().__init__(text)
        self.retry_after = retry_after


async def test_a_failure_that_says_when_to_try_again_is_tried_again_then(autojump_clock: MockClock) -> None:
    errors: list[Exception] = [
        Limited("a"),
        RetryLater("b", timedelta(minutes=2)),
        Limited("c", 10**6),
        Limited("d", -1),
    ]
    at: list[float] = []

    @durable(max_retries=4, delay=1, jitter=0, strategy=RetryStrategy.FIXED, max_retry_after=500)
    async def step() -> int:
        at.append(trio.current_time())
        if len(at) <= len(errors):
            raise errors[len(at) - 1]
        return len(at)

    async with embedded.open(url="memory://", clock=TrioClock()) as system, system.sdk("i") as sdk:
        with use_sdk(sdk):
            assert await step() == 5

    assert at == pytest.approx([0, 30, 150, 650, 651], abs=0.01)


async def test_when_to_try_again_survives_a_crash(autojump_clock: MockClock) -> None:
    at: list[float] = []

    @durable(delay=1, max_delay=1)
    async def step() -> int:
        at.append(trio.current_time())
        if len(at) == 1:
            raise RetryLater("busy", after=100)
        return len(at)

    async with embedded.open(url="memory://", clock=TrioClock()) as system:
        async with system.sdk("i") as sdk:
            with use_sdk(sdk), trio.move_on_after(30):
                await step()
        async with system.sdk("i") as sdk:
            with use_sdk(sdk):
                assert await step() == 2

    assert at == pytest.approx([0, 100], abs=0.01)


# Time ----------------------------------------------------------------------------------------------------------------


async def test_each_try_has_its_time(autojump_clock: MockClock) -> None:
    began: list[float] = []

    @durable(timeout=10, delay=0, max_retries=2)
    async def step() -> str:
        began.append(trio.current_time())
        await trio.sleep(600 if len(began) < 3 else 9)
        return "done"

    async with embedded.open(url="memory://", clock=TrioClock()) as system, system.sdk("i") as sdk:
        with use_sdk(sdk):
            assert await step() == "done"

    assert began == pytest.approx([0, 10, 20], abs=0.01)


async def test_a_step_that_never_ends_in_time_fails_with_a_timeout(autojump_clock: MockClock) -> None:
    @durable(timeout=10, delay=0, max_retries=1)
    async def step() -> None:
        await trio.sleep_forever()

    async with embedded.open(url="memory://", clock=TrioClock()) as system, system.sdk("i") as sdk:
        with use_sdk(sdk), pytest.raises(TimeoutError, match=r"step\(\) took longer than 10 seconds"):
            await step()
        assert await steps_of(sdk) == []
        (_, last) = (await _retries(sdk, step)).retries
        assert "TimeoutError" in str(last.error)


def test_a_blocking_try_that_was_abandoned_can_store_nothing_any_more() -> None:
    gone, refused = threading.Event(), threading.Event()
    tries: list[int] = []

    @durable
    def inner() -> str:
        return "inner"

    @durable(timeout=0.5, delay=0, max_retries=100)
    def step() -> str:
        tries.append(threading.get_ident())
        if len(tries) > 1:  # on a busy machine even this may take longer than it may
            return "second"
        gone.wait(100)
        for call in (inner, lambda: mine.checkpoint("a", b""), mine.heartbeat):
            try:
                call()
            except DeadlineExceeded:
                continue
            return "never refused"
        refused.set()
        return "first"

    with embedded.open(url="memory://") as system, system.sdk("i") as mine:
        assert step() == "second"
        gone.set()
        assert refused.wait(100)
        assert tries[0] not in tries[1:]
        assert mine.get_status().checkpoint_count == 1  # the program itself goes on as ever


def test_a_blocking_step_with_a_timeout_has_its_steps_and_signals_as_ever(face: Face) -> None:
    def double(number: int) -> int:
        return 2 * number

    step = face.durable(double, timeout=30)

    async def conversation(system: Any) -> None:
        assert await run_twice(face, system, lambda: step(4)) == (8, 8)

    face.hold(conversation)


def test_a_program_that_parks_in_a_step_with_a_timeout_ends(face: Face) -> None:
    def park() -> None:
        raise Parked

    step = face.durable(park, timeout=30)

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with face.use(sdk), pytest.raises(Parked):
                await step()

    face.hold(conversation)


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": "5"},
        {"timeout": True},
        {"timeout": float("nan")},
        {"timeout": timedelta(seconds=1)},
        {"key": 5},
        {"max_retries": "3"},
        {"max_retries": 1.5},
        {"delay": "1"},
        {"max_retry_after": -1},
        {"strategy": "exponential"},
        {"retry_on": LookupError},
        {"retry_on": (1,)},
    ],
    ids=repr,
)
def test_options_that_make_no_sense_are_refused_where_they_are_written(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(InvalidInput, match=f"{name} of .* is not allowed"):
        durable(**wrong)


def test_an_option_that_does_not_exist_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"durable\(\) has no option 'retries': did you mean max_retries\?"):
        durable(retries=3)  # type: ignore[call-overload]  # on purpose


@pytest.mark.parametrize("wrong", [3, "step", Parcel], ids=repr)
def test_only_functions_can_be_durable(wrong: Any) -> None:
    with pytest.raises(InvalidInput, match="decorate a function"):
        durable(wrong)


def test_a_signal_taken_in_a_step_is_not_taken_again_behind_it_by_a_replay(face: Face) -> None:
    async def conversation(system: Any) -> None:
        current: list[Any] = []

        async def wait() -> str:
            return str((await current[0].wait_for_signal("go")).payload.decode())

        def wait_blocking() -> str:
            return str(current[0].inner.wait_for_signal("go").payload.decode())

        step = awaited(durable(wait_blocking)) if face.name == "sync" else durable(wait)
        async with system.sdk("i"):
            pass
        for payload in (b"first", b"second"):
            await system.custom_signal("i", "go", payload)

        async def program() -> list[str]:
            return [await step(), await wait()]

        for _ in range(2):
            async with system.sdk("i") as sdk:
                current[:] = [sdk]
                with face.use(sdk):
                    assert await program() == ["first", "second"]

    face.hold(conversation)


def awaited(function: Any) -> Any:
    async def call() -> Any:
        return function()

    return call


# Signals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signal", "error"), [(SignalType.CANCEL, InstanceCancelled), (SignalType.PAUSE, InstancePaused)]
)
def test_a_signal_that_waits_keeps_a_step_from_running(face: Face, signal: SignalType, error: type[Exception]) -> None:
    flaky = Flaky(0)
    step = flaky_step(face, flaky)

    async def conversation(system: Any) -> None:
        async with system.sdk("i"):
            pass
        async with system.sdk("i") as sdk:
            await system.signal("i", signal)
            with face.use(sdk), pytest.raises(error):
                await step()

    face.hold(conversation)

    assert flaky.at == []


@pytest.mark.parametrize(
    ("signal", "error"), [(SignalType.CANCEL, InstanceCancelled), (SignalType.PAUSE, InstancePaused)]
)
def test_a_signal_ends_the_wait_between_two_tries(face: Face, signal: SignalType, error: type[Exception]) -> None:
    flaky = Flaky(100)
    step = flaky_step(face, flaky, delay=600, max_delay=600)

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            when_it_waits(sdk, lambda: outside(system).signal("i", signal))
            with face.use(sdk), pytest.raises(error):
                await step()

    face.hold(conversation)

    assert len(flaky.at) == 1


async def test_a_signal_that_comes_while_a_step_runs_is_raised_after_its_result_was_kept() -> None:
    async with embedded.open(url="memory://") as system:

        @durable
        async def step() -> str:
            await system.signal("i", SignalType.CANCEL)
            return "kept"

        async with system.sdk("i") as sdk:
            with use_sdk(sdk), pytest.raises(InstanceCancelled):
                await step()
            assert len(await steps_of(sdk)) == 1


async def test_a_signal_that_an_inner_step_sees_ends_the_outer_one_without_another_try() -> None:
    tries: list[str] = []
    async with embedded.open(url="memory://") as system:

        @durable
        async def inner() -> None:
            await system.signal("i", SignalType.PAUSE)

        @durable
        async def outer() -> None:
            tries.append("outer")
            await inner()

        async with system.sdk("i") as sdk:
            with use_sdk(sdk), pytest.raises(InstancePaused):
                await outer()
            await sdk.suspended()
        await system.signal("i", SignalType.RESUME)
        async with system.sdk("i") as sdk:
            with use_sdk(sdk):
                await outer()

    assert tries == ["outer", "outer"]


async def test_a_program_that_swallows_a_cancel_runs_no_further_step() -> None:
    ran: list[int] = []

    @durable
    async def step(number: int) -> None:
        ran.append(number)

    async with embedded.open(url="memory://") as system, system.sdk("i") as sdk:
        await system.signal("i", SignalType.CANCEL)
        await trio.testing.wait_all_tasks_blocked()
        with use_sdk(sdk):
            for number in range(3):
                with pytest.raises(InstanceCancelled):
                    await step(number)

    assert ran == []


# Types ---------------------------------------------------------------------------------------------------------------

TYPED_PROGRAM = """
from runtara.sdk import durable

@durable
def plain(a: int, b: str = "x") -> list[str]:
    return [b] * a

@durable(max_retries=1, key="{a}")
async def awaited(a: int) -> float:
    return a / 2

reveal_type(plain)
reveal_type(awaited)
plain("no")
"""


@pytest.mark.slow
def test_type_checkers_see_the_function_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(TYPED_PROGRAM)

    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(tmp_path / "program.py")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert '"def (a: int, b: str =) -> list[str]"' in done.stdout.replace("builtins.", "")
    assert '"def (a: int) -> typing.Coroutine[Any, Any, float]"' in done.stdout.replace("builtins.", "")
    assert 'incompatible type "str"; expected "int"' in done.stdout
