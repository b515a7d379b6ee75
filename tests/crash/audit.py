"""The auditor of a campaign: holds what is stored against what the clients were told.

It reads the journals in the order in which they were written, cycle after cycle, and looks into a copy of the store as
the kill has left it, so that the next life must do its own recovery.
"""

import shutil
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import msgspec
from msgspec.structs import replace

from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, Status
from runtara.records import Instance, Signal, Snapshot
from runtara.store import Reader, open_store
from tests.crash.journal import Line, digest
from tests.crash.worker import TENANT
from tests.crash.workload import SIGNAL_NAMES

__all__ = ["Audit"]


class Audit:
    """What is known about one store, over all the lives that worked on it."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        """Each begins with the promise that is broken, and a colon."""
        self.acks: Counter[str] = Counter()
        self._meant: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._checkpoints: dict[tuple[str, str], str] = {}
        self._steps: dict[tuple[str, str], str] = {}
        self._runs: set[tuple[str, str, int]] = set()
        self._deadlines: dict[tuple[str, str], int] = {}
        self._earliest: dict[tuple[str, str], int] = {}
        self._epochs: dict[str, int] = {}
        self._sent: set[tuple[str, str]] = set()
        self._taken: dict[tuple[str, str], str] = {}
        self._ended: dict[str, str] = {}
        self._started: set[str] = set()
        self._cancelled: set[str] = set()
        self._retries: set[tuple[str, str, int]] = set()
        self._launches: Counter[str] = Counter()
        self._final: dict[str, tuple[Instance, bytes | None]] = {}
        self._versions: dict[str, int] = {}

    @property
    def promises(self) -> set[str]:
        """Those that are broken."""
        return {problem.partition(":")[0] for problem in self.problems}

    def _say(self, promise: str, *details: object) -> None:
        self.problems.append(f"{promise}: {' '.join(map(str, details))}")

    # What the clients were told ---------------------------------------------------------------------------------------

    def read(self, lines: Iterable[Line]) -> str:
        """Take note of one life's journal; return the last phase that it reached."""
        phase = "nothing"
        self._launches.clear()
        for line in lines:
            if line.mark == "phase":
                phase = line.op
            elif line.mark == "error":
                self._say("no surprises", line.value)
            else:
                if line.mark == "ack":
                    self.acks[line.op] += 1
                note = _NOTES.get((line.mark, line.op)) or _NOTES.get((line.mark, ""))
                if note is not None:
                    note(self, line, (line.who, line.what))
        return phase

    def _note_meant(self, line: Line, key: tuple[str, str]) -> None:
        self._meant[key].add(line.value)

    def _note_checkpoint(self, line: Line, key: tuple[str, str]) -> None:
        if self._checkpoints.setdefault(key, line.value) != line.value:
            self._say("a checkpoint never changes", key, self._checkpoints[key], "became", line.value)
        if line.value not in self._meant[key]:
            self._say("a checkpoint holds what was saved", key, line.value)

    def _note_step(self, line: Line, key: tuple[str, str]) -> None:
        if self._steps.setdefault(key, line.value) != line.value:
            self._say("a checkpoint never changes", key, self._steps[key], "became", line.value)

    def _note_run(self, line: Line, key: tuple[str, str]) -> None:
        if key in self._steps:
            self._say("no step runs again", key, "in attempt", line.epoch)
        if line.op == "step" and (*key, line.epoch) in self._runs:
            self._say("no step runs twice in an attempt", key, "in attempt", line.epoch)
        self._runs.add((*key, line.epoch))
        self._note_alive(line, key)

    def _note_alive(self, line: Line, _key: tuple[str, str]) -> None:
        if line.who in self._ended:
            self._say("an end is final", line.who, "goes on with", line.op, line.what)

    def _note_deadline_meant(self, line: Line, key: tuple[str, str]) -> None:
        self._earliest.setdefault(key, line.at + int(line.value))

    def _note_deadline(self, line: Line, key: tuple[str, str]) -> None:
        deadline = int(line.value)
        if self._deadlines.setdefault(key, deadline) != deadline:
            self._say("a deadline is stored once", key, self._deadlines[key], "became", deadline)
        if deadline < self._earliest[key]:
            self._say("a sleep is long enough", key, deadline, "instead of", self._earliest[key])

    def _note_slept(self, line: Line, key: tuple[str, str]) -> None:
        if line.at < self._deadlines[key]:
            self._say("no sleep ends early", key, "by", self._deadlines[key] - line.at, "ms")

    def _note_epoch(self, line: Line, key: tuple[str, str]) -> None:
        if line.epoch <= self._epochs.get(line.who, 0):
            self._say("epochs grow", line.who, line.epoch, "after", self._epochs[line.who])
        self._epochs[line.who] = line.epoch
        self._note_alive(line, key)

    def _note_launch(self, line: Line, key: tuple[str, str]) -> None:
        self._note_epoch(line, key)
        self._launches[line.who] += 1
        if self._launches[line.who] > 1:
            self._say("a sleep ends once", line.who, "was launched again as attempt", line.epoch)

    def _note_parked(self, line: Line, _key: tuple[str, str]) -> None:
        self._launches[line.who] -= 1

    def _note_sent(self, line: Line, key: tuple[str, str]) -> None:
        self._sent.add(key)

    def _note_taken(self, line: Line, key: tuple[str, str]) -> None:
        if self._taken.setdefault(key, line.value) != line.value:
            self._say("a place sees the same signal", key, self._taken[key], "became", line.value)

    def _note_complete(self, line: Line, _key: tuple[str, str]) -> None:
        if self._ended.setdefault(line.who, line.value) != line.value:
            self._say("an end is final", line.who, self._ended[line.who], "became", line.value)

    def _note_started(self, line: Line, _key: tuple[str, str]) -> None:
        self._started.add(line.who)

    def _note_cancelled(self, line: Line, _key: tuple[str, str]) -> None:
        self._cancelled.add(line.who)

    def _note_retry(self, line: Line, key: tuple[str, str]) -> None:
        self._retries.add((*key, int(line.value)))

    # What is stored ---------------------------------------------------------------------------------------------------

    def look(self, data_dir: Path) -> None:
        """Hold the store as it lies there against everything that was acknowledged so far."""
        copy = data_dir.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for file in data_dir.glob("runtara.db*"):  # whatever else lies there may still be at work
            shutil.copy2(file, copy)
        path = copy / "runtara.db"
        store = open_store(f"sqlite:///{path}")
        with closing(store.open_writer()), closing(store.open_reader()) as reader:
            self.problems += [f"the store is sound: {problem}" for problem in reader.verify()]
            self._look_at_all(reader)
        with closing(sqlite3.connect(path)) as connection:
            if connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
                self._say("the store is sound", "integrity_check")
            if connection.execute("PRAGMA foreign_key_check").fetchall():
                self._say("the store is sound", "foreign_key_check")

    def _look_at_all(self, reader: Reader) -> None:
        names = {who for who, _ in (*self._meant, *self._steps, *self._sent, *self._taken)}
        names |= self._epochs.keys() | self._started | self._cancelled | self._ended.keys()
        keys = [InstanceKey(TENANT, who) for who in names]
        found = reader.load(keys)
        for key in keys:
            snapshot = found.get(key)
            if isinstance(snapshot, Snapshot):
                self._look_at_row(reader, key, snapshot)
                self._look_at_signals(reader, key, snapshot)
            elif key.instance_id in self._epochs or key.instance_id in self._started:
                self._say("nothing acknowledged is lost", key.instance_id, "as a whole")
        self._look_at_checkpoints(reader)
        self._look_at_steps(reader)
        for who, what, attempt in self._retries:
            if attempt not in [retry.attempt for retry in reader.read_retries(InstanceKey(TENANT, who), what)]:
                self._say("nothing acknowledged is lost", who, "retry", what, attempt)

    def _look_at_row(self, reader: Reader, key: InstanceKey, snapshot: Snapshot) -> None:
        who, row = key.instance_id, snapshot.instance
        output = reader.read_output(key)
        if row.epoch < self._epochs.get(who, 0):
            self._say("nothing acknowledged is lost", who, "attempt", self._epochs[who], "is stored as", row.epoch)
        if row.version < self._versions.get(who, 0):
            self._say("versions grow", who, row.version, "after", self._versions[who])
        self._versions[who] = row.version
        if who in self._ended and (row.status is not Status.COMPLETED or digest(output or b"") != self._ended[who]):
            self._say("nothing acknowledged is lost", who, "completed, and is stored as", row.status)
        end = replace(row, version=0), output  # what its last attempt has used is written down afterwards
        if row.status in FINAL and self._final.setdefault(who, end) != end:
            self._say("an end is final", self._final[who], "became", end)
        if who in self._final and row.status not in FINAL:
            self._say("an end is final", who, "is stored as", row.status)

    def _look_at_signals(self, reader: Reader, key: InstanceKey, snapshot: Snapshot) -> None:
        signals = {signal_id: reader.read_signal(key, signal_id) for signal_id in snapshot.signal_ids}
        payloads = Counter(signal.payload.decode() for signal in signals.values() if signal is not None)
        for payload in (payload for who, payload in self._sent if who == key.instance_id):
            if payloads[payload] != 1:
                self._say("nothing acknowledged is lost", key.instance_id, "has", payload, payloads[payload], "times")
        ended = {wait.place: signals.get(wait.signal_id or "") for wait in snapshot.waits if wait.ended_at is not None}
        for place, seen in ((place, seen) for (who, place), seen in self._taken.items() if who == key.instance_id):
            if place not in ended or seen != _payload_of(ended[place]):
                self._say("nothing acknowledged is lost", key.instance_id, place, "saw", seen, "is", ended.get(place))
        for name in SIGNAL_NAMES:
            seqs = [signal.seq for signal in ended.values() if signal is not None and signal.name == name]
            if seqs != sorted(set(seqs)):
                self._say("signals are taken once and in order", key.instance_id, name, seqs)

    def _look_at_checkpoints(self, reader: Reader) -> None:
        for (who, what), values in self._meant.items():
            checkpoint = reader.read_checkpoint(InstanceKey(TENANT, who), what)
            told = self._checkpoints.get((who, what))
            if checkpoint is None and told is not None:
                self._say("nothing acknowledged is lost", who, "checkpoint", what)
            elif checkpoint is not None and digest(checkpoint.state) not in (values if told is None else {told}):
                self._say("a checkpoint never changes", who, what, "told as", told, "is", digest(checkpoint.state))
        for (who, what), deadline in self._deadlines.items():
            sleep = reader.read_checkpoint(InstanceKey(TENANT, who), what)
            if sleep is None or sleep.wake_at != deadline:
                self._say("nothing acknowledged is lost", who, "deadline of", what, deadline)

    def _look_at_steps(self, reader: Reader) -> None:
        for (who, what), result in self._steps.items():
            checkpoint = _step_of(reader, who, what)
            if checkpoint is None or msgspec.json.decode(checkpoint) != result:
                self._say("nothing acknowledged is lost", who, "step", what, result, "is", checkpoint)

    def settle(self, data_dir: Path) -> None:
        """Check after a calm life that everything that was begun has come to its end."""
        with closing(open_store(f"sqlite:///{data_dir / 'runtara.db'}").open_reader()) as reader:
            found = reader.load([InstanceKey(TENANT, who) for who in self._started | self._epochs.keys()])
            for key, snapshot in found.items():
                assert isinstance(snapshot, Snapshot)
                status = snapshot.instance.status
                if status not in FINAL:
                    self._say("everything ends", key.instance_id, "is", status)
                elif (key.instance_id in self._cancelled) is not (status is Status.CANCELLED):
                    self._say("a cancel is kept", key.instance_id, "is", status)


