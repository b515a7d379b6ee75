"""The files of one instance's attempts on this host: what a launch needs, what it leaves, and how it is found again.

    <home>/<digest>/               named by a digest of tenant and instance, because ids never become paths
        instance.json              whose it is
        origin                     by what that instance came into being, where it has replaced another one
        data/                      of the attempt: input, output; what a container sees as /data
        work/                      of the program, from attempt to attempt
        container/                 of the runtime, where the program runs in a container
        lock                       held by the shim of a launched attempt, for as long as it lives
        shim.<launch>.json         who is the shim, and who the program
        exit.json                  how the attempt ended
        stdout.<offset>, stderr.<offset>
    <home>/attempts/<digest>.json  the marker: an attempt was launched, and its end is not stored yet

Every method does its work at once, in files; call it in a thread. It starts and signals nothing.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from runtara.actors.runners import _kept
from runtara.actors.runners._shim import EXIT, LOCK, STREAMS, note_of, segments
from runtara.decoders import decode_json
from runtara.ids import InstanceKey

__all__ = ["ExitNote", "Marker", "RunFolder", "ShimNote", "read_key", "read_markers", "remove_tree"]

T = TypeVar("T")

_MARKERS: Final = "attempts"
_INSTANCE: Final = "instance.json"
_ORIGIN: Final = "origin"


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt was launched, or is about to be."""

    tenant_id: str
    instance_id: str
    epoch: int
    launch_id: str
    boot_id: str
    stderr_from: int
    """How much earlier attempts had written to stderr."""
    after: tuple[str, ...] = ()
    """The command that removes what nobody may leave behind: a container. Harmless when repeated."""
    cgroup: str | None = None
    """Path of the container's control group below each hierarchy."""

    @property
    def key(self) -> InstanceKey:
        """The instance."""
        return InstanceKey(self.tenant_id, self.instance_id)


class ShimNote(msgspec.Struct, frozen=True, kw_only=True):
    """Who looks after the program, and who is the program."""

    launch_id: str
    pid: int
    started: int
    program: int | None = None
    program_started: int | None = None


