from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from runtara.inotify import FolderWatch
from tests.actors.runners.hall import descriptors


@pytest.fixture
async def folders(nursery: trio.Nursery) -> AsyncIterator[FolderWatch]:
    watch = FolderWatch()
    nursery.start_soon(watch.serve)
    yield watch
    nursery.cancel_scope.cancel()
    watch.close()


async def test_writing_and_making_a_file_are_heard_of(folders: FolderWatch, tmp_path: Path) -> None:
    made = folders.watch(tmp_path)
    file = trio.Path(tmp_path / "file")
    await file.touch()
    await made.wait()

    written = folders.watch(tmp_path)
    was_set = written.is_set()
    await file.write_bytes(b"x")
    await written.wait()

    assert not was_set


async def test_all_who_watch_a_folder_are_woken_and_nobody_else(folders: FolderWatch, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first, again, other = [folders.watch(tmp_path / name) for name in ("one", "one", "two")]

    await trio.Path(tmp_path / "one/file").touch()
    await first.wait()
    await again.wait()

    assert not other.is_set()


async def test_each_watch_is_for_one_event(folders: FolderWatch, tmp_path: Path) -> None:
    for number in range(10):
        event = folders.watch(tmp_path)
        assert not event.is_set()
        await trio.Path(tmp_path / f"file{number}").touch()
        await event.wait()


async def test_a_folder_that_is_removed_is_an_event(folders: FolderWatch, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    event = folders.watch(tmp_path / "folder")

    (tmp_path / "folder").rmdir()

    await event.wait()


async def test_what_does_not_exist_cannot_be_watched(folders: FolderWatch, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="inotify_add_watch: No such file"):
        folders.watch(tmp_path / "missing")


async def test_whoever_waits_when_the_watch_ends_is_woken(tmp_path: Path) -> None:
    before = descriptors()
    watch = FolderWatch()
    event = watch.watch(tmp_path)

    watch.close()

    assert event.is_set()
    assert descriptors() == before
