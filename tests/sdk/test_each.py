import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runtara.errors import InstanceCancelled, InstancePaused, InvalidInput
from runtara.messages import ListCheckpoints
from runtara.sdk import SignalType, embedded
from tests.house.source import ROOT
from tests.sdk.faces import Face, commands_of


async def saved(sdk: Any) -> list[str]:
    page = await sdk.perform(ListCheckpoints(limit=1000))
    return [row.checkpoint_id for row in page.checkpoints]


class Crash(BaseException):
    """The attempt ends here, without a word."""


def test_the_body_runs_once_for_each_item_and_a_checkpoint_is_saved_behind_it(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            ran: list[str] = []
            async for item in sdk.each("abc", name="letters"):
                assert len(await saved(sdk)) == len(ran)
                ran.append(item)

            assert ran == ["a", "b", "c"]
            assert await saved(sdk) == [f"durable::each(letters)/{index}" for index in range(3)]

    any_face.hold(conversation)


@pytest.mark.parametrize("crash_at", range(8))
def test_a_replay_goes_on_behind_the_last_item_that_was_done(face: Face, crash_at: int) -> None:
    ran: list[int] = []

    async def attempt(system: Any, crash: int | None) -> int:
        async with system.sdk("i") as sdk:
            loop = sdk.each(range(7), name="numbers", state=0)
            async for item in loop:
                ran.append(item)
                if item == crash:
                    raise Crash
                loop.state += item
            if crash == 7:
                raise Crash
            total: int = loop.state
            return total

    async def conversation(system: Any) -> None:
        with pytest.raises(Crash):
            await attempt(system, crash_at)
        assert await attempt(system, None) == 21
        assert await attempt(system, None) == 21

    face.hold(conversation)

    assert ran == sorted([*range(7), *([crash_at] if crash_at < 7 else [])])


def test_the_last_item_that_was_done_is_found_with_a_few_looks(face: Face) -> None:
    async def conversation(system: Any) -> None:
        sent: list[str] = []
        for _ in range(2):
            async with system.sdk("i") as sdk:
                commands = commands_of(sdk.inner if face.name == "sync" else sdk)
                async for _ in sdk.each(range(200), name="numbers"):
                    pass
                sent = list(commands)

        assert "SaveCheckpoint" not in sent
        assert sent.count("GetCheckpoint") < 20

    face.hold(conversation)


@dataclass
class Sums:
    even: int = 0
    odd: tuple[int, ...] = ()


def test_a_state_comes_back_as_what_it_was(face: Face) -> None:
    async def conversation(system: Any) -> None:
        for attempt in range(2):
            async with system.sdk("i") as sdk:
                loop = sdk.each(range(4), name="numbers", state=Sums())
                async for item in loop:
                    assert attempt == 0
                    if item % 2:
                        loop.state.odd += (item,)
                    else:
                        loop.state.even += item
                assert loop.state == Sums(2, (1, 3))

    face.hold(conversation)


def test_what_a_body_calls_belongs_to_its_item(face: Face) -> None:
    """A replay leaves out items: what the others call must not be taken for what those have called."""
    answers: list[tuple[str, int, bytes]] = []
    calls = 0

    def count() -> int:
        nonlocal calls
        calls += 1
        return calls

    step = face.durable(count)

    async def attempt(system: Any, crash: str | None) -> None:
        async with system.sdk("i") as sdk:
            with face.use(sdk):
                async for item in sdk.each("abc", name="letters"):
                    answer = await sdk.wait_for_signal("go")
                    answers.append((item, await step(), answer.payload))
                    if item == crash:
                        raise Crash
                answers.append(("end", await step(), (await sdk.wait_for_signal("go")).payload))

    async def conversation(system: Any) -> None:
        async with system.sdk("i"):
            pass
        for payload in (b"1", b"2", b"3", b"4"):
            await system.custom_signal("i", "go", payload)
        with pytest.raises(Crash):
            await attempt(system, "b")
        await attempt(system, None)

    face.hold(conversation)

    first, second, replayed, *rest = answers
    assert (first, second, replayed) == (("a", 1, b"1"), ("b", 2, b"2"), ("b", 2, b"2"))
    assert rest == [("c", 3, b"3"), ("end", 4, b"4")]


def test_two_loops_of_one_name_are_two_loops(face: Face) -> None:
    async def conversation(system: Any) -> None:
        ran = []
        for _ in range(2):
            async with system.sdk("i") as sdk:
                for _ in range(2):
                    async for item in sdk.each("ab", name="letters"):
                        ran.append(item)
                        ran.extend([inner async for inner in sdk.each("xy", name="letters")])
        assert "".join(ran) == "axybxy" * 2

    face.hold(conversation)


def test_an_item_that_is_left_by_break_is_not_done(face: Face) -> None:
    async def conversation(system: Any) -> None:
        ran = []
        for _ in range(2):
            async with system.sdk("i") as sdk:
                async for item in sdk.each("abc", name="letters"):
                    ran.append(item)
                    if item == "b":
                        break
        assert "".join(ran) == "abb"

    face.hold(conversation)


@pytest.mark.parametrize(
    ("kind", "error"), [(SignalType.CANCEL, InstanceCancelled), (SignalType.PAUSE, InstancePaused)]
)
def test_a_signal_is_seen_between_two_items_and_what_was_done_stays_done(
    any_face: Face, kind: SignalType, error: type[Exception]
) -> None:
    ran: list[str] = []

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:

            async def program() -> None:
                async for item in sdk.each("abc", name="letters"):
                    ran.append(item)
                    await system.signal("i", kind)

            with pytest.raises(error):
                await program()
            assert len(await saved(sdk)) == 1

    any_face.hold(conversation)

    assert ran == ["a"]


def test_a_loop_that_was_interrupted_before_an_item_does_not_take_it_for_done(face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i"):
            pass
        async with system.sdk("i") as sdk:
            await system.signal("i", SignalType.PAUSE)
            loop = sdk.each("abc", name="letters").__aiter__()
            for _ in range(3):
                with pytest.raises(InstancePaused):
                    await loop.__anext__()
            assert await saved(sdk) == []

    face.hold(conversation)


def test_fewer_items_than_are_done_are_refused(face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            async for _ in sdk.each("abc", name="letters"):
                pass
        async with system.sdk("i") as sdk:
            with pytest.raises(InvalidInput, match=r"3 items of .*letters.* are done, but there are only 2"):
                await sdk.each("ab", name="letters").__aiter__().__anext__()

    face.hold(conversation)


def test_a_state_that_cannot_be_stored_or_has_changed_its_type_says_so(face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            loop = sdk.each("abc", name="letters").__aiter__()
            await loop.__anext__()
            loop.state = object()
            with pytest.raises(InvalidInput, match=r"the state of .*letters.* cannot be stored"):
                await loop.__anext__()
            assert await saved(sdk) == []
        async with system.sdk("i") as sdk:
            loop = sdk.each("a", name="letters", state={})
            async for _ in loop:
                loop.state["even"] = "text"
        async with system.sdk("i") as sdk:
            with pytest.raises(InvalidInput, match=r"the stored state of .*letters.* any more"):
                await sdk.each("a", name="letters", state=Sums()).__aiter__().__anext__()

    face.hold(conversation)


KILLED = """
import os, signal, sys
from runtara.sdk import RuntaraSdk

sdk = RuntaraSdk.embedded("i", data_dir=sys.argv[1])
with sdk.program() as program:
    numbers = sdk.each(range(4), name="numbers", state=0)
    for number in numbers:
        print(number, flush=True)
        if str(number) == sys.argv[2]:
            os.kill(os.getpid(), signal.SIGKILL)
        numbers.state += number
    program.output = numbers.state
"""


@pytest.mark.slow
def test_a_program_whose_process_is_killed_in_every_item_does_each_item_to_its_end_once(tmp_path: Path) -> None:
    said = []
    for kill_at in ("0", "1", "2", "3", "never"):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path), kill_at], capture_output=True, check=False, cwd=ROOT
        )
        said.append(done.stdout.split())
        assert done.returncode == (0 if kill_at == "never" else -signal.SIGKILL), done.stderr.decode()

    assert said == [[b"0"], [b"0", b"1"], [b"1", b"2"], [b"2", b"3"], [b"3"]]
    with embedded.open(str(tmp_path)) as system:
        assert system.status("i").output == b"6"


@pytest.mark.parametrize(("items", "name"), [(3, "a"), (None, "a"), ("abc", ""), ("abc", None), ("abc", b"a")])
def test_a_loop_that_makes_no_sense_is_refused(face: Face, items: Any, name: Any) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with pytest.raises(InvalidInput, match="loop"):
                sdk.each(items, name=name)

    face.hold(conversation)