class ExitNote(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt has ended; the exit code is None where nobody saw it."""

    launch_id: str
    exit_code: int | None
    dropped: dict[str, int] = {}
    memory_peak: int | None = None
    cpu_seconds: float | None = None
    reached: dict[str, int] = {}
    """Limits of a container that it ran into, and how much they are."""


class RunFolder:
    """The files of one instance."""

    def __init__(self, home: Path, key: InstanceKey) -> None:
        digest = hashlib.sha256(f"{key.tenant_id}\0{key.instance_id}".encode()).hexdigest()[:32]
        self.path: Final = home / digest
        self.marker: Final = home / _MARKERS / f"{digest}.json"
        self.data: Final = self.path / "data"
        self.input: Final = self.data / "input"
        self.output: Final = self.data / "output"
        self.work: Final = self.path / "work"
        self.container: Final = self.path / "container"

    def make(self) -> None:
        """Make the folders that are missing, for the host's user only."""
        for folder in (self.marker.parent, self.path, self.work):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, origin: bytes | None) -> None:
        """Make the folders that are missing, and begin anew where it was another instance's that had the same id.

        Then nothing is left of what its programs had and wrote. The streams go on counting, so that whoever reads on
        from a place finds what comes next. Raises `BlockingIOError` where an attempt of that one still lives.
        """
        self.make()
        kept = self.path / _ORIGIN
        if (kept.read_bytes() if kept.exists() else b"") == (origin or b""):
            return
        with self._locked_for("another instance"):
            for stream in STREAMS:
                older, end = segments(str(self.path), stream), self.written(stream)
                (self.path / f"{stream}.{end:020}").touch(mode=0o600)
                for start, name in older:
                    if start != end:
                        (self.path / name).unlink()
            remove_tree(self.work)
            self.work.mkdir(mode=0o700)
            _write(kept, origin or b"")

    def prepare(
        self, marker: Marker, data: bytes | None, files: Mapping[str, bytes] | None = None, owner: int | None = None
    ) -> None:
        """Clear away what an earlier attempt has left, and mark that one is launched. Its lock must be free.

        `data` is its input, `files` is what else it gets beside it, `owner` the user that its folders are given to.
        """
        with self._locked_for(repr(marker.instance_id)):
            for left in (self.path / EXIT, self.data, *self.path.glob(note_of("*"))):
                _remove(left)
            self.data.mkdir(mode=0o700)
            if data is not None:
                _write(self.input, data)
            _write(self.path / _INSTANCE, msgspec.json.encode(marker.key))
            for name, content in (files or {}).items():
                _write(self.data / name, content)
            if marker.after:
                self.container.mkdir(mode=0o700, exist_ok=True)
                (self.data / "work").mkdir(mode=0o700)  # where the work folder is mounted
            if owner is not None:
                for path in (self.work, self.data, *self.data.iterdir()):
                    os.chown(path, owner, owner, follow_symlinks=False)
            _write(self.marker, msgspec.json.encode(marker))

    def read_marker(self) -> Marker | None:
        """Return the marker of the attempt that was launched last, unless it was forgotten."""
        return _read_note(self.marker, Marker)

    def forget(self, launch_id: str) -> None:
        """Take the marker away, and what is of no use any more. The logs and what lies in the work folder stay."""
        for left in (self.path / note_of(launch_id), self.path / EXIT, self.data, self.container, self.marker):
            _remove(left)
        with suppress(OSError):  # only if it is empty
            self.work.rmdir()

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the lock for the length of the block; False where a shim holds it."""
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield _try_lock(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _locked_for(self, whom: str) -> Iterator[None]:
        with self.locked() as free:
            if not free:
                raise BlockingIOError(f"another attempt of {whom} still holds {self.path}")
            yield

    def wait_unlocked(self) -> None:
        """Wait until no shim holds the lock; for one that is known to be dead or dying."""
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        finally:
            os.close(descriptor)

    def read_shim(self, launch_id: str) -> ShimNote | None:
        """Return who is the shim of a launch, if it got so far."""
        return _read_note(self.path / note_of(launch_id), ShimNote)

    def read_exit(self, launch_id: str) -> ExitNote | None:
        """Return how a launch has ended, if it has."""
        note = _read_note(self.path / EXIT, ExitNote)
        return note if note is not None and note.launch_id == launch_id else None

    def give_up(self, launch_id: str) -> None:
        """Note that nobody saw how a launch ended; a shim of it that is late then does not begin."""
        _write(self.path / EXIT, msgspec.json.encode(ExitNote(launch_id=launch_id, exit_code=None)))

    def read_output(self, most: int) -> bytes | None:
        """Return what the program has left as its output, if it has.

        Raises `ValueError` where that is no file, or larger than `most`.
        """
        return _kept.read_output(self.output, most)

    def written(self, stream: str) -> int:
        """Return how much all attempts have written to a stream."""
        return _kept.written(self.path, stream)

    def read_log(self, stream: str, offset: int, limit: int) -> tuple[bytes, int]:
        """Return at most `limit` bytes from `offset` on (negative: counted from the end), and where they begin."""
        return _kept.read_log(self.path, stream, offset, limit)

    def read_tail(self, since: int) -> str:
        """Return the end of what was written to stderr from a byte on, as text."""
        return _kept.read_tail(self.path, since)


def read_markers(home: Path) -> list[Marker]:
    """Return the marker of every attempt that was launched and not forgotten."""
    markers = []
    for path in sorted((home / _MARKERS).glob("*.json")):
        marker = _read_note(path, Marker)
        if marker is None:
            path.unlink()  # garbled: its instance is then one of those whose process is missing
        else:
            markers.append(marker)
    return markers


def read_key(folder: Path) -> InstanceKey | None:
    """Return whose the folder of a run is; None where nothing was ever launched in it."""
    return _read_note(folder / _INSTANCE, InstanceKey)


def remove_tree(folder: Path) -> None:
    """Remove a folder and all below it, also where a program has shut its own folders. Raises `OSError`."""
    shut = [folder]
    while shut:
        opened = shut.pop()
        with suppress(PermissionError):  # somebody else's; then it may be open all the same
            opened.chmod(0o700)
        with suppress(PermissionError), os.scandir(opened) as entries:
            shut += [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
    shutil.rmtree(folder)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(path: Path) -> None:
    """Remove what is there, if anything is; programs may have made a folder of what should be a file."""
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        remove_tree(path)


def _read_note(path: Path, kind: type[T]) -> T | None:
    try:
        return decode_json(path.read_bytes(), kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _write(path: Path, data: bytes) -> None:
    """Write a file in one go, for the host's user only."""
    new = path.with_name(f"{path.name}.new")
    _remove(new)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
    new.replace(path)
