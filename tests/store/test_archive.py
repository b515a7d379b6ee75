"""The file that a backup is: what it holds comes out again, and nothing else ever does."""

import hashlib
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runtara.errors import InvalidInput, RuntaraError, StoreCorrupt, StoreTooNew, StoreUnavailable
from runtara.store._archive import CHUNK_BYTES, HEADER_BYTES_MAX, MAGIC, ArchiveWriter, Header, open_archive
from runtara.store._batches import batches_of
from runtara.store._tables import TABLES, Row, table_named

HEADER = Header(made_at=1, version="1", database="sqlite", schema=2)
RETRY: Row = (1, "step", 1, 1000, "no\0t good", None)
CONTENT: Mapping[str, list[Row]] = {"inputs": [(1, b"\0in"), (2, b"")], "retries": [RETRY]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def write(path: Path, content: Mapping[str, list[Row]] = CONTENT, header: Header = HEADER) -> bytes:
    with path.open("wb") as file:
        writer = ArchiveWriter(file, header)
        for table in TABLES:
            for batch in batches_of(table, content.get(table.name, [])):
                writer.write(batch)
        writer.seal()
    return path.read_bytes()


def read(path: Path) -> dict[str, list[Row]]:
    with open_archive(path) as archive:
        found = {table.name: list(archive.rows(table)) for table in TABLES}
        archive.finish()
    return {name: rows for name, rows in found.items() if rows}


def check(path: Path) -> None:
    with open_archive(path) as archive:
        archive.check()


def frames(*parts: tuple[bytes, object]) -> bytes:
    """A file whose checksums are right, whatever it holds."""
    digest, data = hashlib.sha256(MAGIC).digest(), MAGIC
    for kind, content in parts:
        payload = msgspec.msgpack.encode(content)
        framed = struct.pack(">cQ", kind, len(payload)) + payload
        digest = hashlib.sha256(digest + framed).digest()
        data += framed + digest
    return data


def test_what_was_written_is_read(path: Path) -> None:
    write(path)

    check(path)
    with open_archive(path) as archive:
        header = archive.header
    assert header == HEADER
    assert read(path) == CONTENT


def test_a_backup_of_nothing_is_one_too(path: Path) -> None:
    write(path, {})

    assert read(path) == {}


def test_a_large_row_and_many_small_ones_go_through(path: Path) -> None:
    content: dict[str, list[Row]] = {"inputs": [(number, b"x") for number in range(2_500)]}
    content["inputs"].append((2_500, bytes(5_000_000)))

    write(path, content)

    assert read(path) == content


def test_a_file_that_was_cut_anywhere_is_refused(path: Path) -> None:
    whole = write(path)

    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises((StoreCorrupt, InvalidInput)):
            check(path)


@pytest.mark.parametrize("change", [0x01, *(pytest.param(each, marks=pytest.mark.slow) for each in (0x80, 0xFF))])
def test_a_file_that_was_changed_anywhere_is_refused(path: Path, change: int) -> None:
    whole = write(path)

    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
        with pytest.raises((StoreCorrupt, InvalidInput)):
            check(path)
        with pytest.raises((StoreCorrupt, InvalidInput)):
            read(path)


def test_a_file_with_something_behind_it_is_refused(path: Path) -> None:
    path.write_bytes(write(path) + b"\0")

    with pytest.raises(StoreCorrupt, match="something follows"):
        check(path)


def test_a_file_of_something_else_is_no_backup(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" * 10)

    with pytest.raises(InvalidInput, match="not a backup"):
        check(path)


def test_a_file_that_is_not_there_is_said_so(path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="No such file"):
        check(path)


def test_a_disk_that_fails_is_said_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path)

    with open_archive(path) as archive:

        class Failing:
            def read(self, count: int) -> bytes:
                raise OSError(5, "Input/output error")

        monkeypatch.setattr(archive, "_file", Failing())
        with pytest.raises(StoreUnavailable, match="Input/output error"):
            archive.check()


def test_a_file_that_shrinks_while_it_is_read_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path)

    with open_archive(path) as archive:

        class Shrunk:
            def read(self, count: int) -> bytes:
                return b""

        monkeypatch.setattr(archive, "_file", Shrunk())
        with pytest.raises(StoreCorrupt, match="cut while it was read"):
            archive.check()


MADE = (b"H", HEADER)
SEAL = (b"S", {"rows": {"inputs": 1}})
INPUT = (b"R", ["inputs", [[1, b"x"]]])
RETRIES = (b"R", ["retries", [list(RETRY)]])


