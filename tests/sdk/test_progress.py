from typing import Any

import msgspec
import pytest

from runtara.errors import InvalidInput
from runtara.messages import ListEvents
from runtara.sdk import progress
from runtara.sdk.progress import EVERY, Progress
from tests.sdk.faces import Face


class Watch:
    """A clock that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(progress, "monotonic", lambda: self.now)


async def written(sdk: Any) -> list[Progress]:
    page = await sdk.perform(ListEvents(event_type="custom", subtype="progress"))
    return [msgspec.json.decode(event.payload, type=Progress) for event in page.events]


def test_progress_is_written_once_in_a_while_and_when_everything_is_done(
    any_face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(monkeypatch)

    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            for done in range(1, 6):
                watch.now = done * EVERY / 2
                await sdk.progress(done, 6, "parcels")
            await sdk.progress(6, 6)

            assert [said.done for said in await written(sdk)] == [1, 3, 5, 6]

    any_face.hold(conversation)


def test_a_program_that_ends_writes_what_it_has_said_last(any_face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    Watch(monkeypatch)  # it stands still

    async def conversation(system: Any) -> None:
        sdk = system.sdk("i")
        async with sdk.program():
            await sdk.progress(1)
            await sdk.progress(2)
            await sdk.progress(3)
        async with system.sdk("other") as other:
            assert not await written(other)
        assert [said.done for said in await written(sdk)] == [1, 3]

    any_face.hold(conversation)


@pytest.mark.parametrize(
    "wrong", [(-1,), ("1",), (True,), (float("nan"),), (float("inf"),), (1, -1), (1, "2"), (1, 2, b"text")]
)
def test_progress_that_is_none_is_refused(face: Face, wrong: tuple[Any, ...]) -> None:
    async def conversation(system: Any) -> None:
        async with system.sdk("i") as sdk:
            with pytest.raises(InvalidInput, match="progress"):
                await sdk.progress(*wrong)
            assert await written(sdk) == []

    face.hold(conversation)


def test_progress_reads_as_a_sentence() -> None:
    assert str(Progress(3, 10, "sorting")) == "3 of 10 · sorting"
    assert str(Progress(2.5)) == "2.5"
    assert [Progress(1).is_all, Progress(1, 2).is_all, Progress(2, 2).is_all] == [False, False, True]
