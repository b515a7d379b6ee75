"""The file that a backup is: the rows of every table, from whichever database, into whichever database.

After one line that says what it is, a file is a chain of frames::

    kind (1 byte) · length (8 bytes) · payload (MessagePack) · SHA-256 of all that and of the SHA-256 before it

First the header: when it was made, by which version, from which schema, and the columns of each table. Then the rows,
``[table, [row, …]]``, as many frames as it takes, tables in the order of `TABLES`. Last the seal: how many rows each
table has. A file that was cut, changed, put together anew or prolonged does not end in a seal that fits, and is
refused. Nothing is ever in memory but one frame.
"""

import enum
import hashlib
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from runtara.decoders import decode_msgpack
from runtara.errors import InvalidInput, StoreCorrupt, StoreTooNew, StoreUnavailable
from runtara.store._batches import Batch
from runtara.store._statements import load_migrations
from runtara.store._tables import TABLES, Database, Row, Table, table_named

__all__ = ["CHUNK_BYTES", "HEADER_BYTES_MAX", "MAGIC", "Archive", "ArchiveWriter", "Header", "open_archive"]

MAGIC: Final = b"runtara backup 1\n"
HEADER_BYTES_MAX: Final = 1024 * 1024
CHUNK_BYTES: Final = 1024 * 1024
"""How much is in memory at a time while a file is checked."""
_HEAD: Final = struct.Struct(">cQ")
_DIGEST_BYTES: Final = 32
_TOO_SHORT: Final = "it ends too early"
_TWO: Final = b"\x92"
"""MessagePack: an array of two."""
_MANY: Final = struct.Struct(">cI")
"""MessagePack: an array of up to 2**32 elements begins with 0xDD and their number."""


_COLUMNS: Final = {table.name: tuple(column.name for column in table.columns) for table in TABLES}


class _Kind(bytes, enum.Enum):
    HEADER = b"H"
    ROWS = b"R"
    SEAL = b"S"


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself."""

    made_at: int
    version: str
    """Of Runtara."""
    database: Database
    schema: int
    """The number of the database's newest migration."""
    columns: dict[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: dict(_COLUMNS))
    """Of each table, in the order in which rows have them."""


class _Seal(msgspec.Struct, frozen=True):
    rows: dict[str, int]


class ArchiveWriter:
    """Writes a backup into an open file: the header at once, then batches, and the seal at the end."""

    def __init__(self, file: IO[bytes], header: Header) -> None:
        self._file = file
        self._digest = hashlib.sha256(MAGIC).digest()
        self._rows: dict[str, int] = {}
        self._file.write(MAGIC)
        self._write(_Kind.HEADER, [msgspec.msgpack.encode(header)])

    def write(self, batch: Batch) -> None:
        """Add rows."""
        name = batch.table.name
        head = _TWO + msgspec.msgpack.encode(name) + _MANY.pack(b"\xdd", len(batch.rows))
        self._write(_Kind.ROWS, [head, *batch.encoded])
        self._rows[name] = self._rows.get(name, 0) + len(batch.rows)

    def seal(self) -> None:
        """Say that this is all."""
        self._write(_Kind.SEAL, [msgspec.msgpack.encode(_Seal(self._rows))])

    def _write(self, kind: _Kind, payload: Sequence[bytes]) -> None:
        parts = [_HEAD.pack(kind.value, sum(map(len, payload))), *payload]
        self._digest = _link(self._digest, parts)
        self._file.writelines([*parts, self._digest])


