"""The file by which clients find the server of their machine."""

import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from runtara.transport.connection_file import (
    ConnectionFile,
    read_connection_file,
    remove_connection_file,
    write_connection_file,
)

SERVER = ConnectionFile(address="127.0.0.1:8001", ca_file="ca.pem", fingerprint="ab" * 32, pid=7, version="1")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_connection_file(tmp_path, replace(SERVER, pid=6))
    write_connection_file(tmp_path, SERVER)

    assert read_connection_file(tmp_path) == SERVER
    assert [path.name for path in tmp_path.iterdir()] == ["server.json"]
    assert stat.S_IMODE((tmp_path / "server.json").stat().st_mode) == 0o600


def test_a_draft_that_was_left_behind_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "server.json.7").write_text("half of")

    write_connection_file(tmp_path, SERVER)

    assert read_connection_file(tmp_path) == SERVER


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"address": 1}', b"\xff"])
def test_a_file_that_cannot_be_used_is_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "server.json").write_bytes(content)

    assert read_connection_file(tmp_path) is None


def test_only_the_file_of_ones_own_is_removed(tmp_path: Path) -> None:
    write_connection_file(tmp_path, SERVER)

    remove_connection_file(tmp_path, 8)
    kept = read_connection_file(tmp_path)
    remove_connection_file(tmp_path, 7)
    remove_connection_file(tmp_path, 7)

    assert kept == SERVER
    assert list(tmp_path.iterdir()) == []
