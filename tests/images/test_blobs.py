"""Blobs arrive in pieces, are what their name says, and are found again whatever happened in between."""

import os
import stat
import tracemalloc
from pathlib import Path

import pytest

from runtara.clock import ManualClock, SystemClock
from runtara.errors import InvalidInput, NotFound, StoreFull, StoreUnavailable, TooLarge
from runtara.images import Blobs
from tests.images.archives import sha256
from tests.images.sandbox import listed

ID = "0123456789abcdef" * 2
OTHER = "f" * 32
DATA = b"some bytes of a program" * 100
DIGEST = sha256(DATA)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "images", 1_000_000)


def push(blobs: Blobs, data: bytes = DATA, upload_id: str = ID) -> Path:
    blobs.open_upload(upload_id)
    blobs.write(upload_id, 0, data)
    return blobs.finish(upload_id, sha256(data), len(data))


def test_what_arrives_in_pieces_becomes_a_blob(blobs: Blobs) -> None:
    assert blobs.open_upload(ID) == 0
    assert blobs.write(ID, 0, DATA[:1000]) == 1000
    assert blobs.write(ID, 1000, DATA[1000:]) == len(DATA)

    path = blobs.finish(ID, DIGEST, len(DATA))

    assert path == blobs.folder / "blobs" / DIGEST[:2] / DIGEST
    assert path.read_bytes() == DATA
    assert blobs.find(DIGEST) == path
    assert blobs.verify(DIGEST)
    assert not list((blobs.folder / "uploads").iterdir())


def test_everything_is_for_its_owner_only(blobs: Blobs) -> None:
    push(blobs)
    blobs.open_upload(OTHER)

    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [blobs.folder, *blobs.folder.rglob("*")]}

    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


def test_an_upload_is_resumed_by_another_process(blobs: Blobs) -> None:
    blobs.open_upload(ID)
    blobs.write(ID, 0, DATA[:700])

    later = Blobs(blobs.folder, 1_000_000)

    assert later.open_upload(ID) == 700
    assert later.write(ID, 500, DATA[500:]) == len(DATA)
    assert later.finish(ID, DIGEST, len(DATA)).read_bytes() == DATA


def test_an_upload_that_another_process_has_continued_is_read_again(blobs: Blobs) -> None:
    blobs.open_upload(ID)
    blobs.write(ID, 0, DATA[:10])
    Blobs(blobs.folder, 1_000_000).write(ID, 10, DATA[10:20])

    assert blobs.open_upload(ID) == 20
    blobs.write(ID, 20, DATA[20:])
    assert blobs.finish(ID, DIGEST, len(DATA)).read_bytes() == DATA


def test_what_is_sent_again_is_skipped(blobs: Blobs) -> None:
    blobs.open_upload(ID)
    blobs.write(ID, 0, DATA[:100])

    assert blobs.write(ID, 0, DATA[:100]) == 100
    assert blobs.write(ID, 20, DATA[20:50]) == 100
    assert blobs.write(ID, 50, DATA[50:]) == len(DATA)
    assert blobs.finish(ID, DIGEST, len(DATA)).read_bytes() == DATA


@pytest.mark.parametrize("offset", [11, -1])
def test_a_gap_is_refused_with_where_to_go_on(offset: int, blobs: Blobs) -> None:
    blobs.open_upload(ID)
    blobs.write(ID, 0, DATA[:10])

    with pytest.raises(InvalidInput, match="goes on at byte 10, not at"):
        blobs.write(ID, offset, b"x")


def test_more_than_allowed_is_refused(blobs: Blobs) -> None:
    blobs.open_upload(ID)
    blobs.write(ID, 0, bytes(1_000_000))

    with pytest.raises(TooLarge, match="more than 1000000 bytes"):
        blobs.write(ID, 1_000_000, b"x")
    assert blobs.open_upload(ID) == 1_000_000


@pytest.mark.parametrize("bad", ["", "x" * 32, "A" * 32, "0" * 31, "0" * 33, "../../../etc/passwd", "0" * 31 + "\n"])
def test_an_upload_id_is_32_digits(bad: str, blobs: Blobs) -> None:
    for call in (blobs.open_upload, blobs.abort, lambda upload: blobs.write(upload, 0, b"")):
        with pytest.raises(InvalidInput, match="no upload id"):
            call(bad)


@pytest.mark.parametrize("bad", ["", "../" * 10, "A" * 64, "0" * 63, "sha256:" + "0" * 64, 7])
def test_a_digest_is_64_digits(bad: str, blobs: Blobs) -> None:
    for call in (blobs.find, blobs.verify, lambda digest: blobs.finish(ID, digest, 0)):
        with pytest.raises(InvalidInput, match="no SHA-256 digest"):
            call(bad)


def test_a_link_in_place_of_an_upload_is_not_followed(blobs: Blobs, tmp_path: Path) -> None:
    (blobs.folder / "uploads").mkdir(parents=True)
    (blobs.folder / "uploads" / ID).symlink_to(tmp_path / "secret")

    with pytest.raises(StoreUnavailable):
        blobs.open_upload(ID)
    assert not (tmp_path / "secret").exists()


def test_writing_to_what_was_not_opened_is_refused(blobs: Blobs) -> None:
    with pytest.raises(NotFound, match="open it"):
        blobs.write(ID, 0, b"x")
    with pytest.raises(NotFound, match="open it"):
        blobs.finish(ID, DIGEST, len(DATA))