class Archive:
    """Reads a backup from an open file. Every call may raise `StoreCorrupt`, the first one `StoreTooNew`."""

    def __init__(self, file: BufferedReader, path: Path) -> None:
        self._file = file
        self._path = path
        self._left = os.fstat(file.fileno()).st_size
        self._digest = hashlib.sha256(MAGIC).digest()
        self._rows: dict[str, int] = {}
        if self._take(min(self._left, len(MAGIC))) != MAGIC:
            raise InvalidInput(f"{path} is not a backup that this program knows")
        self.header: Final = self._read_header()
        self._readers = {name: self._reader(name, columns) for name, columns in self.header.columns.items()}
        self._next: tuple[str, list[Row]] | None = None
        self._sealed = False

    def _read_header(self) -> Header:
        length = int.from_bytes(self._file.peek(_HEAD.size)[1 : _HEAD.size], "big")
        if length > HEADER_BYTES_MAX:
            raise self._damaged("its header is too long")
        kind, payload = self._frame()
        if kind is not _Kind.HEADER:
            raise self._damaged("it has no header")
        header: Header = self._decode(payload, Header)
        if header.schema > len(load_migrations(header.database)):
            raise self._too_new(header)
        return header

    def check(self) -> None:
        """Read on to the end, and say whether the file is sound, without looking into rows."""
        while not self._sealed:
            self._frame(keep=False)

    def rows(self, table: Table) -> Iterator[Row]:
        """Yield the rows of a table. Tables are asked for in their order; the last one is followed by `finish`."""
        while (found := self._peek()) is not None and found[0] == table.name:
            self._next = None
            self._rows[table.name] = self._rows.get(table.name, 0) + len(found[1])
            yield from found[1]

    def finish(self) -> None:
        """Make sure that all was read that the seal speaks of."""
        found = self._peek()
        if found is not None:
            raise self._damaged(f"rows of {found[0]} stand where none may be")

    def _peek(self) -> tuple[str, list[Row]] | None:
        """Return the next rows and the name of their table, or None where the seal is."""
        if self._next is None and not self._sealed:
            kind, payload = self._frame()
            if kind is _Kind.SEAL:
                if self._decode(payload, _Seal).rows != self._rows:
                    raise self._damaged("it has other rows than it says")
                return None
            name, rows = self._decode(payload, tuple[str, msgspec.Raw])
            if kind is not _Kind.ROWS or name not in self._readers:
                raise self._damaged("its parts are not in order")
            self._next = (name, self._readers[name](rows))
        return self._next

    def _reader(self, name: str, columns: tuple[str, ...]) -> "_RowReader":
        table = table_named(name)
        if table is None or not set(columns) <= {column.name for column in table.columns}:
            raise self._too_new(self.header)
        return _RowReader(table, columns, self._decode)

    def _frame(self, *, keep: bool = True) -> tuple[_Kind, bytes]:
        """Read the next frame; its payload is forgotten unless it is to be kept. The seal must be the end of the file.

        A length that is wrong may say anything, so only a file that was checked is read into memory as it says.
        """
        head = self._take(_HEAD.size)
        mark, length = _HEAD.unpack(head)
        if length > self._left:
            raise self._damaged(_TOO_SHORT)
        chunks = [length] if keep else (min(CHUNK_BYTES, length - at) for at in range(0, length, CHUNK_BYTES))
        payload = b""
        digest = hashlib.sha256(self._digest + head)
        for count in chunks:
            payload = self._take(count)
            digest.update(payload)
        self._digest = digest.digest()
        if self._take(_DIGEST_BYTES) != self._digest:
            raise self._damaged("a checksum is wrong")
        return self._kind_of(mark), payload

    def _kind_of(self, mark: bytes) -> _Kind:
        try:
            kind = _Kind(mark)
        except ValueError:
            raise self._damaged(f"it has a part of an unknown kind {mark!r}") from None
        self._sealed = kind is _Kind.SEAL
        if self._sealed and self._left:
            raise self._damaged("something follows upon its end")
        return kind

    def _take(self, count: int) -> bytes:
        if count > self._left:
            raise self._damaged(_TOO_SHORT)
        self._left -= count
        try:
            data = self._file.read(count)
        except OSError as error:
            raise StoreUnavailable(f"the backup {self._path} cannot be read: {error.strerror}") from error
        if len(data) < count:
            raise self._damaged("it was cut while it was read")
        return data

    def _decode(self, data: Any, kind: Any) -> Any:
        """Return what lies in a payload. Any: a type that may be made at run time."""
        try:
            return decode_msgpack(data, kind)
        except msgspec.DecodeError as error:
            raise self._damaged(f"it holds what nobody can have written: {error}") from None

    def _too_new(self, header: Header) -> StoreTooNew:
        return StoreTooNew(
            f"the backup {self._path} was made by Runtara {header.version} and has more than this version knows: "
            "use that version, or a later one"
        )

    def _damaged(self, why: str) -> StoreCorrupt:
        return StoreCorrupt(f"the backup {self._path} is damaged: {why}; use another copy of it")


class _RowReader:
    """Reads rows of a table that may come from a version which had fewer columns."""

    def __init__(self, table: Table, columns: tuple[str, ...], decode: Any) -> None:
        known: Mapping[str, Any] = {column.name: column.type for column in table.columns}
        self._decode = decode
        self._type = list[tuple.__class_getitem__(tuple(known[name] for name in columns))]  # type: ignore[misc]  # made here
        defaults = {column.name: column.default for column in table.columns}
        self._absent = {name: value for name, value in defaults.items() if name not in columns}
        self._columns = columns
        self._order = tuple(known)

    def __call__(self, data: Any) -> list[Row]:
        rows: list[Row] = self._decode(data, self._type)
        return rows if self._columns == self._order else [self._completed(row) for row in rows]

    def _completed(self, row: Row) -> Row:
        """Return a row with what it lacks."""
        values = self._absent | dict(zip(self._columns, row, strict=True))
        return tuple(values[name] for name in self._order)


def _link(before: bytes, parts: Sequence[bytes]) -> bytes:
    digest = hashlib.sha256(before)
    for part in parts:
        digest.update(part)
    return digest.digest()


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a backup for the length of the block.

    Raises `StoreUnavailable` for a file that cannot be read, `InvalidInput` for one that is no backup, `StoreCorrupt`
    for one that is damaged, and `StoreTooNew`.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise StoreUnavailable(f"the backup {path} cannot be read: {error.strerror}") from error
    with file:
        yield Archive(file, path)
