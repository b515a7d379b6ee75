"""How images and schedules of a store in memory are changed and read."""

import heapq
from itertools import islice

from msgspec.structs import replace

from runtara.errors import AlreadyExists
from runtara.ids import ImageRef
from runtara.lifecycle import FINAL
from runtara.messages import ImagePage, ImageVersionPage, SchedulePage
from runtara.records import Image, ImageVersion, Schedule
from runtara.store import _cursors
from runtara.store._memory_tables import StoredImage, Tables
from runtara.store._terms import USERS_NAMED, is_pushed_again

__all__ = ["CatalogReader", "CatalogWriter"]


class CatalogWriter:
    """Changes images and schedules."""

    _tables: Tables

    def _check_open(self) -> None:
        raise AssertionError(f"{type(self).__name__} does not know whether it is open")

    def push_image(self, tenant_id: str, name: str, image_id: str, version: ImageVersion) -> tuple[Image, ImageVersion]:
        """Make a version current under a name; nothing changes where it is already."""
        self._check_open()
        stored = self._named(tenant_id, name) or self._new_image(tenant_id, name, image_id, version.created_at)
        current = stored.versions.get(stored.image.version)
        if current is not None and is_pushed_again(version, current):
            return stored.image, current
        pushed = replace(version, version=max(stored.versions, default=0) + 1)
        stored.versions[pushed.version] = pushed
        stored.image = replace(stored.image, version=pushed.version, updated_at=version.created_at)
        return stored.image, pushed

    def use_image_version(self, tenant_id: str, image_id: str, version: int, at: int) -> Image | None:
        """Make a version current that there is; None if there is no such image or version."""
        self._check_open()
        stored = _live(self._tables, tenant_id, image_id)
        if stored is None or version not in stored.versions:
            return None
        if stored.image.version != version:
            stored.image = replace(stored.image, version=version, updated_at=at)
        return stored.image

    def delete_image(self, tenant_id: str, image_id: str, at: int) -> tuple[str, ...] | None:
        """Delete an image that no unfinished instance uses; return some that do, or None if there is no such image."""
        self._check_open()
        stored = _live(self._tables, tenant_id, image_id)
        if stored is None:
            return None
        users = sorted(
            (row.program, row.instance_id)
            for row in self._tables.instances()
            if row.tenant_id == tenant_id
            and row.status not in FINAL
            and (ref := ImageRef.of_program(row.program)) is not None
            and ref.image_id == image_id
        )
        if not users:
            stored.deleted_at = at
        return tuple(instance_id for _, instance_id in users[:USERS_NAMED])

    def collect_images(
        self, deleted_before: int, keep_versions: int, limit: int, dry_run: bool
    ) -> list[tuple[str, ImageRef]]:
        """Remove versions that nobody needs any more; return which."""
        self._check_open()
        used = {(row.tenant_id, row.program) for row in self._tables.instances() if row.status not in FINAL}
        spare = (
            (tenant_id, ref)
            for (tenant_id, image_id), stored in self._tables.images.items()
            for version in _spare(stored, deleted_before, keep_versions)
            if (tenant_id, (ref := ImageRef(image_id, version)).program) not in used
        )
        found = list(islice(spare, limit))
        for tenant_id, ref in () if dry_run else found:
            stored = self._tables.images[tenant_id, ref.image_id]
            del stored.versions[ref.version]
            if not stored.versions:
                del self._tables.images[tenant_id, ref.image_id]
        return found

    def put_schedule(self, schedule: Schedule) -> bool:
        """Keep a new schedule, or the next version of one; False where another version is stored."""
        self._check_open()
        stored = self._tables.schedules.get((schedule.tenant_id, schedule.name))
        if schedule.version != (stored.version if stored else 0) + 1:
            return False
        self._tables.schedules[schedule.tenant_id, schedule.name] = schedule
        return True

    def delete_schedule(self, tenant_id: str, name: str) -> bool:
        """Forget a schedule; False where there is none."""
        self._check_open()
        return self._tables.schedules.pop((tenant_id, name), None) is not None

    def _named(self, tenant_id: str, name: str) -> StoredImage | None:
        live = (stored for stored in self._tables.images.values() if stored.deleted_at is None)
        return next((one for one in live if (one.image.tenant_id, one.image.name) == (tenant_id, name)), None)

    def _new_image(self, tenant_id: str, name: str, image_id: str, at: int) -> StoredImage:
        if (tenant_id, image_id) in self._tables.images:
            raise AlreadyExists(f"the image id {image_id} is taken by another image: push {name} with a new one")
        image = Image(tenant_id=tenant_id, image_id=image_id, name=name, version=1, created_at=at, updated_at=at)
        return self._tables.images.setdefault((tenant_id, image_id), StoredImage(image))


