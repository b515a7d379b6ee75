"""Work for a PostgreSQL store that somebody breaks meanwhile, a journal of what it was told, and an audit.

The journal lies in this process, outside the world that fails. Each operation is one batch, and each of its saves has a
number of its own, which is in all that belongs to it: a checkpoint of random bytes, an event, and a signal. So the
audit finds out of every row whose it is: what was acknowledged must be there, byte for byte and once; what was refused
must have left nothing; what is unknown must be there wholly or not at all; and there must be nothing else.
"""

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Self

from runtara.errors import Busy, OutcomeUnknown, RuntaraError, StoreFull, StoreUnavailable
from runtara.ids import InstanceKey
from runtara.store import LoadError, Reader, Save, Writer
from runtara.store._postgres import PostgresStore
from tests.store.samples import checkpoint, event, save, signal

__all__ = ["DEFINITE", "Entry", "Outcome", "Workload", "audit"]

DEFINITE = (StoreUnavailable, Busy, StoreFull)
"""What is said of a batch of which nothing is stored."""

PAGE = 1_000


class Outcome(StrEnum):
    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Entry(NamedTuple):
    """An operation: the saves by their numbers, what was said of it, and of each save."""

    saves: dict[int, Save]
    outcome: Outcome
    stored: Sequence[bool]
    error: str = ""


class Workload:
    """Commits numbered saves to a few instances until it is told to stop. Belongs to one thread at a time.

    `wait` is called after every failure, and returns when it is worth another try.
    """

    def __init__(self, store: PostgresStore, seed: int = 0, tenant: str = "acme") -> None:
        self.store = store
        self.random = random.Random(seed)
        self.keys = [InstanceKey(tenant, f"order-{number}") for number in range(4)]
        self.versions = dict.fromkeys(self.keys, 0)
        self.journal: list[Entry] = []
        self.acknowledged = threading.Semaphore(0)
        """Released for every operation that was acknowledged."""
        self._number = 0
        self._writer: Writer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer:
            self._writer.close()

    @property
    def counts(self) -> Counter[Outcome]:
        return Counter(entry.outcome for entry in self.journal)

    def run(self, done: threading.Event, wait: Callable[[], None]) -> None:
        """Commit until `done`; then settle what is unknown."""
        while not done.is_set():
            if not self.step():
                wait()
        self.catch_up()

    def step(self, count: int | None = None, size: int | None = None) -> bool:
        """Do one operation, and note what was said. Return False where it is worth waiting before the next one."""
        if self._writer is None and not self._begin():
            return False
        assert self._writer is not None, "begun above"
        saves = self._saves(count or self.random.randint(1, 5), size)
        try:
            stored = self._writer.commit(list(saves.values()))
        except DEFINITE as error:
            self._note(saves, Outcome.REFUSED, (), error)
            return False
        except OutcomeUnknown as error:
            self._note(saves, Outcome.UNKNOWN, (), error)
            self.versions.clear()
            return False
        self._note(saves, Outcome.OK, stored, None)
        for one, is_stored in zip(saves.values(), stored, strict=True):
            if is_stored:
                self.versions[_key(one)] = one.instance.version
        return True

    def catch_up(self) -> None:
        """Settle what is not known, as the runtime does: by a commit, and a look at what is stored."""
        if self._writer is not None:
            self._writer.commit([])
        with contextlib.closing(self.store.open_reader()) as reader:
            found = reader.load(self.keys)
        for key in self.keys:
            row = found.get(key)
            assert not isinstance(row, LoadError)
            self.versions[key] = row.instance.version if row else 0

    def _begin(self) -> bool:
        try:
            self._writer = self.store.open_writer()
        except DEFINITE:
            return False
        self.versions.clear()
        return True

    def _saves(self, count: int, size: int | None) -> dict[int, Save]:
        if not self.versions:
            with contextlib.suppress(RuntaraError):
                self.catch_up()
        versions = {key: self.versions.get(key, 0) for key in self.keys}
        saves = {}
        for _ in range(count):
            self._number += 1
            key = self.random.choice(self.keys)
            stale = self.random.random() < 0.1
            saves[self._number] = self._save(key, versions[key] + 1 + stale, size)
            versions[key] += not stale
        return saves

    def _save(self, key: InstanceKey, version: int, size: int | None) -> Save:
        name, rows = f"op-{self._number}", self.random.randrange(3)
        state = self.random.randbytes(self.random.randrange(400) if size is None else size)
        return save(
            key,
            version,
            checkpoints=(checkpoint(name, state, request=self._number),),
            events=(event(subtype=name, request=self._number, payload=name.encode()),) * (rows + 1),
            signals=(signal(name, self._number),) if rows else (),
        )

    def _note(self, saves: dict[int, Save], outcome: Outcome, stored: Sequence[bool], error: Exception | None) -> None:
        self.journal.append(Entry(saves, outcome, stored, "" if error is None else repr(error)))
        if outcome is Outcome.OK:
            self.acknowledged.release()


