from pathlib import Path

import pytest

from runtara.actors.runners._kept import TAIL_BYTES, read_log, read_output, read_tail, written


def write(folder: Path, start: int, data: bytes, stream: str = "stderr") -> None:
    (folder / f"{stream}.{start:020}").write_bytes(data)


def test_a_stream_is_read_over_the_gap_between_two_segments(tmp_path: Path) -> None:
    write(tmp_path, 0, b"0123")
    write(tmp_path, 8, b"89")

    assert written(tmp_path, "stderr") == 10
    assert read_log(tmp_path, "stderr", 2, 100) == (b"23", 2)
    assert read_log(tmp_path, "stderr", 5, 100) == (b"89", 8)
    assert read_log(tmp_path, "stderr", -1, 100) == (b"9", 9)
    assert read_log(tmp_path, "stderr", 10, 100) == (b"", 10)


def test_the_tail_is_that_of_this_attempt_and_no_longer_than_it_may_be(tmp_path: Path) -> None:
    write(tmp_path, 0, b"earlier\n")
    write(tmp_path, 8, b"\0" + b"x" * TAIL_BYTES)

    assert read_tail(tmp_path, 8) == "x" * TAIL_BYTES
    assert read_tail(tmp_path, written(tmp_path, "stderr") - 3) == "xxx"
    (tmp_path / f"stderr.{8:020}").write_bytes(b"\0x\n")
    assert read_tail(tmp_path, 8) == "\N{REPLACEMENT CHARACTER}x"


def test_there_is_nothing_to_read_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"

    assert (written(gone, "stdout"), read_log(gone, "stdout", -5, 10), read_tail(gone, 0)) == (0, (b"", 0), "")
    assert read_output(gone / "output", 10) is None


def test_an_output_is_a_file_that_is_not_too_large(tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.write_bytes(b"12345")

    assert read_output(output, 5) == b"12345"
    with pytest.raises(ValueError, match="more than 4 bytes"):
        read_output(output, 4)
    output.unlink()
    output.symlink_to(tmp_path)
    with pytest.raises(ValueError, match="cannot be read"):
        read_output(output, 5)