class CatalogReader:
    """Looks at images and schedules."""

    _tables: Tables

    def read_image(self, tenant_id: str, name_or_id: str) -> Image | None:
        """Return an image by its id or name."""
        if stored := _live(self._tables, tenant_id, name_or_id):
            return stored.image
        return next((image for image in self._images(tenant_id) if image.name == name_or_id), None)

    def read_image_version(self, tenant_id: str, ref: ImageRef) -> ImageVersion | None:
        """Return one version of an image, deleted or not."""
        stored = self._tables.images.get((tenant_id, ref.image_id))
        return stored.versions.get(ref.version) if stored else None

    def list_images(self, tenant_id: str, limit: int, cursor: str | None) -> ImagePage:
        """Page through a tenant's images by name."""
        after, _ = _cursors.id_of_cursor(cursor), _cursors.check_limit(limit)
        rows = sorted((one for one in self._images(tenant_id) if one.name > after), key=lambda image: image.name)
        page, more = _cursors.page_of(rows, limit)
        return ImagePage(images=page, cursor=_cursors.cursor_of_id(page[-1].name) if more else None)

    def list_image_versions(self, tenant_id: str, image_id: str, limit: int, cursor: str | None) -> ImageVersionPage:
        """Page through the versions of an image, newest first."""
        before, _ = _cursors.seq_of_cursor(cursor), _cursors.check_limit(limit)
        stored = _live(self._tables, tenant_id, image_id)
        versions = sorted(stored.versions.values(), key=lambda one: -one.version) if stored else []
        page, more = _cursors.page_of([one for one in versions if not before or one.version < before], limit)
        return ImageVersionPage(versions=page, cursor=_cursors.cursor_of_seq(page[-1].version) if more else None)

    def list_digests(self, limit: int, after: str) -> list[str]:
        """Return the digests of all versions, each once, in order."""
        digests = {one.digest for stored in self._tables.images.values() for one in stored.versions.values()}
        return heapq.nsmallest(_cursors.check_limit(limit), (digest for digest in digests if digest > after))

    def read_schedule(self, tenant_id: str, name: str) -> Schedule | None:
        """Return a schedule."""
        return self._tables.schedules.get((tenant_id, name))

    def list_schedules(self, tenant_id: str, limit: int, cursor: str | None) -> SchedulePage:
        """Page through a tenant's schedules by name."""
        after, _ = _cursors.id_of_cursor(cursor), _cursors.check_limit(limit)
        own = (one for one in self._tables.schedules.values() if one.tenant_id == tenant_id and one.name > after)
        page, more = _cursors.page_of(sorted(own, key=lambda schedule: schedule.name), limit)
        return SchedulePage(schedules=page, cursor=_cursors.cursor_of_id(page[-1].name) if more else None)

    def list_due_schedules(self, until_ms: int, limit: int) -> list[Schedule]:
        """Return the schedules of all tenants whose next start is not after an instant, earliest first."""
        due = [
            (one.next_at, one.tenant_id, one.name)
            for one in self._tables.schedules.values()
            if one.next_at is not None and one.next_at <= until_ms
        ]
        return [
            self._tables.schedules[tenant_id, name]
            for _, tenant_id, name in heapq.nsmallest(_cursors.check_limit(limit), due)
        ]

    def next_schedule_at(self) -> int | None:
        """Return the earliest next start of all schedules."""
        return min((one.next_at for one in self._tables.schedules.values() if one.next_at is not None), default=None)

    def _images(self, tenant_id: str) -> list[Image]:
        live = (stored.image for stored in self._tables.images.values() if stored.deleted_at is None)
        return [image for image in live if image.tenant_id == tenant_id]


def _live(tables: Tables, tenant_id: str, image_id: str) -> StoredImage | None:
    stored = tables.images.get((tenant_id, image_id))
    return stored if stored is not None and stored.deleted_at is None else None


def _spare(stored: StoredImage, deleted_before: int, keep_versions: int) -> list[int]:
    """Return the versions of an image that may go as far as the image is concerned, oldest first."""
    if stored.deleted_at is not None:
        return list(stored.versions) if stored.deleted_at < deleted_before else []
    newest = list(stored.versions)[-max(1, keep_versions) :]
    return [version for version in stored.versions if version not in newest and version != stored.image.version]
