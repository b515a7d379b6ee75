"""Moving all rows of a store: into a backup, out of one, or into another store.

However it goes, the source is seen as it was at one instant, the target is filled in one transaction, and before that
ends, what the target holds is read again and compared, row for row, by a digest over each table. Killed anywhere, it
leaves a target that is as it was before, or a file that is not there.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec

from runtara import __version__
from runtara.clock import SystemClock
from runtara.errors import StoreCorrupt
from runtara.store._archive import ArchiveWriter, Header, open_archive
from runtara.store._batches import Sum, Sums, batches_of
from runtara.store._files import new_file
from runtara.store._tables import TABLES
from runtara.store._upkeep import Rows, Target, Upkeep

__all__ = ["Transferred", "Watch", "back_up", "copy_store", "restore"]

Watch = Callable[[str, int], None]
"""Is told the name of a table, and how many more bytes of it were moved."""


class Transferred(msgspec.Struct, frozen=True, kw_only=True):
    """What was moved."""

    tables: dict[str, Sum]
    """Rows and digest of each table that has any rows."""
    left_out: dict[str, int] = {}
    """Rows of tables that the target's database does not have."""
    problems: tuple[str, ...] = ()
    """What a check of the target has found, in words. They come from the source: every row is as it was there."""


def back_up(upkeep: Upkeep, path: Path, watch: Watch) -> Transferred:
    """Write a backup of a store to `path`, while others work there.

    Raises `AlreadyExists` where there is a file, and what stores raise.
    """
    sums = Sums()
    with new_file(path) as file, upkeep.source(live=True, scratch=path.parent) as source:
        made = Header(
            made_at=SystemClock().now_ms(), version=__version__, database=source.database, schema=source.schema
        )
        archive = ArchiveWriter(file, made)
        for table in TABLES:
            for batch in batches_of(table, source.rows(table)):
                archive.write(batch)
                sums.add(batch)
                watch(table.name, batch.size)
        archive.seal()
    return Transferred(tables=sums.result())


def restore(path: Path, upkeep: Upkeep, watch: Watch, *, replace: bool = False) -> Transferred:
    """Fill an empty store with a backup; with `replace`, one whose content is to be deleted.

    Raises `InvalidInput`, `StoreCorrupt` or `StoreTooNew` for a file that is not a sound backup, `AlreadyExists` for a
    store that is not empty, and what stores raise.
    """
    with open_archive(path) as archive:
        archive.check()  # to the end, before anything is touched
    with open_archive(path) as archive, upkeep.target(replace=replace) as target:
        moved = _fill(target, archive, watch)
        archive.finish()
    return _verified(moved, upkeep)


def copy_store(source: Upkeep, target: Upkeep, watch: Watch, *, live: bool = False) -> Transferred:
    """Fill an empty store with all that another one holds.

    Raises `StoreInUse` where the source is at work, unless `live`: then it is copied as it is now.
    """
    with source.source(live=live) as rows, target.target(replace=False) as filled:
        moved = _fill(filled, rows, watch)
    return _verified(moved, target)


def _fill(target: Target, source: Rows, watch: Watch) -> Transferred:
    sums = Sums()
    left_out: dict[str, int] = {}
    for table in TABLES:
        kept = table.is_in(target.database)
        for batch in batches_of(table, source.rows(table)):
            if not kept:
                left_out[table.name] = left_out.get(table.name, 0) + len(batch.rows)
                continue
            target.write(table, batch.rows)
            sums.add(batch)
            watch(table.name, batch.size)
    given, found = sums.result(), _read_again(target)
    for name in sorted(given.keys() | found.keys()):
        if given.get(name) != found.get(name):
            raise StoreCorrupt(
                f"what was stored of {name} is not what was given: {found.get(name)} instead of {given.get(name)}; "
                "nothing was kept"
            )
    return Transferred(tables=given, left_out=left_out)


def _read_again(target: Target) -> dict[str, Sum]:
    sums = Sums()
    for table in TABLES:
        if table.is_in(target.database):
            for batch in batches_of(table, target.rows(table)):
                sums.add(batch)
    return sums.result()


def _verified(moved: Transferred, upkeep: Upkeep) -> Transferred:
    return msgspec.structs.replace(moved, problems=tuple(upkeep.verify()))