@pytest.mark.parametrize(
    ("why", "parts"),
    [
        ("no header", [INPUT, SEAL]),
        ("other rows than it says", [MADE, INPUT, (b"S", {"rows": {"inputs": 2}})]),
        ("other rows than it says", [MADE, INPUT, (b"S", {"rows": {}})]),
        ("nobody can have written", [MADE, (b"R", ["inputs", [[1, "text"]]]), SEAL]),
        ("nobody can have written", [MADE, (b"R", ["inputs", [[1]]]), SEAL]),
        ("nobody can have written", [MADE, (b"R", ["inputs", [[2**63, b""]]]), SEAL]),
        ("nobody can have written", [(b"H", ["nothing"]), SEAL]),
        ("nobody can have written", [(b"H", msgspec.to_builtins(HEADER) | {"database": "mysql"}), SEAL]),
        ("not in order", [MADE, (b"R", ["nodes", [[1, b"x"]]]), SEAL]),
        ("not in order", [MADE, (b"H", ["inputs", [[1, b"x"]]]), SEAL]),
        ("where none may be", [MADE, RETRIES, INPUT, (b"S", {"rows": {"inputs": 1, "retries": 1}})]),
        ("unknown kind", [MADE, (b"?", None), SEAL]),
    ],
)
def test_a_file_that_nobody_can_have_written_is_refused(
    path: Path, why: str, parts: Iterable[tuple[bytes, object]]
) -> None:
    path.write_bytes(frames(*parts))

    with pytest.raises(StoreCorrupt, match=why):
        read(path)


def test_the_frames_of_these_tests_are_those_of_backups(path: Path) -> None:
    whole = write(path, {"inputs": [(1, b"x")]})

    path.write_bytes(frames(MADE, INPUT, SEAL))

    assert read(path) == {"inputs": [(1, b"x")]}
    assert len(whole) == len(path.read_bytes()) + 4  # an array of rows there always has a long head


@pytest.mark.parametrize("more", [{"schema": 99}, {"database": "postgres", "schema": 99}])
def test_a_backup_of_a_later_schema_is_refused(path: Path, more: dict[str, Any]) -> None:
    write(path, {}, msgspec.structs.replace(HEADER, **more))

    with pytest.raises(StoreTooNew, match="made by Runtara 1 and has more"):
        check(path)


def test_no_length_that_a_file_says_is_believed_before_it_was_checked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content: dict[str, list[Row]] = {"inputs": [(1, bytes(5 * CHUNK_BYTES))]}
    whole = write(path, content)
    asked: list[int] = []

    with open_archive(path) as archive:
        take = archive._take

        def noted(count: int) -> bytes:
            asked.append(count)
            return take(count)

        monkeypatch.setattr(archive, "_take", noted)
        archive.check()
    long_header = (HEADER_BYTES_MAX + 1).to_bytes(8, "big")
    path.write_bytes(whole[: len(MAGIC) + 1] + long_header + whole[len(MAGIC) + 9 :])

    assert max(asked) == CHUNK_BYTES
    with pytest.raises(StoreCorrupt, match="header is too long"):
        check(path)


@pytest.mark.parametrize("columns", [{"inputs": ("instance_number", "input", "colour")}, {"colours": ("name",)}])
def test_a_backup_of_a_later_version_is_refused_with_that_version(path: Path, columns: dict[str, tuple[str]]) -> None:
    write(path, {}, msgspec.structs.replace(HEADER, columns=columns, version="9.1"))

    with pytest.raises(StoreTooNew, match=r"made by Runtara 9\.1"):
        check(path)


def test_a_backup_of_an_earlier_version_lacks_columns_which_are_filled(path: Path) -> None:
    table = table_named("instances")
    assert table is not None
    later = {"timeout_ms", "claimed_at", "ran_ms", "losses", "claimed_epoch", "priority"}
    names = tuple(column.name for column in table.columns if column.name not in later)
    row = [1, "acme", "order-1", "pending", 1, 0, 1000, *[None] * (len(names) - 7)]
    columns = {"instances": names}
    header = msgspec.structs.replace(HEADER, columns=columns)

    path.write_bytes(frames((b"H", header), (b"R", ["instances", [row]]), (b"S", {"rows": {"instances": 1}})))

    (found,) = read(path)["instances"]
    values = dict(zip((column.name for column in table.columns), found, strict=True))
    assert {name: values[name] for name in later} == {
        "timeout_ms": None,
        "claimed_at": None,
        "ran_ms": 0,
        "losses": 0,
        "claimed_epoch": None,
        "priority": 0,
    }
    assert values["instance_id"] == "order-1"


def test_refusals_name_the_file_and_say_what_to_do(path: Path) -> None:
    path.write_bytes(write(path)[:-1])

    with pytest.raises(RuntaraError, match=rf"the backup {path} is damaged: it ends too early; use another copy"):
        check(path)
