import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtara.actors.runners import _shim
from runtara.actors.runners._shim import Log, segments, start_time


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def log() -> Iterator[Callable[..., Log]]:
    """Makes logs, and closes their files."""
    made: list[Log] = []

    def make(cap: int = 20) -> Log:
        made.append(Log("stdout", cap))
        return made[-1]

    yield make
    for one in made:
        one._close_segment()


def feed(log: Log, data: bytes) -> None:
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    while log.drain(read):
        pass
    os.close(read)


def kept() -> list[tuple[int, bytes]]:
    return [(start, Path(name).read_bytes()) for start, name in segments(".", "stdout")]


def test_segments_are_named_by_what_was_written_before(log: Callable[..., Log]) -> None:
    feed(log(), b"0123456789abcde")

    assert kept() == [(0, b"0123456789"), (10, b"abcde")]


def test_no_more_than_the_cap_is_kept_and_at_least_half_of_it(log: Callable[..., Log]) -> None:
    one = log()
    for number in range(100):
        feed(one, b"%02d," % number)
        sizes = [len(data) for _, data in kept()]
        assert sum(sizes) <= 20
        assert sum(sizes) >= min(10, 3 * (number + 1))
        assert len(sizes) <= 2

    assert b"".join(data for _, data in kept()).endswith(b"97,98,99,")


def test_a_later_attempt_goes_on_where_the_earlier_one_ended(log: Callable[..., Log]) -> None:
    for piece in (b"abc", b"def", b"", b"ghijk", b"l"):
        feed(log(), piece)

    assert kept() == [(0, b"abcdefghij"), (10, b"kl")]


def test_a_smaller_cap_makes_room_with_the_next_segment(log: Callable[..., Log]) -> None:
    feed(log(100), b"x" * 100)

    feed(log(10), b"0123456")

    assert kept() == [(100, b"01234"), (105, b"56")]


def test_what_finds_no_room_is_counted_and_leaves_a_gap(
    log: Callable[..., Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = log(100)
    feed(one, b"before")
    with monkeypatch.context() as patches:
        patches.setattr(os, "write", fail)
        _drain(one, b"lost")
        patches.setattr(os, "open", fail)
        _drain(one, b"lost too")

    feed(one, b"after")

    assert one.dropped == len("lostlost too")
    assert kept() == [(0, b"before"), (18, b"after")]


def fail(*_: object) -> int:
    raise OSError(errno.ENOSPC, "no space left on device")


def _drain(log: Log, data: bytes) -> None:
    log._write(memoryview(data))


def test_gaps_never_leave_more_than_a_few_segments(log: Callable[..., Log], monkeypatch: pytest.MonkeyPatch) -> None:
    one = log(1000)
    for number in range(100):
        feed(one, b"%d," % number)
        with monkeypatch.context() as patches:
            patches.setattr(os, "write", fail)
            _drain(one, b"lost")

    assert len(kept()) <= 8
    assert kept()[-1][1] == b"99,"
    assert one.dropped == 400


def test_a_pipe_without_data_is_not_at_its_end(log: Callable[..., Log]) -> None:
    read, write = os.pipe()
    os.set_blocking(read, False)
    one = log()

    empty = one.drain(read)
    os.close(write)
    ended = one.drain(read)
    os.close(read)

    assert (empty, ended) == (True, False)


def test_a_process_has_one_start() -> None:
    assert start_time(os.getpid()) == start_time(os.getpid())
    assert start_time(0) is None


def test_the_shim_needs_nothing_but_the_standard_library() -> None:
    source = Path(_shim.__file__).read_text(encoding="utf-8")

    assert "import runtara" not in source
    assert "from runtara" not in source