def _payload_of(signal: Signal | None) -> str:
    return "nothing" if signal is None else signal.payload.decode()


def _step_of(reader: Reader, who: str, what: str) -> bytes | None:
    for name in ("take_step", "take_step_async"):
        checkpoint_id = f"durable::tests.crash.workload.{name}({what})"
        checkpoint = reader.read_checkpoint(InstanceKey(TENANT, who), checkpoint_id)
        if checkpoint is not None:
            return checkpoint.state
    return None


_NOTES: dict[tuple[str, str], Callable[[Audit, Line, tuple[str, str]], None]] = {
    ("intent", "checkpoint"): Audit._note_meant,
    ("ack", "checkpoint"): Audit._note_checkpoint,
    ("ack", "step"): Audit._note_step,
    ("ran", ""): Audit._note_run,
    ("intent", "deadline"): Audit._note_deadline_meant,
    ("ack", "deadline"): Audit._note_deadline,
    ("ack", "slept"): Audit._note_slept,
    ("ack", "register"): Audit._note_epoch,
    ("launched", "launch"): Audit._note_launch,
    ("parked", "sleep"): Audit._note_parked,
    ("ack", "send"): Audit._note_sent,
    ("ack", "take"): Audit._note_taken,
    ("ack", "complete"): Audit._note_complete,
    ("ack", "start"): Audit._note_started,
    ("ack", "cancel"): Audit._note_cancelled,
    ("ack", "retry"): Audit._note_retry,
}
"""What each kind of line tells."""
