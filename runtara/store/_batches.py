"""Rows on their way: in batches that fit into memory however large a table is, and what all of them add up to.

A row is encoded once. Its bytes are what a backup holds, and what the digest of its table is made of, so that two
databases, or a database and a file, can be compared without either knowing the other.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from runtara.store._tables import Row, Table

__all__ = ["Batch", "Sum", "Sums", "batches_of"]

ROWS_MAX: Final = 1_000
"""Most rows of a batch."""
BYTES_ENOUGH: Final = 1024 * 1024
"""A batch ends with the row that brings it to this size; one row may be as large as a database allows."""

_encoder: Final = msgspec.msgpack.Encoder()


class Batch(NamedTuple):
    """Rows of one table that follow upon each other, and the same rows encoded."""

    table: Table
    rows: list[Row]
    encoded: list[bytes]

    @property
    def size(self) -> int:
        """How many bytes the encoded rows have."""
        return sum(map(len, self.encoded))


class Sum(msgspec.Struct, frozen=True):
    """What the rows of a table add up to."""

    rows: int
    sha256: str


class Sums:
    """Adds up batches, table by table."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._digests: dict[str, hashlib._Hash] = {}

    def add(self, batch: Batch) -> None:
        """Count a batch in."""
        name = batch.table.name
        digest = self._digests.setdefault(name, hashlib.sha256())
        for encoded in batch.encoded:
            digest.update(encoded)
        self._rows[name] = self._rows.get(name, 0) + len(batch.rows)

    def result(self) -> dict[str, Sum]:
        """Return the sum of each table that has any rows."""
        return {name: Sum(count, self._digests[name].hexdigest()) for name, count in self._rows.items()}


def batches_of(table: Table, rows: Iterable[Row]) -> Iterator[Batch]:
    """Cut rows into batches; only one of them is in memory at a time."""
    batch, size = Batch(table, [], []), 0
    for row in rows:
        encoded = _encoder.encode(row)
        batch.rows.append(row)
        batch.encoded.append(encoded)
        size += len(encoded)
        if size >= BYTES_ENOUGH or len(batch.rows) >= ROWS_MAX:
            yield batch
            batch, size = Batch(table, [], []), 0
    if batch.rows:
        yield batch
