"""Images, schedules and the server itself, as a blocking program manages them. Its twin is `_async_host`."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from runtara import messages
from runtara.records import ImageKind, ImageOptions
from runtara.sdk._drive import drive_blocking
from runtara.sdk._flows import Flow, instant_ms
from runtara.sdk._wishes import ask, perform_blocking
from runtara.sdk.images import Source, pulling, pushing, unwatched
from runtara.sdk.management import _rows as lists
from runtara.sdk.management._base import ManagementBase
from runtara.sdk.management._rows import Rows
from runtara.sdk.management._values import Span, instant_of, ms_of, new_plan, tree_of

if TYPE_CHECKING:
    from runtara.actors import ActorInfo

__all__ = ["Host"]

T = TypeVar("T")


class Host(ManagementBase):
    """What may be done with images, schedules and the server. A part of `Management`."""

    # Images

    def push_image(
        self,
        name: str,
        source: Source,
        *,
        kind: ImageKind | None = None,
        description: str = "",
        metadata: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
        options: ImageOptions | None = None,
        progress: Callable[[int, int], None] = unwatched,
    ) -> messages.ImageInfo:
        """Push a file or folder as the newest version of an image, make it the current one, and return it.

        `source` is a path, or an open file, of which the `kind` must be said; of a path it is found out. `metadata` are
        kept with it; `defaults` are fields for inputs that lack them. `progress` is called with how many bytes have
        arrived, and of how many. Interrupted by whatever, it may be called again and sends only what is missing.

        Raises `InvalidInput` for what cannot be pushed.
        """
        said = {"description": description, "metadata": metadata, "defaults": defaults, "options": options}
        return self._run(pushing(self._door, name, source, kind=kind, progress=progress, **said))

    def pull_image(self, image: str, path: str | Path) -> messages.ImageInfo:
        """Write what was pushed as an image into a new file, and return which version it is.

        Raises `InvalidInput` for a file that exists, and `Busy` where what came is not what was pushed.
        """
        return self._run(pulling(self._door, image, path))

    def image(self, image: str) -> messages.ImageInfo:
        """Return what is known of an image by its name or id, in its current version, or of `report@3`."""
        return self._run(ask(self._door, messages.GetImage(image=image)))

    def list_images(self, *, limit: int = 100) -> Rows[messages.ImageInfo, messages.ImagesFound]:
        """Return the images of the tenant, by name, each in its current version."""
        return Rows(lists.of_tenant(self._door, messages.ListImages(limit=limit)), "images")

    def list_image_versions(self, image: str, *, limit: int = 100) -> Rows[messages.ImageInfo, messages.ImagesFound]:
        """Return the versions of an image, the newest first."""
        return Rows(lists.of_tenant(self._door, messages.ListImageVersions(image=image, limit=limit)), "images")

    def use_image(self, image: str) -> messages.ImageInfo:
        """Make another version of an image the current one: `report@2` rolls back to the second."""
        return self._run(ask(self._door, messages.UseImageVersion(image=image)))

    def delete_image(self, image: str) -> messages.ImageDeleted:
        """Delete an image with all its versions. Raises `InvalidState` while an unfinished instance uses one."""
        return self._run(ask(self._door, messages.DeleteImage(image=image)))

    # Schedules

    def put_schedule(
        self,
        name: str,
        start: messages.StartInstance,
        *,
        cron: str | None = None,
        every: Span | None = None,
        timezone: str = "UTC",
        catch_up: messages.CatchUp = "skip",
        paused: bool = False,
        until: datetime | None = None,
    ) -> messages.ScheduleInfo:
        """Create a schedule, or give it a new plan: to start this (see `new_start`) again and again.

        Either by `cron`, meant by the clock of `timezone`, or `every` so often. `catch_up` says what becomes of starts
        that nobody could make in time: none is made (`skip`), the newest `one`, or `all`. What it starts is called
        after the schedule and the instant, `nightly.20260131T033000Z`.
        """
        plan = new_plan(start, cron=cron, every=every, timezone=timezone, catch_up=catch_up, paused=paused, until=until)
        return self._run(ask(self._door, messages.PutSchedule(name=name, plan=plan)))

    def schedule(self, name: str) -> messages.ScheduleInfo:
        """Return how a schedule stands. Raises `NotFound`."""
        return self._run(ask(self._door, messages.GetSchedule(name=name)))

    def list_schedules(self, *, limit: int = 100) -> Rows[messages.ScheduleSummary, messages.SchedulesFound]:
        """Return the schedules of the tenant, by name."""
        return Rows(lists.of_tenant(self._door, messages.ListSchedules(limit=limit)), "schedules")

    def pause_schedule(self, name: str) -> messages.ScheduleInfo:
        """Have a schedule start nothing for now."""
        return self._run(ask(self._door, messages.PauseSchedule(name=name, paused=True)))

    def resume_schedule(self, name: str) -> messages.ScheduleInfo:
        """Have a schedule go on, with its next start after now."""
        return self._run(ask(self._door, messages.PauseSchedule(name=name, paused=False)))

    def delete_schedule(self, name: str) -> messages.ScheduleDeleted:
        """Remove a schedule, if there is one; what it has started goes on."""
        return self._run(ask(self._door, messages.DeleteSchedule(name=name)))

    # Keys

    def keys(self) -> tuple[messages.TenantKey, ...]:
        """Return what is known of the keys of the tenant, the oldest first. All about keys is for admins."""
        return self._run(ask(self._door, messages.ListKeys())).keys

    def add_key(self, role: messages.Role, *, expires_at: datetime | None = None) -> messages.KeyMade:
        """Make a key of the tenant; `secret` is the key itself, which nobody can be told again."""
        return self._run(ask(self._door, messages.AddKey(role=role, expires_at=instant_of(expires_at))))

    def rotate_key(self, key_id: str, *, grace: Span = 0) -> messages.KeyMade:
        """Make a key with the role of another one, which ends after `grace` seconds. Raises `NotFound`."""
        return self._run(ask(self._door, messages.RotateKey(key_id=key_id, grace_ms=ms_of(grace, "grace") or 0)))

    def revoke_key(self, key_id: str) -> messages.KeyRevoked:
        """Make a key worthless at once, on open connections, too; but not that of the last admin."""
        return self._run(ask(self._door, messages.RevokeKey(key_id=key_id)))

    # The server

    def health(self) -> messages.HealthFound:
        """Return how the server is. Raises `Unreachable` if none answers."""
        return self._run(ask(self._door, messages.GetHealth()))

    def nodes(self) -> tuple[messages.NodeInfo, ...]:
        """Return the nodes that share the server's database, those that live first; none where it cannot be shared."""
        return self._run(ask(self._door, messages.ListNodes())).nodes

    def tenant_metrics(
        self, since: datetime, until: datetime, *, granularity: messages.Granularity = "hourly"
    ) -> tuple[messages.MetricsBucket, ...]:
        """Return how many instances were started and have ended in each span of time, and how long they took.

        The spans are whole minutes, hours or days of UTC, without a gap, the earliest first.
        """
        command = messages.GetTenantMetrics(
            tenant_id=self.tenant_id,
            from_ms=instant_ms(since),
            to_ms=instant_ms(until),
            granularity=granularity,
        )
        return self._run(ask(self._door, command)).buckets

    def tree(self) -> "ActorInfo":
        """Return what every actor of the server is doing."""
        return tree_of(self._run(ask(self._door, messages.GetTree())))

    def run_chore(self, chore: messages.Chore, *, dry_run: bool = False) -> messages.ChoreDone:
        """Have the server remove at once what its settings do not keep, or only say what that would be.

        `instances` that have finished long ago, the folders of `runs`, or what nothing uses any more of `images`.
        """
        return self._run(ask(self._door, messages.RunChore(chore=chore, dry_run=dry_run)))

    def _run(self, flow: Flow[T]) -> T:
        return drive_blocking(flow, perform_blocking)
