"""Work that goes on by itself, under supervision."""

import trio

from runtara.actors import child
from runtara.actors.lookout import Lookout
from tests.actors.stage import open_stage


async def test_what_a_lookout_does_begins_again_when_it_has_failed_and_ends_with_the_system() -> None:
    begun, ended, again = 0, 0, trio.Event()

    async def watch() -> None:
        nonlocal begun, ended
        begun += 1
        try:
            if begun == 1:
                raise ValueError("a bug")
            again.set()
            await trio.sleep_forever()
        finally:
            ended += 1

    async with open_stage() as stage:
        await stage.system.start_child("root", child("watch", Lookout, watch))
        with trio.fail_after(60):
            await again.wait()

    assert (begun, ended) == (2, 2)
