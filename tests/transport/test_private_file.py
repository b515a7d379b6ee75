import fcntl
import stat
import threading
from pathlib import Path

import pytest

from runtara.errors import ConfigError
from runtara.transport._private_file import PRIVATE_MAX_BYTES, make_once, read_private, wait_lock, write_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("make", [make_once, write_private])
def test_a_file_is_made_for_its_owner_only_and_leaves_nothing_beside_it(make: object, tmp_path: Path) -> None:
    path = tmp_path / "file"

    make(path, b"content")  # type: ignore[operator]  # either of the two

    assert read_private(path) == b"content"
    assert mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_exists_is_not_made_again(tmp_path: Path) -> None:
    make_once(tmp_path / "file", b"first")
    make_once(tmp_path / "file", b"second")

    assert read_private(tmp_path / "file") == b"first"


def test_a_missing_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    make_once(tmp_path / "folder" / "file", b"content")

    assert mode(tmp_path / "folder") == 0o700


def test_of_many_who_make_a_file_at_once_one_succeeds(tmp_path: Path) -> None:
    path, seen = tmp_path / "file", []
    barrier = threading.Barrier(8)

    def make(number: int) -> None:
        barrier.wait()
        make_once(path, str(number).encode())
        seen.append(read_private(path))

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(seen) == 8
    assert len(set(seen)) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_private(tmp_path / "file", b"first")
    with (tmp_path / "file").open("rb") as reader:
        write_private(tmp_path / "file", b"second")
        held = reader.read()

    assert held == b"first"
    assert read_private(tmp_path / "file") == b"second"


@pytest.mark.parametrize("wide", [0o640, 0o604, 0o620, 0o666, 0o610])
def test_a_file_that_others_may_use_is_refused_with_what_to_do(tmp_path: Path, wide: int) -> None:
    write_private(tmp_path / "file", b"content")
    (tmp_path / "file").chmod(wide)

    with pytest.raises(ConfigError, match="chmod 600"):
        read_private(tmp_path / "file")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    for name in ("folder", "missing"):
        with pytest.raises(ConfigError, match=name):
            read_private(tmp_path / name)


def test_a_file_that_is_far_too_large_is_refused(tmp_path: Path) -> None:
    write_private(tmp_path / "file", b"")
    with (tmp_path / "file").open("wb") as file:
        file.truncate(PRIVATE_MAX_BYTES + 1)

    with pytest.raises(ConfigError, match="more than"):
        read_private(tmp_path / "file")


def test_only_one_at_a_time_holds_the_lock(tmp_path: Path) -> None:
    def is_free() -> bool:
        with (tmp_path / "file.lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    with wait_lock(tmp_path / "file"):
        free_meanwhile = is_free()

    assert not free_meanwhile
    assert is_free()


def test_a_lock_that_cannot_be_had_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="cannot be changed"), wait_lock(tmp_path / "file" / "inner"):
        pass
