"""The fake engine by itself; what every engine promises is in test_contract."""

import pytest
import trio

from runtara.actors.runners import Engine, Plan, PlannedImage
from runtara.actors.runners.fake import FakeEngine, FakeRun
from runtara.errors import NotFound
from runtara.records import ImageOptions
from tests.actors.runners.fakes import FakeHall
from tests.actors.runners.hall import KEY, serving


def test_the_fake_engine_has_the_shape_of_one() -> None:
    engine: Engine = FakeEngine()  # held by the type checker

    assert callable(engine.launch)


async def test_a_line_takes_the_time_that_it_says(autojump_clock: trio.testing.MockClock) -> None:
    async with serving(FakeHall()) as hall:
        began = trio.current_time()
        ended = await hall.end(await hall.act("sleep 5; echo", input=b"in"))

        assert ended.output == b"in"
        assert trio.current_time() - began == 5


async def test_asked_to_end_a_line_ends_and_a_deaf_one_has_its_grace(autojump_clock: trio.testing.MockClock) -> None:
    async with serving(FakeHall(kill_grace=3)) as hall:
        ends = []
        for epoch, line in enumerate(("hang", "deaf; hang", "deaf; sleep 1; exit 4")):
            attempt = await hall.act(line, epoch=epoch)
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            attempt.stop("ask")
            ends.append(((await hall.end(attempt)).exit_code, trio.current_time() - began))

    assert ends == [(-15, 0), (-9, 3), (4, 1)]


async def test_a_crash_is_told_as_one() -> None:
    async with serving(FakeHall()) as hall:
        assert (await hall.end(await hall.act("crash"))).exit_code == -11


async def test_a_function_is_a_program_by_its_name() -> None:
    async def double(run: FakeRun) -> int:
        run.say(run.env["WHO"].encode())
        run.output = (run.input or b"") * 2
        await trio.lowlevel.checkpoint()
        return 0

    async def broken(_: FakeRun) -> int:
        raise ValueError("on purpose")

    async with serving(FakeHall(None, {"double": double, "broken": broken})) as hall:
        good = await hall.end(await hall.act("double", input=b"ab", env={"WHO": "me"}))
        bad = await hall.end(await hall.act("broken", epoch=2))

        assert (good.exit_code, good.output) == (0, b"abab")
        assert await hall.read() == b"me"
        assert bad.exit_code == 1
        assert "on purpose" in bad.error


@pytest.mark.parametrize(("line", "what"), [("dance", "'dance'"), ("say x; sleep soon", "a number"), ("", "''")])
def test_what_is_no_program_is_refused_with_what_would_be(line: str, what: str) -> None:
    with pytest.raises(NotFound, match=what):
        FakeEngine().check(line)


async def test_what_runs_when_the_engine_is_no_longer_served_is_lost_without_fault() -> None:
    hall = FakeHall()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hall.engine.serve)
        await hall.act("hang")
        nursery.cancel_scope.cancel()

    (adopted,) = await hall.another().engine.adopt()
    ended = await hall.end(adopted)

    assert (ended.exit_code, ended.counts) == (None, False)


async def test_a_launch_waits_until_the_engine_is_served(autojump_clock: trio.testing.MockClock) -> None:
    hall = FakeHall()
    async with trio.open_nursery() as nursery:

        async def serve_later() -> None:
            await trio.sleep(1)
            await hall.engine.serve()

        nursery.start_soon(serve_later)
        ended = await hall.end(await hall.act("exit 3"))
        nursery.cancel_scope.cancel()

    assert ended.exit_code == 3


async def test_logs_and_outputs_are_capped() -> None:
    async with serving(FakeHall(log_bytes=10, output_max_bytes=3)) as hall:
        ended = await hall.end(await hall.act("say 0123456789; output four"))

        assert ended.exit_code == 1
        assert "more than 3 bytes" in ended.error
        assert await hall.engine.read_log(KEY, "stdout", 0, 100) == (b"123456789\n", 1)


async def test_the_command_of_an_image_is_its_line() -> None:
    image = PlannedImage(digest="0", kind="oci", options=ImageOptions(command=("exit", "6")))
    async with serving(FakeHall()) as hall:
        attempt = await hall.engine.launch(Plan(key=KEY, epoch=1, program="an image", image=image))

        assert (await hall.end(attempt)).exit_code == 6
