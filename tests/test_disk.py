"""What survives a loss of power. That it does is seen where files are written."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtara import disk
from runtara.disk import answer_refusals, sync_disk, sync_folder
from runtara.errors import StoreFull, StoreUnavailable


def test_a_folder_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")


def test_folders_need_no_synchronising_where_there_is_no_way_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "os", SimpleNamespace(name="nt"))

    sync_folder(Path("missing"))
    sync_disk(Path("missing"))


def test_a_whole_disk_is_synchronised_with_or_without_a_call_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_disk(tmp_path)
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: SimpleNamespace())
    sync_disk(tmp_path)


def test_a_disk_that_cannot_be_synchronised_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: SimpleNamespace(syncfs=lambda _: -1))

    with pytest.raises(OSError, match=tmp_path.name):
        sync_disk(tmp_path)


@pytest.mark.parametrize(
    ("number", "refusal"),
    [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EFBIG, StoreFull), (errno.EIO, StoreUnavailable)],
)
def test_what_a_disk_refuses_says_what_was_tried_and_whether_room_would_help(
    number: int, refusal: type[Exception]
) -> None:
    with (
        pytest.raises(refusal, match=r"^the thing cannot be written: "),
        answer_refusals("the thing cannot be written"),
    ):
        raise OSError(number, os.strerror(number))
