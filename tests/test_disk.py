"""What survives a loss of power. That it does is seen where files are written."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from runtara import disk
from runtara.disk import sync_folder


def test_a_folder_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")


def test_folders_need_no_synchronising_where_there_is_no_way_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "os", SimpleNamespace(name="nt"))

    sync_folder(Path("missing"))
