"""Other nodes that are asked: made-up ways to them, and what comes of each answer."""

import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from runtara.actors import _images_fetches as fetches
from runtara.actors import child
from runtara.actors._images_fetches import BringImage
from runtara.actors.images import ImageRegistry
from runtara.actors.neighbours import Shared, ask_peer
from runtara.clock import SystemClock
from runtara.errors import (
    Busy,
    Forbidden,
    InvalidInput,
    NotFound,
    RuntaraError,
    Unauthenticated,
    Unreachable,
    UntrustedServer,
)
from runtara.ids import ImageRef, InstanceKey
from runtara.images import Blobs, Library
from runtara.messages import Call, GetStatus, ImageRead, ReadImage
from runtara.records import Holder
from runtara.settings import Settings
from runtara.system import IMAGES, INSTANCES, READER, WRITER, Runtime, in_process, open_runtime
from tests.actors.stage import WatchedStore

CONTENT = bytes(range(251)) * 100
PART = 10_000


class Other:
    """Another node, and what it has of an image."""

    def __init__(self, content: bytes | None = CONTENT) -> None:
        self.content = content
        self.asked: list[tuple[str, ReadImage]] = []
        self.fail: Callable[[], None] = lambda: None
        self.heard = trio.Event()
        """Set when it is asked for the first time."""
        self.gate = trio.Event()
        self.gate.set()

    async def pass_on(self, key: InstanceKey, command: Any, epoch: int | None, timeout: float) -> Any:
        assert (epoch, timeout) == (None, 30)
        self.asked.append((key.tenant_id, command))
        self.heard.set()
        await self.gate.wait()
        self.fail()
        if self.content is None:
            raise NotFound("it is not here")
        return ImageRead(data=self.content[command.offset : command.offset + PART], size=len(self.content))


class Town:
    """A registry, and its neighbours by name."""

    def __init__(self, folder: Path) -> None:
        self.others: dict[str, Other] = {}
        self.blobs = Blobs(folder, 10**6)
        self.runtime: Runtime

    async def bring(self, content: bytes = CONTENT, tenant_id: str = "acme") -> None:
        """Have what should have that content here."""
        digest = hashlib.sha256(content).hexdigest()
        wanted = BringImage(tenant_id=tenant_id, ref=ImageRef("f" * 32, 3), digest=digest, size=len(content))
        await self.runtime.system.ref(IMAGES).ask(wanted)

    def has(self, content: bytes = CONTENT) -> bool:
        path = self.blobs.find(hashlib.sha256(content).hexdigest())
        return path is not None and path.read_bytes() == content


class _TownStore(WatchedStore):
    """A store in memory that knows of other nodes."""

    def __init__(self, town: Town) -> None:
        super().__init__()
        self._town = town

    def open_reader(self) -> Any:
        return _TownReader(super().open_reader(), self._town)


class _TownReader:
    def __init__(self, reader: Any, town: Town) -> None:
        self._reader = reader
        self._town = town

    def list_peers(self) -> list[Holder]:
        return [
            Holder(node=number, name=name, address=name)
            for number, name in enumerate(sorted(self._town.others), start=1)
        ]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    town = Town(tmp_path / "images")
    registry = child(
        "images",
        ImageRegistry,
        kwargs={
            "instances": INSTANCES,
            "reader": READER,
            "writer": WRITER,
            "library": Library(town.blobs, environment={}),
            "clock": SystemClock(),
            "image_max_bytes": 10**6,
            "shared": Shared(node="me", peer_of=lambda holder: town.others[holder.name]),
        },
    )
    launcher = msgspec.structs.replace(in_process({}), images=registry)
    async with open_runtime(
        Settings(database_url="memory://"), launcher=launcher, store=_TownStore(town)
    ) as town.runtime:
        yield town


async def test_an_image_comes_in_parts_from_the_node_that_has_it_in_the_name_of_its_tenant(town: Town) -> None:
    town.others = {"a": Other(None), "b": Other()}

    await town.bring()

    assert town.has()
    assert [(tenant, asked.image, asked.offset) for tenant, asked in town.others["b"].asked] == [
        ("acme", f"{'f' * 32}@3", offset) for offset in (0, PART, 2 * PART)
    ]
    assert len(town.others["a"].asked) == 1


async def test_what_is_here_already_is_not_asked_for(town: Town) -> None:
    town.others = {"a": Other()}
    await town.bring()
    asked = len(town.others["a"].asked)

    await town.bring(tenant_id="other")

    assert len(town.others["a"].asked) == asked


async def test_a_fetch_that_was_interrupted_goes_on_at_the_next_node(town: Town) -> None:
    town.others = {"a": Other(), "b": Other()}

    def fail() -> None:
        if len(town.others["a"].asked) > 1:
            raise Unreachable("it is cut off")

    town.others["a"].fail = fail

    await town.bring()

    assert town.has()
    assert [asked.offset for _, asked in town.others["b"].asked] == [PART, 2 * PART]


@pytest.mark.parametrize("wrong", [CONTENT[::-1], CONTENT + b"more", b""])
async def test_what_is_not_what_was_pushed_is_thrown_away(town: Town, wrong: bytes) -> None:
    town.others = {"a": Other(wrong), "b": Other()}

    await town.bring()

    assert town.has()
    assert town.others["b"].asked[0][1].offset == 0


async def test_who_has_nothing_is_named_in_numbers_with_what_went_wrong_last(town: Town) -> None:
    def fail() -> None:
        raise Unreachable("it is cut off")

    town.others = {"a": Other(), "b": Other(None)}
    town.others["a"].fail = fail

    with pytest.raises(Unreachable, match=r"from any of the 2 others that can be asked \(it is cut off\): start the"):
        await town.bring()
    town.others = {}
    with pytest.raises(Unreachable, match="any of the 0 others that can be asked: start the node"):
        await town.bring()


async def test_many_who_want_the_same_have_it_fetched_once_and_the_bound_is_told(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetches, "FETCHES_MAX", 1)
    town.others = {"a": Other()}
    town.others["a"].gate = trio.Event()

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(town.bring, CONTENT, f"tenant-{number}")
        await town.others["a"].heard.wait()
        with pytest.raises(Busy, match="1 images are being fetched"):
            await town.bring(b"something else")
        town.others["a"].gate.set()

    assert town.has()
    assert len(town.others["a"].asked) == 3


class _Odd:
    def __init__(self, error: RuntaraError) -> None:
        self._error = error

    async def pass_on(self, *_: object) -> Any:
        raise self._error


@pytest.mark.parametrize("kind", [UntrustedServer, Unauthenticated, Forbidden])
async def test_that_two_nodes_are_at_odds_is_not_held_against_whoever_has_asked(kind: type[RuntaraError]) -> None:
    call = Call(InstanceKey("acme", "one"), GetStatus())

    with pytest.raises(Unreachable, match=r"it is at node 'b', which is at odds with this one \(no\): look"):
        await ask_peer(_Odd(kind("no")), call, 1, "it is at node 'b'")


async def test_other_refusals_come_through() -> None:
    call = Call(InstanceKey("acme", "one"), GetStatus())

    with pytest.raises(InvalidInput, match="no"):
        await ask_peer(_Odd(InvalidInput("no")), call, 1, "it is at node 'b'")
