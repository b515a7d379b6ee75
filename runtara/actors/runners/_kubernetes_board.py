"""What the cluster is known to hold: one list and one watch for each kind of object, whoever waits for whichever.

A change that was missed (a broken watch, one that is too old) is found by listing again, so nobody waits for news that
will not come. What is gone of an attempt that somebody keeps is remembered as it was last seen.
"""

import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Generic, TypeVar

import msgspec
import trio

from runtara.actors.runners._kubernetes_api import (
    API_BACKOFF,
    ApiFailed,
    Cluster,
    Kind,
    Listing,
    patiently,
    read_stream,
)
from runtara.actors.runners._kubernetes_names import ATTEMPT
from runtara.actors.runners._kubernetes_objects import Job, Pod, Trouble, WatchEvent
from runtara.decoders import decode_json

__all__ = ["Board", "Seen", "Shelf"]

_log: Final = logging.getLogger("runtara.runner")
_Item = TypeVar("_Item", Job, Pod)

_GONE: Final = 410
"""Status: the cluster no longer knows what has happened since then."""


class Seen(msgspec.Struct, Generic[_Item]):
    """An object as it was last seen."""

    object: _Item
    at: int
    """When, by the shelf's own count."""
    gone: bool = False

    @property
    def attempt(self) -> str:
        """The name of the attempt that it is part of."""
        return self.object.metadata.labels.get(ATTEMPT, "")


class Shelf(Generic[_Item]):
    """The objects of one kind, by attempt and uid: another object of the same name is another object."""

    def __init__(self, kept: Callable[[str], bool], changed: Callable[[str], None]) -> None:
        self._kept: Final = kept
        self._changed: Final = changed
        self._of_attempt: Final[dict[str, dict[str, Seen[_Item]]]] = {}
        self.count = 0
        """How much was noted so far."""

    def all(self) -> list[Seen[_Item]]:
        """Return everything, also what is gone and remembered."""
        return [seen for of_attempt in self._of_attempt.values() for seen in of_attempt.values()]

    def find(self, attempt: str) -> list[Seen[_Item]]:
        """Return what belongs to an attempt, oldest first."""
        return list(self._of_attempt.get(attempt, {}).values())

    def put(self, item: _Item, *, gone: bool = False) -> None:
        """Note how an object stands."""
        self.count += 1
        uid, new = item.metadata.uid, Seen(item, self.count, gone)
        of_attempt = self._of_attempt.setdefault(new.attempt, {})
        old = of_attempt.get(uid)
        if old is None or not old.gone:  # what is gone does not come back: that is old news
            of_attempt[uid] = new
        if gone and not self._kept(new.attempt):
            del of_attempt[uid]
        if not of_attempt:
            del self._of_attempt[new.attempt]
        self._changed(new.attempt)

    def replace(self, items: list[_Item], began: int, attempt: str = "") -> set[str]:
        """Note all there was at a moment, or all of an attempt. Return the attempts to be looked at again.

        What was noted since the count was `began` stays: it may be newer, or older, and a listing does not tell which.
        """
        before = {seen.object.metadata.uid: seen for seen in (self.find(attempt) if attempt else self.all())}
        undecided = set()
        for item in items:
            seen = before.pop(item.metadata.uid, None)
            if seen is None or seen.at <= began:
                self.put(item)
            elif not seen.gone and seen.object.metadata.resource_version != item.metadata.resource_version:
                undecided.add(seen.attempt)
        for seen in before.values():
            if seen.at > began and not seen.gone:
                undecided.add(seen.attempt)
            elif not seen.gone:
                self.put(seen.object, gone=True)
        return undecided

    def forget(self, attempt: str) -> None:
        """Let go of what belongs to an attempt."""
        self._of_attempt.pop(attempt, None)


