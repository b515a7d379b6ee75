"""What writers of databases have in common beside commits: images, schedules, and the removal of what is finished.

Each change is one transaction of named statements, which a subclass begins and ends (`_change`). What a transaction
has read stays true until it ends: whoever changes an image holds its row, or the whole file.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import asdict, replace

from runtara.errors import AlreadyExists, StoreCorrupt
from runtara.ids import ImageRef, InstanceKey
from runtara.records import Image, ImageVersion, Schedule
from runtara.store._records import decode_row
from runtara.store._terms import USERS_NAMED, Finished, LoadError, is_pushed_again

__all__ = ["Array", "Execute", "SqlWriter", "count_finished", "prune_finished"]

Execute = Callable[[str, Mapping[str, object]], Sequence[Any]]
"""Executes a named statement and returns its rows. Any: `_decode` checks them."""

Array = Callable[[Sequence[object]], object]
"""Turns values into what a statement takes for a list of them."""

T = TypeVar("T")
Record = TypeVar("Record", bound=msgspec.Struct)


class SqlWriter:
    """Changes what lies beside the histories of instances. Every call may raise what `commit` raises."""

    def _change(self, work: Callable[[Execute], T]) -> T:
        """Return what `work` returns, after the transaction in which it has run is on stable storage."""
        raise AssertionError(f"{type(self).__name__} cannot do {work}")

    def _array(self, values: Sequence[object]) -> object:
        """Return what a statement takes for a list of values."""
        raise AssertionError(f"{type(self).__name__} cannot list {values}")

    def push_image(self, tenant_id: str, name: str, image_id: str, version: ImageVersion) -> tuple[Image, ImageVersion]:
        """Make a version current under a name; nothing changes where it is already."""
        return self._change(lambda execute: _push(execute, tenant_id, name, image_id, version))

    def use_image_version(self, tenant_id: str, image_id: str, version: int, at: int) -> Image | None:
        """Make a version current that there is; None if there is no such image or version."""
        return self._change(lambda execute: _use(execute, tenant_id, image_id, version, at))

    def delete_image(self, tenant_id: str, image_id: str, at: int) -> tuple[str, ...] | None:
        """Delete an image that no unfinished instance uses; return some that do, or None if there is no such image."""
        return self._change(lambda execute: _delete(execute, tenant_id, image_id, at))

    def collect_images(
        self, deleted_before: int, keep_versions: int, limit: int, dry_run: bool
    ) -> list[tuple[str, ImageRef]]:
        """Remove versions that nobody needs any more; return which."""
        names = {"deleted_before": deleted_before, "keep_versions": max(1, keep_versions), "limit": limit}
        return self._change(lambda execute: _collect(execute, names, dry_run))

    def put_schedule(self, schedule: Schedule) -> bool:
        """Keep a new schedule, or the next version of one; False where another version is stored."""
        statement = "insert_schedule" if schedule.version == 1 else "update_schedule"
        return self._change(lambda execute: bool(execute(statement, asdict(schedule))))

    def delete_schedule(self, tenant_id: str, name: str) -> bool:
        """Forget a schedule; False where there is none."""
        return self._change(lambda execute: bool(execute("delete_schedule", {"tenant_id": tenant_id, "name": name})))

    def prune_finished(self, finished: Finished, limit: int, dry_run: bool) -> list[InstanceKey]:
        """Delete at most `limit` finished instances with all that belongs to them, those first that finished first."""
        return self._change(lambda execute: prune_finished(execute, self._array, finished, limit, dry_run=dry_run))


def count_finished(execute: Execute, array: Array, finished: Finished) -> int:
    """Return how many instances are meant."""
    ((count,),) = execute("count_finished", _meant(array, finished))
    return int(count)


def prune_finished(
    execute: Execute, array: Array, finished: Finished, limit: int, *, dry_run: bool = False
) -> list[InstanceKey]:
    """Delete some finished instances, inside a transaction of the caller's; return which."""
    rows = execute("list_finished", {**_meant(array, finished), "limit": limit})
    if rows and not dry_run:
        execute("delete_instances", {"numbers": array([number for number, *_ in rows])})
    return [InstanceKey(*key) for _, *key in rows]


def _meant(array: Array, finished: Finished) -> Mapping[str, object]:
    return asdict(finished) | {"statuses": array([status.value for status in finished.statuses])}


class _Found(NamedTuple):
    """An image and its number."""

    number: int
    image: Image


def _find(execute: Execute, statement: str, names: Mapping[str, object]) -> _Found | None:
    return next((_Found(number, _decode(Image, row)) for number, *row in execute(statement, names)), None)


def _push(
    execute: Execute, tenant_id: str, name: str, image_id: str, version: ImageVersion
) -> tuple[Image, ImageVersion]:
    named = {"tenant_id": tenant_id, "name": name}
    found = _find(execute, "find_image_named", named)
    if found is None:
        execute("insert_image", named | {"image_id": image_id, "created_at": version.created_at})
        found = _find(execute, "find_image_named", named)  # perhaps another one, which was pushed in the same moment
    if found is None:
        raise AlreadyExists(f"the image id {image_id} is taken by another image: push {name} with a new one")
    current = _version(execute, found, found.image.version)
    if current is not None and is_pushed_again(version, current):
        return found.image, current
    ((number,),) = execute("number_image_version", {"number": found.number})
    pushed = replace(version, version=number)
    execute("insert_image_version", {"number": found.number} | asdict(pushed))
    return _make_current(execute, found, number, version.created_at), pushed


def _use(execute: Execute, tenant_id: str, image_id: str, version: int, at: int) -> Image | None:
    found = _find(execute, "find_image", {"tenant_id": tenant_id, "image_id": image_id})
    if found is None or _version(execute, found, version) is None:
        return None
    return found.image if found.image.version == version else _make_current(execute, found, version, at)


def _delete(execute: Execute, tenant_id: str, image_id: str, at: int) -> tuple[str, ...] | None:
    names = {"tenant_id": tenant_id, "image_id": image_id}
    found = _find(execute, "find_image", names)
    if found is None:
        return None
    users = execute("list_image_users", {**names, "limit": USERS_NAMED})
    if not users:
        execute("delete_image", {"number": found.number, "at": at})
    return tuple(instance_id for (instance_id,) in users)


def _collect(execute: Execute, names: Mapping[str, object], dry_run: bool) -> list[tuple[str, ImageRef]]:
    spare = execute("list_spare_versions", names)
    if not dry_run:
        # Another node may have removed some while the images were waited for.
        spare = [row for row in spare if execute("delete_image_version", {"number": row[0], "version": row[3]})]
        for number in dict.fromkeys(row[0] for row in spare):
            execute("forget_image", {"number": number})
    return [(tenant_id, ImageRef(image_id, version)) for _, tenant_id, image_id, version in spare]


def _version(execute: Execute, found: _Found, version: int) -> ImageVersion | None:
    rows = execute("find_image_version", {"number": found.number, "version": version})
    return next((_decode(ImageVersion, row) for row in rows), None)


def _make_current(execute: Execute, found: _Found, version: int, at: int) -> Image:
    execute("update_image", {"number": found.number, "version": version, "at": at})
    return replace(found.image, version=version, updated_at=at)


def _decode(kind: type[Record], row: Sequence[object]) -> Record:
    try:
        return decode_row(kind, row)
    except LoadError as error:
        raise StoreCorrupt(f"the store holds what nobody can have written: {error}; restore a backup") from None
