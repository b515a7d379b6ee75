"""What each chore removes, and what it never touches: over every store, and real files."""

import hashlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from runtara.actors._ref import Ref
from runtara.actors.chores import ImageChore, InstanceChore, RunFolderChore
from runtara.actors.places import StopWaking
from runtara.actors.runners.runs import Runs
from runtara.actors.storage import Act, Commit, Load
from runtara.actors.upkeep import ChoreWork, Removed
from runtara.ids import ImageRef
from runtara.images import Blobs, Library
from runtara.lifecycle import FINAL, Status
from runtara.records import ImageOptions
from runtara.settings import Settings
from runtara.system import READER, SCHEDULER, WRITER, Runtime, open_runtime
from tests.actors.runners.folders import ended, key_of, launched
from tests.store.samples import NOW, image_version, save

KEEP_MS = 3_600_000
OLD = NOW - KEEP_MS - 1
YOUNG = NOW - KEEP_MS + 1
UNFINISHED = [status for status in Status if status not in FINAL]


class FixedClock:
    """Shows the same time until it is set."""

    def __init__(self) -> None:
        self.at_ms = NOW

    def now_ms(self) -> int:
        return self.at_ms


class House:
    """A store with rows, folders of runs, and images; and the chores that look after them."""

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self.reader: Ref = runtime.system.ref(READER)
        self.writer: Ref = runtime.system.ref(WRITER)
        self.clock = FixedClock()
        self.home = folder / "runs"
        self.home.mkdir()
        self.library = Library(Blobs(folder / "images", 10**6, clock=self.clock), environment={})

    async def put(self, name: str, status: Status, finished_at: int | None = None, **fields: Any) -> None:
        at = None if status in UNFINISHED else finished_at
        stored = save(key_of(name), status=status, finished_at=at, **fields)
        assert await self.writer.ask(Commit((stored,))) == [True]

    async def names(self, *names: str) -> list[str]:
        """Which of these instances are in the store."""
        return sorted(key.instance_id for key in await self.reader.ask(Load(tuple(map(key_of, names)))))

    async def do(self, chore: ChoreWork, *, dry_run: bool = False) -> Sequence[Removed]:
        return sorted(await chore.do(self.reader, self.writer, dry_run=dry_run), key=str)

    def instances(self, keep_ms: int = KEEP_MS) -> InstanceChore:
        return InstanceChore(self.clock, keep_ms)

    def runs(self, keep_ms: int = KEEP_MS) -> RunFolderChore:
        return RunFolderChore(self.clock, Runs(self.home), keep_ms)

    def images(self, keep_ms: int = KEEP_MS, keep_versions: int = 1) -> ImageChore:
        return ImageChore(self.clock, self.library, keep_ms, keep_versions)

    def arrive(self, content: bytes, at_ms: int = OLD) -> str:
        """Have content on the disk, as old as it should be; return its digest."""
        digest = hashlib.sha256(content).hexdigest()
        self.library.blobs.open_upload(digest[:32])
        self.library.blobs.write(digest[:32], 0, content)
        path = self.library.blobs.finish(digest[:32], digest, len(content))
        os.utime(path, (at_ms / 1000, at_ms / 1000))
        return digest

    async def push(self, content: bytes, name: str = "report", at_ms: int = OLD) -> ImageRef:
        digest = self.arrive(content, at_ms)
        version = replace(image_version(), digest=digest, size=len(content), kind="executable", created_at=at_ms)
        arguments = ("acme", name, hashlib.sha256(name.encode()).hexdigest()[:32], version)
        image, stored = await self.writer.ask(Act("push_image", arguments))
        return ImageRef(image.image_id, stored.version)

    async def delete(self, ref: ImageRef, at_ms: int) -> None:
        assert await self.writer.ask(Act("delete_image", ("acme", ref.image_id, at_ms))) == ()

    def has(self, content: bytes) -> bool:
        return self.library.blobs.find(hashlib.sha256(content).hexdigest()) is not None


def shown(ref: ImageRef) -> str:
    return f"{ref.image_id}@{ref.version}"


