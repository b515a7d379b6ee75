from pathlib import Path

import pytest

from runtara.actors.runners._run_folder import Marker, RunFolder, read_markers
from runtara.ids import InstanceKey

KEY = InstanceKey("acme", "order-7")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path, KEY)
    folder.make()
    return folder


def marker(key: InstanceKey = KEY, launch_id: str = "a") -> Marker:
    return Marker(
        tenant_id=key.tenant_id,
        instance_id=key.instance_id,
        epoch=1,
        launch_id=launch_id,
        boot_id="boot",
        stderr_from=0,
    )


def write(folder: RunFolder, start: int, data: bytes, stream: str = "stdout") -> None:
    (folder.path / f"{stream}.{start:020}").write_bytes(data)


def test_two_instances_never_share_a_folder_however_their_ids_are_put_together(tmp_path: Path) -> None:
    keys = [("a", "b"), ("ab", ""), ("", "ab"), ("a", "B"), ("a:", "b"), ("a", ":b"), ("..", "b"), ("a", "..")]
    folders = [RunFolder(tmp_path, InstanceKey(*key)) for key in keys]

    assert len({folder.path for folder in folders}) == len(keys)
    assert {folder.path.parent for folder in folders} == {tmp_path}
    assert all(len(folder.path.name) == 32 and folder.path.name.isalnum() for folder in folders)


def test_a_marker_is_found_until_it_is_forgotten(folder: RunFolder, tmp_path: Path) -> None:
    folder.prepare(marker(), b"input")
    found = read_markers(tmp_path)

    folder.forget("a")
    folder.forget("a")

    assert found == [marker()]
    assert found[0].key == KEY
    assert read_markers(tmp_path) == []


def test_where_nothing_was_launched_there_is_no_marker(tmp_path: Path) -> None:
    assert read_markers(tmp_path / "missing") == []


def test_what_an_earlier_attempt_left_is_cleared_away_but_not_what_it_wrote(folder: RunFolder) -> None:
    folder.prepare(marker(launch_id="a"), b"input")
    folder.give_up("a")
    folder.output.mkdir()
    (folder.output / "odd").touch()
    (folder.work / "kept").touch()
    write(folder, 0, b"log")

    folder.prepare(marker(launch_id="b"), None)

    assert folder.read_exit("a") is None
    assert not folder.input.exists()
    assert not folder.output.exists()
    assert (folder.work / "kept").exists()
    assert folder.read_log("stdout", 0, 10) == (b"log", 0)


def test_an_instance_that_replaces_another_one_finds_nothing_of_it_but_its_place_in_the_streams(
    folder: RunFolder,
) -> None:
    folder.begin(None)
    (folder.work / "old").mkdir()
    write(folder, 0, b"old")
    write(folder, 3, b"older")

    for _ in range(2):
        folder.begin(b"replaced")
        folder.prepare(marker(), None)

    assert list(folder.work.iterdir()) == []
    assert (folder.written("stdout"), folder.written("stderr")) == (8, 0)
    write(folder, 8, b"new")
    assert folder.read_log("stdout", 0, 10) == (b"new", 8)
    assert folder.read_log("stdout", 9, 10) == (b"ew", 9)


def test_the_next_attempt_of_the_same_instance_finds_what_the_last_one_left(folder: RunFolder) -> None:
    folder.begin(b"replaced")
    (folder.work / "kept").touch()
    write(folder, 0, b"log")

    folder.begin(b"replaced")

    assert (folder.work / "kept").exists()
    assert folder.read_log("stdout", 0, 10) == (b"log", 0)


def test_nothing_of_an_attempt_that_still_lives_is_cleared_away(folder: RunFolder) -> None:
    (folder.work / "kept").touch()
    with folder.locked(), pytest.raises(BlockingIOError, match="still holds"):
        folder.begin(b"replaced")

    assert (folder.work / "kept").exists()
    folder.begin(b"replaced")
    assert list(folder.work.iterdir()) == []


def test_a_folder_whose_lock_is_held_cannot_be_prepared(folder: RunFolder) -> None:
    with folder.locked() as mine, folder.locked() as theirs:
        assert (mine, theirs) == (True, False)
        with pytest.raises(BlockingIOError, match="still holds"):
            folder.prepare(marker(), None)

    folder.prepare(marker(), None)
    folder.wait_unlocked()


def test_the_end_of_another_launch_is_not_the_end_of_this_one(folder: RunFolder) -> None:
    folder.give_up("a")

    given_up = folder.read_exit("a")

    assert given_up is not None
    assert given_up.exit_code is None
    assert folder.read_exit("b") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"launch_id": 1}', '{"launch_id": "a"'])
def test_a_garbled_note_is_no_note(folder: RunFolder, text: str) -> None:
    (folder.path / "exit.json").write_text(text)

    assert folder.read_exit("a") is None


def test_an_empty_work_folder_goes_and_comes_back(folder: RunFolder) -> None:
    folder.forget("a")
    gone = not folder.work.exists()

    folder.make()

    assert gone
    assert folder.work.is_dir()


def test_a_log_is_read_over_gaps_and_from_segments_that_are_left(folder: RunFolder) -> None:
    write(folder, 10, b"ten")
    write(folder, 13, b"thirteen")
    write(folder, 100, b"hundred")
    write(folder, 0, b"aside", "stderr")
    (folder.path / "stdout.12").write_bytes(b"not a segment")

    assert folder.read_log("stdout", 0, 100) == (b"ten", 10)
    assert folder.read_log("stdout", 11, 100) == (b"en", 11)
    assert folder.read_log("stdout", 13, 4) == (b"thir", 13)
    assert folder.read_log("stdout", 21, 100) == (b"hundred", 100)
    assert folder.read_log("stdout", -3, 100) == (b"red", 104)
    assert folder.read_log("stdout", 107, 100) == (b"", 107)
    assert folder.read_log("stdout", 1000, 100) == (b"", 1000)
    assert (folder.written("stdout"), folder.written("stderr")) == (107, 5)