def test_an_upload_that_is_something_else_is_refused_with_both_digests_and_removed(blobs: Blobs) -> None:
    blobs.open_upload(ID)
    blobs.write(ID, 0, b"other")

    with pytest.raises(InvalidInput, match=f"{sha256(b'other')} and 5 bytes.*{DIGEST}"):
        blobs.finish(ID, DIGEST, 5)
    assert blobs.find(DIGEST) is None
    assert blobs.open_upload(ID) == 0


def test_an_upload_of_another_size_is_refused(blobs: Blobs) -> None:
    blobs.open_upload(ID)
    blobs.write(ID, 0, DATA)

    with pytest.raises(InvalidInput, match="and should have"):
        blobs.finish(ID, DIGEST, len(DATA) + 1)


def test_finishing_again_after_a_lost_answer_does_nothing(blobs: Blobs) -> None:
    path = push(blobs)

    assert blobs.finish(ID, DIGEST, len(DATA)) == path
    with pytest.raises(InvalidInput, match="hash the file again"):
        blobs.finish(ID, DIGEST, 1)


def test_the_same_blob_pushed_again_heals_what_was_damaged(blobs: Blobs) -> None:
    path = push(blobs)
    path.write_bytes(b"damaged")

    damaged = blobs.verify(DIGEST)
    push(blobs, upload_id=OTHER)

    assert not damaged
    assert blobs.verify(DIGEST)


def test_an_upload_that_is_given_up_is_gone(blobs: Blobs) -> None:
    blobs.open_upload(ID)
    blobs.write(ID, 0, DATA)

    blobs.abort(ID)
    blobs.abort(ID)

    assert blobs.open_upload(ID) == 0


def test_a_blob_that_is_not_here_is_not_found(blobs: Blobs) -> None:
    assert blobs.find(DIGEST) is None
    assert blobs.find(DIGEST, touch=True) is None
    assert not blobs.verify(DIGEST)


def test_what_is_old_and_not_needed_is_collected(tmp_path: Path) -> None:
    clock = ManualClock(SystemClock().now_ms() + 3_600_000)
    blobs = Blobs(tmp_path, 1_000_000, clock=clock)
    push(blobs)
    push(blobs, b"needed", OTHER)
    blobs.open_upload(ID)
    (tmp_path / "unpacked" / f"{DIGEST}.python").mkdir(parents=True)
    (tmp_path / "unpacked" / f"{sha256(b'needed')}.folder.new-1").mkdir()
    (tmp_path / "unpacked" / f"{sha256(b'needed')}.folder").mkdir()

    young = blobs.collect(lambda _: False, 7_200, dry_run=False)
    planned = blobs.collect(lambda digest: digest != DIGEST, 60, dry_run=True)
    before = sorted(tmp_path.rglob("*"))
    removed = blobs.collect(lambda digest: digest != DIGEST, 60, dry_run=False)

    assert young == []
    assert planned == removed
    assert blobs.folder / removed[0] in before
    assert set(removed) == {
        f"blobs/{DIGEST[:2]}/{DIGEST}",
        f"unpacked/{sha256(b'needed')}.folder.new-1",
        f"unpacked/{DIGEST}.python",
        f"uploads/{ID}",
    }
    assert blobs.find(DIGEST) is None
    assert blobs.find(sha256(b"needed"))
    assert listed(tmp_path / "unpacked") == [f"{sha256(b'needed')}.folder"]
    with pytest.raises(NotFound):
        blobs.write(ID, 0, b"")


def test_a_blob_that_was_found_for_a_push_is_young_again(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, 1_000_000)
    os.utime(push(blobs), (0, 0))

    blobs.find(DIGEST)
    found = blobs.collect(lambda _: False, 60, dry_run=True)
    blobs.find(DIGEST, touch=True)
    touched = blobs.collect(lambda _: False, 60, dry_run=True)

    assert len(found) == 1
    assert touched == []


def test_a_blob_that_is_pushed_again_while_it_is_collected_stays(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, 1_000_000)
    os.utime(push(blobs), (0, 0))

    def keep(_: str) -> bool:
        blobs.finish(ID, DIGEST, len(DATA))
        return False

    assert blobs.collect(keep, 60, dry_run=False) == []
    assert blobs.find(DIGEST)


def test_a_full_disk_loses_nothing_and_the_upload_goes_on_once_there_is_room(small_disk: Path) -> None:
    blobs = Blobs(small_disk, 10_000_000)
    data = os.urandom(1_500_000)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_000_000))
    blobs.open_upload(ID)
    blobs.write(ID, 0, data[:500_000])

    with pytest.raises(StoreFull, match="make room"):
        blobs.write(ID, 500_000, data[500_000:])
    ballast.unlink()
    here = blobs.open_upload(ID)
    blobs.write(ID, here, data[here:])

    assert here >= 500_000
    assert blobs.finish(ID, sha256(data), len(data)).read_bytes() == data


def test_memory_does_not_grow_with_the_upload(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, 1_000_000_000)
    chunk = bytes(1024 * 1024)
    blobs.open_upload(ID)
    tracemalloc.start()
    try:
        for number in range(64):
            blobs.write(ID, number * len(chunk), chunk)
        Blobs(tmp_path, 1_000_000_000).open_upload(ID)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 4 * len(chunk)