def blob(content: bytes) -> Removed:
    digest = hashlib.sha256(content).hexdigest()
    return Removed(None, f"blobs/{digest[:2]}/{digest}")


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: "memory://",
        "sqlite": lambda: f"sqlite:///{tmp_path / 'runtara.db'}",
        "postgres": lambda: request.getfixturevalue("database"),
    }
    with trio.fail_after(60):
        async with open_runtime(Settings(database_url=urls[request.param](), node_lease_ms=60_000)) as runtime:
            await runtime.system.ref(SCHEDULER).ask(StopWaking())
            yield House(runtime, tmp_path)


@pytest.fixture(params=["instances", "runs", "images"])
def chore_of(request: pytest.FixtureRequest) -> Callable[[House, int], ChoreWork]:
    return lambda house, keep_ms: getattr(house, request.param)(keep_ms)


# All ------------------------------------------------------------------------------------------------------------------


async def test_what_is_kept_for_ever_is_not_touched(house: House, chore_of: Callable[[House, int], ChoreWork]) -> None:
    chore = chore_of(house, 0)
    await house.put("one", Status.COMPLETED, 1)
    folder = ended(house.home, "one", 1)
    await house.delete(await house.push(b"#!1", at_ms=1), 2)

    done = await house.do(chore)

    assert (chore.on, list(done)) == (False, [])
    assert await house.names("one") == ["one"]
    assert folder.path.exists()
    assert house.has(b"#!1")


# Instances ------------------------------------------------------------------------------------------------------------


async def test_instances_go_that_finished_long_ago_and_no_others(house: House) -> None:
    for status in Status:
        await house.put(f"old-{status}", status, OLD)
        await house.put(f"young-{status}", status, YOUNG)
    every = [f"{age}-{status}" for age in ("old", "young") for status in Status]
    going = sorted(f"old-{status}" for status in Status if status in FINAL)

    would = await house.do(house.instances(), dry_run=True)
    assert await house.names(*every) == sorted(every)
    done = await house.do(house.instances())

    assert would == done == [Removed("acme", name) for name in going]
    assert await house.names(*every) == sorted(set(every) - set(going))
    assert list(await house.do(house.instances())) == []