class Board:
    """Jobs and Pods that a selector fits. Knows them while `serve` runs; `change_of` tells when to look again."""

    def __init__(self, cluster: Cluster, selector: str) -> None:
        self._cluster: Final = cluster
        self._selector: Final = selector
        self._kept: Final[set[str]] = set()
        self._changes: Final[dict[str, trio.Event]] = {}
        self._versions: Final[dict[Kind, str]] = {}
        self.jobs: Final = Shelf[Job](self._kept.__contains__, self.stir)
        self.pods: Final = Shelf[Pod](self._kept.__contains__, self.stir)
        self.follows_pods: Final = trio.Event()
        """Set once there is a moment from which every change of a Pod will be seen."""

    def keep(self, attempt: str) -> None:
        """Remember what is gone of an attempt, until it is forgotten."""
        self._kept.add(attempt)

    def forget(self, attempt: str) -> None:
        """Let go of everything known of an attempt."""
        self._kept.discard(attempt)
        self.jobs.forget(attempt)
        self.pods.forget(attempt)
        self.stir(attempt)

    def change_of(self, attempt: str = "") -> trio.Event:
        """Return an event that is set with the next change of an attempt's objects; without a name, of any."""
        return self._changes.setdefault(attempt, trio.Event())

    def stir(self, attempt: str) -> None:
        """Have everybody look again who waits for an attempt."""
        for name in (attempt, ""):
            change = self._changes.pop(name, None)
            if change is not None:
                change.set()

    async def serve(self) -> None:
        """Keep up with the cluster, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_up, "jobs", self.list_jobs)
            nursery.start_soon(self._keep_up, "pods", self.list_pods)

    async def serve_pods(self) -> None:
        """Keep up with Pods only, until cancelled."""
        await self._keep_up("pods", self.list_pods)

    async def list_jobs(self) -> None:
        """Look at all Jobs anew. Raises `ApiFailed`."""
        self._versions["jobs"] = await self._list(self.jobs, self._cluster.list_jobs)

    async def list_pods(self) -> None:
        """Look at all Pods anew. Raises `ApiFailed`."""
        self._versions["pods"] = await self._list(self.pods, self._cluster.list_pods)
        self.follows_pods.set()

    async def _list(self, shelf: Shelf[_Item], ask: Callable[[str], Listing[_Item]], attempt: str = "") -> str:
        began = shelf.count
        listing = await patiently(ask, f"{ATTEMPT}={attempt}" if attempt else self._selector)
        for undecided in shelf.replace(listing.items, began, attempt):
            await self._list(shelf, ask, undecided)
        return listing.version

    async def _keep_up(self, kind: Kind, list_anew: Callable[[], Any]) -> None:  # a coroutine function
        failures = 0
        while True:
            before = self._versions.get(kind)
            try:
                if before is None:
                    await list_anew()
                await self._watch(kind)
                failures = 0
            except ApiFailed as failed:
                if failed.status == _GONE:
                    self._versions.pop(kind, None)
                elif self._versions.get(kind) != before:
                    failures = 0  # there was news in between
                failures += 1
                _log.warning("watch-broken", extra={"kind": kind, "failures": failures, "error": str(failed)})
                await trio.sleep(API_BACKOFF.delay(failures, random.random))

    async def _watch(self, kind: Kind) -> None:
        opening = partial(self._cluster.watch, kind, self._selector, self._versions[kind])
        await read_stream(opening, lambda stream: stream.lines(), partial(self._take, kind))

    def _take(self, kind: Kind, line: bytes) -> None:
        """Note what a line of a watch says. Raises `ApiFailed` where it is that the watch has failed."""
        try:
            event = decode_json(line, WatchEvent)
            if event.type == "ERROR":
                trouble = decode_json(event.object, Trouble)
                raise ApiFailed(trouble.code, trouble.message)
            self._note(kind, event)
        except msgspec.DecodeError as broken:
            raise ApiFailed(None, f"the cluster's watch says what cannot be read: {broken}") from broken

    def _note(self, kind: Kind, event: WatchEvent) -> None:
        is_news, gone = event.type != "BOOKMARK", event.type == "DELETED"
        if kind == "jobs":
            job = decode_json(event.object, Job)
            self._versions[kind] = job.metadata.resource_version
            if is_news:
                self.jobs.put(job, gone=gone)
        else:
            pod = decode_json(event.object, Pod)
            self._versions[kind] = pod.metadata.resource_version
            if is_news:
                self.pods.put(pod, gone=gone)
