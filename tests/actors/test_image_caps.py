from collections.abc import Callable
from math import inf
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runtara.actors import Actor, child, hears, open_system, supervisor
from runtara.actors import _image_caps as image_caps
from runtara.actors._image_caps import CapReader, ImageCaps
from runtara.actors.storage import Query
from runtara.errors import StoreUnavailable
from runtara.ids import ImageRef
from runtara.records import ImageVersion

REF = ImageRef("a" * 32, 1)


def version(options: bytes) -> ImageVersion:
    return ImageVersion(version=1, digest="d" * 64, size=1, kind="python", created_at=0, options=options)


def test_a_cap_is_asked_for_once_and_nobody_may_go_until_it_is_known() -> None:
    asked: list[tuple[str, ImageRef]] = []
    caps = ImageCaps(lambda tenant_id, ref: asked.append((tenant_id, ref)))

    before = [caps.cap_of("acme", REF.program), caps.cap_of("acme", REF.program)]
    known_before, bounded_before = caps.is_known("acme", REF.program), caps.bounded()
    caps.learn(("acme", REF.program), 3)

    assert (before, known_before, bounded_before) == ([0, 0], False, (("acme", REF.program),))
    assert (caps.cap_of("acme", REF.program), caps.is_known("acme", REF.program)) == (3, True)
    assert asked == [("acme", REF)]


def test_a_program_that_is_no_image_has_no_cap_and_nothing_is_read_for_it() -> None:
    asked: list[object] = []
    caps = ImageCaps(lambda tenant_id, ref: asked.append(ref))

    assert (caps.cap_of("acme", "ship.py"), caps.is_known("acme", "ship.py"), asked) == (inf, True, [])
    assert caps.is_known("acme", None)


def test_a_cap_that_could_not_be_read_is_asked_for_again() -> None:
    asked: list[object] = []
    caps = ImageCaps(lambda tenant_id, ref: asked.append(ref))
    caps.cap_of("acme", REF.program)

    caps.learn(("acme", REF.program), None)
    caps.cap_of("acme", REF.program)

    assert len(asked) == 2


def test_only_so_many_caps_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_caps, "CAPS_MAX", 2)
    caps = ImageCaps(lambda tenant_id, ref: None)
    refs = [ImageRef("a" * 32, number) for number in (1, 2, 3)]

    for ref in refs:
        caps.learn(("acme", ref.program), 1)

    assert [caps.is_known("acme", ref.program) for ref in refs] == [False, True, True]


class Library(Actor):
    """A reader that fails as often as it is told."""

    def __init__(self, answers: list[Any]) -> None:
        self._answers = answers

    @hears(Query)
    def query(self, _: Query) -> Any:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Asker(CapReader):
    """Wants to know one cap, again and again."""

    def __init__(self, known: Callable[[float], None]) -> None:
        super().__init__()
        self._known = known

    async def on_start(self) -> None:
        self._reader = self.system.ref("root/library")
        self._caps.cap_of("acme", REF.program)

    def go_on(self) -> None:
        self._known(self._caps.cap_of("acme", REF.program))


@pytest.mark.parametrize(
    ("answers", "caps", "after"),
    [
        ([version(b'{"max_concurrent": 2}')], [2], 0.0),
        ([version(b"{}")], [inf], 0.0),
        ([version(b'{"max_concurrent": 4, "of_a_newer_host": 1}')], [4], 0.0),
        ([None], [inf], 0.0),
        ([StoreUnavailable("away"), version(b'{"max_concurrent": 1}')], [0, 1], 1.0),
    ],
    ids=["cap", "no cap", "options of a newer host", "image is gone", "store is away"],
)
async def test_a_cap_is_read_from_the_version_of_the_image(
    answers: list[Any], caps: list[float], after: float, autojump_clock: MockClock
) -> None:
    found: list[tuple[float, float]] = []
    root = supervisor(
        "root",
        child("library", Library, answers),
        child("asker", Asker, lambda cap: found.append((trio.current_time(), cap))),
    )

    async with open_system(root):
        began = trio.current_time()
        await trio.sleep(60)

    assert [cap for _, cap in found] == caps
    assert found[-1][0] - began == pytest.approx(after, abs=0.01)