def audit(workload: Workload) -> list[str]:
    """Compare what is stored with what was said about it; return what is wrong, in words."""
    with contextlib.closing(workload.store.open_reader()) as reader:
        problems = reader.verify()
        found = {key: _stored(reader, key) for key in workload.keys}
    wanted: dict[InstanceKey, set[str]] = {key: set() for key in workload.keys}
    for entry in workload.journal:
        problems += _check(entry, found)
        for number, one in entry.saves.items():
            wanted[_key(one)].add(f"op-{number}")
    for key, rows in found.items():
        problems += [f"{name} was stored, and nobody asked for it" for name in rows.keys() - wanted[key]]
    return problems


class _Rows(NamedTuple):
    """What is stored with the number of a save."""

    state: bytes | None
    events: int
    signals: int


def _check(entry: Entry, found: dict[InstanceKey, dict[str, _Rows]]) -> list[str]:
    if entry.outcome is Outcome.UNKNOWN:
        whole = [_is_whole(number, one, found) for number, one in entry.saves.items()]
        none = [f"op-{number}" not in found[_key(one)] for number, one in entry.saves.items()]
        torn = [number for number, *is_ in zip(entry.saves, whole, none, strict=True) if not any(is_)]
        return [f"op-{number} is stored in part ({entry.error})" for number in torn]
    said = entry.stored or [False] * len(entry.saves)
    problems = []
    for (number, one), stored in zip(entry.saves.items(), said, strict=True):
        if stored and not _is_whole(number, one, found):
            problems.append(f"op-{number} was acknowledged but lost: {found[_key(one)].get(f'op-{number}')}")
        if not stored and f"op-{number}" in found[_key(one)]:
            problems.append(f"op-{number} was {entry.outcome} as not stored, but is ({entry.error})")
    return problems


def _is_whole(number: int, one: Save, found: dict[InstanceKey, dict[str, _Rows]]) -> bool:
    rows = found[_key(one)].get(f"op-{number}")
    return rows == _Rows(one.checkpoints[0].state, 1, len(one.signals))


def _stored(reader: Reader, key: InstanceKey) -> dict[str, _Rows]:
    """All that is stored of an instance, by the names of the saves."""
    states: dict[str, bytes] = {}
    counts: dict[str, Counter[str]] = {"events": Counter(), "signals": Counter()}
    for info in _all(lambda cursor: reader.list_checkpoints(key, PAGE, cursor), "checkpoints"):
        kept = reader.read_checkpoint(key, info.checkpoint_id)
        assert kept is not None
        states[info.checkpoint_id] = kept.state
    for one in _all(lambda cursor: reader.list_events(key, None, None, PAGE, cursor), "events"):
        assert one.subtype is not None
        counts["events"][one.subtype] += 1
    snapshot = reader.load([key]).get(key)
    assert not isinstance(snapshot, LoadError)
    counts["signals"].update(snapshot.signal_ids if snapshot else ())
    names = states.keys() | counts["events"].keys() | counts["signals"].keys()
    return {name: _Rows(states.get(name), counts["events"][name], counts["signals"][name]) for name in names}


def _all(page_at: Callable[[str | None], Any], rows: str) -> list[Any]:
    found: list[Any] = []
    cursor = None
    while True:
        page = page_at(cursor)
        found += getattr(page, rows)
        if (cursor := page.cursor) is None:
            return found


def _key(one: Save) -> InstanceKey:
    return InstanceKey(one.instance.tenant_id, one.instance.instance_id)