async def test_instances_go_in_portions_until_none_is_left(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtara.actors.chores._AT_ONCE", 2)
    names = [f"i-{number}" for number in range(5)]
    for name in names:
        await house.put(name, Status.FAILED, OLD)

    done = await house.do(house.instances())

    assert [removed.name for removed in done] == names
    assert await house.names(*names) == []


# Folders of runs ------------------------------------------------------------------------------------------------------


async def test_folders_go_whose_instance_finished_long_ago_or_is_unknown(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtara.actors.chores._AT_ONCE", 3)
    for status in Status:
        await house.put(f"old-{status}", status, OLD)
        await house.put(f"young-{status}", status, YOUNG)
    known = [f"{age}-{status}" for age in ("old", "young") for status in Status]
    folders = {name: ended(house.home, name, OLD).path for name in [*known, "unknown"]}
    folders["unknown-young"] = ended(house.home, "unknown-young", YOUNG).path
    going = sorted(["unknown", *(f"old-{status}" for status in Status if status in FINAL)])

    would = await house.do(house.runs(), dry_run=True)
    assert all(path.exists() for path in folders.values())
    done = await house.do(house.runs())

    assert would == done == [Removed("acme", name) for name in going]
    assert sorted(name for name, path in folders.items() if not path.exists()) == going
    assert list(house.home.glob(".*")) == []


async def test_a_folder_in_which_something_runs_stays_whatever_the_store_says(house: House) -> None:
    await house.put("marked", Status.COMPLETED, OLD)
    marked, locked = launched(house.home, "marked", OLD), ended(house.home, "unknown", OLD)

    with locked.locked():
        done = await house.do(house.runs())

    assert list(done) == []
    assert marked.path.exists()
    assert locked.path.exists()


async def test_what_was_left_of_a_removal_goes_the_next_time(house: House) -> None:
    folder = ended(house.home, "one", OLD)
    runs = Runs(house.home)
    assert runs.put_aside(runs.list_old(NOW)[0])

    await house.do(house.runs(), dry_run=True)
    assert len(list(house.home.glob(".removed-*"))) == 1
    done = await house.do(house.runs())

    assert (list(done), list(house.home.glob(".removed-*")), folder.path.exists()) == ([], [], False)


# Images ---------------------------------------------------------------------------------------------------------------


async def test_versions_go_that_are_neither_new_nor_current_nor_in_use_and_their_content_with_them(
    house: House,
) -> None:
    refs = [await house.push(b"#!%d" % number) for number in range(1, 7)]
    await house.put("user", Status.SUSPENDED, program=refs[1].program)
    await house.put("done", Status.COMPLETED, OLD, program=refs[2].program)
    await house.writer.ask(Act("use_image_version", ("acme", refs[0].image_id, 1, OLD)))

    would = await house.do(house.images(keep_versions=2), dry_run=True)
    assert all(house.has(b"#!%d" % number) for number in range(1, 7))
    done = await house.do(house.images(keep_versions=2))

    versions = [Removed("acme", shown(ref)) for ref in refs[2:4]]
    assert would == versions  # their content is needed until they are gone
    assert done == sorted([*versions, blob(b"#!3"), blob(b"#!4")], key=str)
    assert [number for number in range(1, 7) if house.has(b"#!%d" % number)] == [1, 2, 5, 6]


async def test_a_deleted_image_goes_after_a_while_with_its_content(house: House) -> None:
    for name, at in (("old", OLD), ("young", YOUNG)):
        await house.delete(await house.push(f"#!{name}".encode(), name), at)

    done = await house.do(house.images())
    assert [removed.tenant_id for removed in done] == ["acme", None]
    assert (house.has(b"#!old"), house.has(b"#!young")) == (False, True)

    house.clock.at_ms += KEEP_MS
    await house.do(house.images())

    assert not house.has(b"#!young")


async def test_versions_go_in_portions_until_none_is_left(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtara.actors.chores._PAGE", 2)
    refs = [await house.push(b"#!%d" % number) for number in range(1, 7)]

    done = await house.do(house.images())

    assert [removed.name for removed in done if removed.tenant_id] == [shown(ref) for ref in refs[:5]]
    assert [number for number in range(1, 7) if house.has(b"#!%d" % number)] == [6]


async def test_content_that_two_versions_have_stays_while_one_of_them_does(house: House) -> None:
    await house.delete(await house.push(b"#!same", "gone"), OLD)
    await house.push(b"#!same", "there")

    done = await house.do(house.images())

    assert [removed.tenant_id for removed in done] == ["acme"]
    assert house.has(b"#!same")


@pytest.mark.parametrize("keep_ms", [1, KEEP_MS])
async def test_content_that_came_a_moment_ago_stays_without_a_version(house: House, keep_ms: int) -> None:
    await house.push(b"#!kept")
    house.arrive(b"#!young", NOW - 2)
    house.arrive(b"#!old")
    house.library.blobs.open_upload("0" * 32)
    os.utime(house.library.blobs.folder / "uploads" / ("0" * 32), (NOW / 1000 - 1, NOW / 1000 - 1))

    done = await house.do(house.images(keep_ms))

    assert list(done) == [blob(b"#!old")]
    assert house.has(b"#!young")
    assert house.library.blobs.write("0" * 32, 0, b"goes on") == 7


async def test_where_the_store_knows_of_no_image_all_content_stays(house: House) -> None:
    house.arrive(b"#!of another store")

    assert list(await house.do(house.images())) == []
    assert house.has(b"#!of another store")


async def test_what_was_unpacked_stays_while_an_unfinished_instance_needs_it(house: House) -> None:
    used, spare = await house.push(b"#!used"), await house.push(b"#!spare")
    await house.push(b"#!newest")
    await house.put("user", Status.RUNNING, program=used.program)
    paths = {}
    for content in (b"#!used", b"#!spare"):
        digest = hashlib.sha256(content).hexdigest()
        paths[content] = house.library.prepare(digest, "executable", ImageOptions()).path
        for path in (paths[content].parent, house.library.blobs.find(digest)):
            assert path is not None
            os.utime(path, (OLD / 1000, OLD / 1000))

    done = await house.do(house.images())

    assert shown(spare) in [removed.name for removed in done]
    assert (paths[b"#!used"].exists(), paths[b"#!spare"].exists()) == (True, False)
