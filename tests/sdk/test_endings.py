"""Programs that run by themselves; those of this process are in test_programs."""

import subprocess
import sys
from typing import Any

import pytest

from runtara.errors import InstanceCancelled, InvalidState, StoreUnavailable
from runtara.sdk import InstanceStatus, Parked, SignalType, sdk, try_sdk
from tests.house.source import ROOT
from tests.sdk.faces import Face, Unspeakable


@pytest.mark.parametrize(
    ("output", "stored"), [(None, b""), (b"bytes", b"bytes"), ({"a": [1, None]}, b'{"a":[1,null]}'), (0, b"0")]
)
def test_a_block_that_ends_completes_the_instance(any_face: Face, output: Any, stored: bytes) -> None:
    async def conversation(system: Any) -> None:
        mine = system.sdk("i")
        async with mine.program() as program:
            assert (sdk().instance_id, mine.is_registered) == ("i", True)
            program.output = output

        status = await system.status("i")
        assert (status.status, status.output) == (InstanceStatus.COMPLETED, stored)
        assert try_sdk() is None

    any_face.hold(conversation)


def test_a_block_that_raises_fails_the_instance_and_the_error_goes_on(any_face: Face) -> None:
    async def conversation(system: Any) -> None:
        with pytest.raises(LookupError, match="out of stock"):
            async with system.sdk("i").program():
                raise LookupError("out of stock")

        status = await system.status("i")
        assert (status.status, status.error) == (InstanceStatus.FAILED, "LookupError: out of stock")

    any_face.hold(conversation)


def test_an_output_that_cannot_be_stored_is_a_failure(face: Face) -> None:
    async def conversation(system: Any) -> None:
        with pytest.raises(TypeError):
            async with system.sdk("i").program() as program:
                program.output = object()

        assert "TypeError" in (await system.status("i")).error

    face.hold(conversation)


@pytest.mark.parametrize(
    ("signal", "status"),
    [
        (SignalType.CANCEL, InstanceStatus.CANCELLED),
        (SignalType.PAUSE, InstanceStatus.SUSPENDED),
        (SignalType.SHUTDOWN, InstanceStatus.SUSPENDED),
    ],
)
def test_a_block_that_is_told_to_end_says_so_and_ends_quietly(
    any_face: Face, signal: SignalType, status: InstanceStatus
) -> None:
    async def conversation(system: Any) -> None:
        mine = system.sdk("i")
        async with mine.program():
            async for _ in mine.each("abc", name="letters"):
                await system.signal("i", signal)
            raise AssertionError("the loop goes on")

        found = await system.status("i")  # type: ignore[unreachable]  # a block may end quietly
        assert (found.status, found.checkpoint_count) == (status, 1)

    any_face.hold(conversation)


def test_a_block_that_lost_its_instance_to_a_newer_attempt_ends_quietly(any_face: Face) -> None:
    """Two programs with one instance id: the newer one has it, and the older one does no harm."""

    async def conversation(system: Any) -> None:
        old, new = system.sdk("i"), system.sdk("i")
        async with old.program():
            await new.register()
            await old.checkpoint("a", b"old")
            raise AssertionError("never gets here")

        status = await system.status("i")  # type: ignore[unreachable]  # a block may end quietly
        assert status.status is InstanceStatus.RUNNING
        assert not (await new.checkpoint("a", b"new")).found

    any_face.hold(conversation)


def test_a_cancel_that_nobody_sent_is_a_failure_and_goes_on(face: Face) -> None:
    async def conversation(system: Any) -> None:
        with pytest.raises(InstanceCancelled):
            async with system.sdk("i").program():
                raise InstanceCancelled("of its own accord")
        assert (await system.status("i")).status is InstanceStatus.FAILED

    face.hold(conversation)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StoreUnavailable("away"), Parked()], ids=repr)
def test_what_is_to_be_launched_again_is_not_reported(face: Face, error: BaseException) -> None:
    async def conversation(system: Any) -> None:
        with pytest.raises(type(error)):
            async with system.sdk("i").program():
                raise error
        assert (await system.status("i")).status is InstanceStatus.RUNNING

    face.hold(conversation)


def test_a_program_may_report_its_own_end(face: Face) -> None:
    async def conversation(system: Any) -> None:
        mine = system.sdk("i")
        async with mine.program() as program:
            program.output = "ignored"
            await mine.completed(b"mine")
        assert (await system.status("i")).output == b"mine"

        mine = system.sdk("other")

        async def complete_and_fail() -> None:
            async with mine.program():
                await mine.completed(b"mine")
                raise LookupError("too late")

        with pytest.raises(LookupError):
            await complete_and_fail()
        assert (await system.status("other")).status is InstanceStatus.COMPLETED

    face.hold(conversation)


def test_an_instance_that_has_ended_is_not_begun_again(face: Face) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i").program():
            pass
        with pytest.raises(InvalidState):
            async with system.sdk("i").program():
                raise AssertionError("never begins")

    face.hold(conversation)


def test_a_program_that_waits_in_a_group_is_told_to_end_as_well(face: Face) -> None:
    async def conversation(system: Any) -> None:
        mine = system.sdk("i")
        async with mine.program():
            await system.signal("i", SignalType.CANCEL)
            try:
                await mine.check_cancelled()
            except InstanceCancelled as told:
                raise ExceptionGroup("a nursery", [ValueError("collateral"), told]) from None

        assert (await system.status("i")).status is InstanceStatus.CANCELLED

    face.hold(conversation)


def test_looking_for_a_cancelled_task_imports_no_loop() -> None:
    code = (
        "import sys\n"
        "from runtara.sdk._endings import End, report\n"
        "for name in ('trio', 'asyncio'): sys.modules.pop(name, None)\n"
        "try: report(KeyboardInterrupt()).send(None)\n"
        "except StopIteration as end: assert end.value is End.CRASH\n"
        "assert not {'trio', 'asyncio'} & set(sys.modules)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, cwd=ROOT)

    assert done.returncode == 0, done.stderr.decode()


def test_an_error_whose_words_fail_fails_the_instance_all_the_same(face: Face) -> None:
    async def conversation(system: Any) -> None:
        with pytest.raises(Unspeakable):
            async with system.sdk("i").program():
                raise Unspeakable

        status = await system.status("i")
        assert status.status == InstanceStatus.FAILED
        assert status.error.startswith("Unspeakable: its words cannot be told")

    face.hold(conversation)
