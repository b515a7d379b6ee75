"""The chores of a host, one class each: what is not needed any more, found out with the store's help."""

from collections.abc import Sequence
from typing import Any, Final

import trio

from runtara.actors._ref import Ref
from runtara.actors.runners.runs import OldRun, Runs
from runtara.actors.storage import Act, Load, Query
from runtara.actors.upkeep import Removed
from runtara.clock import Clock
from runtara.ids import ImageRef, InstanceKey
from runtara.images import Library
from runtara.lifecycle import FINAL
from runtara.records import Snapshot
from runtara.store import Finished

__all__ = ["ImageChore", "InstanceChore", "RunFolderChore"]

_AT_ONCE: Final = 100
"""How many instances are looked at, or deleted, in one go, so that others get their turn."""

_DRY_RUN_MAX: Final = 100_000
"""How many instances a dry run finds at most."""

_PAGE: Final = 1_000

_CONTENT_GRACE_S: Final = 60.0
"""So long content stays at least that just came, or is still coming: its version may not be in the store yet."""


class _Aged:
    """A chore that is about what is older than `keep_ms`; 0 keeps everything."""

    def __init__(self, clock: Clock, keep_ms: int) -> None:
        self._clock = clock
        self._keep_ms = keep_ms

    @property
    def on(self) -> bool:
        """Whether there is an age at which something goes."""
        return self._keep_ms > 0

    @property
    def _before_ms(self) -> int:
        """The instant before which it is too old."""
        return self._clock.now_ms() - self._keep_ms


class InstanceChore(_Aged):
    """Deletes instances that have finished `keep_ms` ago or earlier, with all that belongs to them."""

    async def do(self, reader: Ref, writer: Ref, *, dry_run: bool) -> Sequence[Removed]:
        """Delete them, a hundred at a time."""
        if not self.on:
            return []
        finished = Finished(before_ms=self._before_ms)
        if dry_run:
            return [_removed(key) for key in await writer.ask(Act("prune_finished", (finished, _DRY_RUN_MAX, True)))]
        removed: list[Removed] = []
        while True:
            keys: Sequence[InstanceKey] = await writer.ask(Act("prune_finished", (finished, _AT_ONCE, False)))
            removed += map(_removed, keys)
            if len(keys) < _AT_ONCE:
                return removed


class RunFolderChore(_Aged):
    """Removes the folders of runs whose instance has finished `keep_ms` ago, or is not in the store any more."""

    def __init__(self, clock: Clock, runs: Runs, keep_ms: int) -> None:
        super().__init__(clock, keep_ms)
        self._runs = runs

    async def do(self, reader: Ref, writer: Ref, *, dry_run: bool) -> Sequence[Removed]:
        """Remove them, but for those in which something is launched at this moment."""
        if not self.on:
            return []
        removed: list[Removed] = []
        old = await trio.to_thread.run_sync(self._runs.list_old, self._before_ms)
        for first in range(0, len(old), _AT_ONCE):
            unneeded = await self._unneeded(reader, old[first : first + _AT_ONCE])
            if not dry_run:
                unneeded = await trio.to_thread.run_sync(self._put_aside, unneeded)
            removed += [_removed(run.key) for run in unneeded]
        if not dry_run:
            await trio.to_thread.run_sync(self._runs.clear)
        return removed

    def _put_aside(self, runs: Sequence[OldRun]) -> list[OldRun]:
        return [run for run in runs if self._runs.put_aside(run)]

    async def _unneeded(self, reader: Ref, runs: Sequence[OldRun]) -> list[OldRun]:
        found = await reader.ask(Load(tuple(run.key for run in runs)))
        before = self._before_ms
        return [run for run in runs if run.key not in found or _is_over(found[run.key], before)]


class ImageChore(_Aged):
    """Removes versions that nobody needs, and then content that no version has.

    `keep_ms` is how long a deleted image, and content that just came, are left alone; `keep_versions` is how many of
    the newest versions of an image stay, the current one and those in use beside them.
    """

    def __init__(self, clock: Clock, library: Library, keep_ms: int, keep_versions: int) -> None:
        super().__init__(clock, keep_ms)
        self._library = library
        self._keep_versions = keep_versions

    async def do(self, reader: Ref, writer: Ref, *, dry_run: bool) -> Sequence[Removed]:
        """Remove the versions, then the content."""
        if not self.on:
            return []
        removed = await self._versions(writer, dry_run=dry_run)
        needed, age = await _digests(reader), max(self._keep_ms / 1000, _CONTENT_GRACE_S)
        if not needed and not removed:
            return []  # a store that knows of no image may be another one than that to which the content belongs
        paths = await trio.to_thread.run_sync(lambda: self._library.collect(needed.__contains__, age, dry_run=dry_run))
        return removed + [Removed(None, path) for path in paths]

    async def _versions(self, writer: Ref, *, dry_run: bool) -> list[Removed]:
        removed: list[Removed] = []
        most = _DRY_RUN_MAX if dry_run else _PAGE
        arguments = (self._before_ms, self._keep_versions, most, dry_run)
        while True:
            gone: Sequence[tuple[str, ImageRef]] = await writer.ask(Act("collect_images", arguments))
            removed += [Removed(tenant_id, f"{ref.image_id}@{ref.version}") for tenant_id, ref in gone]
            if dry_run or len(gone) < _PAGE:
                return removed


async def _digests(reader: Ref) -> frozenset[str]:
    """Return all content that some version has."""
    found: list[str] = []
    while True:
        page: list[str] = await reader.ask(Query("list_digests", (_PAGE, found[-1] if found else "")))
        found += page
        if len(page) < _PAGE:
            return frozenset(found)


def _removed(key: InstanceKey) -> Removed:
    return Removed(key.tenant_id, key.instance_id)


def _is_over(found: Any, before_ms: int) -> bool:
    """Return whether an instance finished before an instant; one that cannot be read is left alone."""
    if not isinstance(found, Snapshot):
        return False
    row = found.instance
    return row.status in FINAL and row.finished_at is not None and row.finished_at < before_ms
