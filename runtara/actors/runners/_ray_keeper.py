"""Looks after one attempt on a node of a Ray cluster: the part of the engine that lives inside Ray.

A keeper is a Ray actor. It lays out a folder, starts a shim in it (`_shim`, as on a host), and answers what the engine
asks. It is shipped by value with all that it uses of this package, and otherwise needs the standard library only: the
nodes of a cluster need not know us. It uses nothing of Ray, either.

The program is bound to its keeper: when the keeper's process is gone, or its node, the shim kills the whole tree. What
a keeper has left in the folder of temporary files is swept away by the next one on the same node.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypedDict

from runtara.actors.runners._kept import read_log, read_output, read_tail, written
from runtara.actors.runners._process import LAUNCH_ID, kill_launched, kill_process, open_process
from runtara.actors.runners._shim import EXIT, LAUNCHED, LOCK, STREAMS, note_of
from runtara.settings import inherited_environment

__all__ = ["Keeper", "Order"]

_LOST = "the process that looked after the program is gone, and nobody saw how the program ended"
_MODIFY, _CREATE = 0x2, 0x100
_EVENTS_BYTES = 65_536
_WAYS = {"ask": signal.SIGTERM, "kill": signal.SIGINT, "destroy": signal.SIGKILL}
"""What each way to stop an attempt is to its shim."""
_OURS = "keeper"
"""The file that a living keeper has locked."""


class Order(TypedDict):
    """What a keeper has to do."""

    launch_id: str
    shim: bytes
    name: str
    program: bytes
    by_python: bool
    input: bytes | None
    env: dict[str, str]
    logs: dict[str, tuple[int, bytes]]
    """The end of what earlier attempts have written to each stream, and the number of its first byte."""
    limits: dict[str, int]
    log_bytes: int
    grace_ms: int
    output_max_bytes: int


class Keeper:
    """Launches a program when it is made, and answers for it until it is killed. Its methods run in threads."""

    def __init__(self, about: Mapping[str, Any], order: Order) -> None:
        """Begin; a launch that fails is told by `about`, so that whoever asks can tell it from the end of the node."""
        self._about = dict(about)
        self._launch_id = order["launch_id"]
        self._output_max_bytes = order["output_max_bytes"]
        self._stderr_from = sum(_start_and_size(order, "stderr"))
        self._news = threading.Condition()
        self._version = 0
        self._ended: dict[str, Any] | None = None
        self._shim: int | None = None
        self._failed = ""
        try:
            self._folder, self._lock = _make_folder()
            self._begin(order)
        except OSError as error:
            self._failed = str(error) or type(error).__name__

    def about(self) -> dict[str, Any]:
        """Return what was told at the launch, and why it failed, if it has."""
        return self._about | {"failed": self._failed}

    def stop(self, how: str) -> None:
        """Signal the shim, which sees to the rest; see `Attempt.stop`."""
        if self._shim is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._shim, _WAYS[how])

    def wait_ended(self, patience: float) -> dict[str, Any] | None:
        """Return how the program ended, when nothing of it is left; None after so many seconds."""
        with self._news:
            self._news.wait_for(lambda: self._ended is not None, patience)
            return self._ended

    def wait_news(self, known: int | None, patience: float) -> int:
        """Return the version of what is written, as soon as it is not the known one, or after so many seconds."""
        with self._news:
            self._news.wait_for(lambda: self._version != known, patience)
            return self._version

    def read_log(self, stream: str, offset: int, limit: int) -> tuple[bytes, int, int]:
        """Return what was written, the number of its first byte, and a version that is not newer than that."""
        with self._news:
            version = self._version
        return (*read_log(self._folder, stream, offset, limit), version)

    def leave(self, most: int) -> dict[str, tuple[int, bytes]]:
        """Clear away the folder, and return the end of each stream: the number of its first byte, and the bytes."""
        found = {}
        for stream in STREAMS:
            data, start = read_log(self._folder, stream, max(0, written(self._folder, stream) - most), most)
            found[stream] = (start, data)
        shutil.rmtree(self._folder, ignore_errors=True)
        return found

    def _begin(self, order: Order) -> None:
        """Lay out the files, start the shim, and have it looked after."""
        program = _lay_out(self._folder, order)
        watch = _open_watch(self._folder)
        # Nobody closes this end of the pipe but the end of this process: that is what the shim is bound to.
        self._lifeline = _start_shim(self._folder, _specification(self._folder, order, program))
        note = self._note(note_of(self._launch_id))
        self._shim = open_process(note["pid"], note["started"]) if note else None
        threading.Thread(target=self._see_end, name="end", daemon=True).start()
        if watch is not None:
            threading.Thread(target=self._see_news, args=(watch,), name="news", daemon=True).start()

    def _see_news(self, watch: int) -> None:
        while os.read(watch, _EVENTS_BYTES):
            self._tell()

    def _see_end(self) -> None:
        """Wait until the shim has let go of its lock, as it does whatever ends it."""
        descriptor = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.close(descriptor)
        ended = self._collect()
        with self._news:
            self._ended = ended
        self._tell()

    def _tell(self) -> None:
        with self._news:
            self._version += 1
            self._news.notify_all()

    def _collect(self) -> dict[str, Any]:
        """Return how the program has ended; where the shim has left no note, see to it that it has."""
        note = self._note(EXIT)
        if note is None:
            shim = self._note(note_of(self._launch_id)) or {}
            if "program_started" in shim:
                kill_process(shim["program"], shim["program_started"])
            kill_launched(self._launch_id)
            return {"exit_code": None, "error": _LOST}
        error = read_tail(self._folder, self._stderr_from)
        if note["exit_code"] != 0:
            return {"exit_code": note["exit_code"], "error": error}
        try:
            output = read_output(self._folder / "output", self._output_max_bytes)
        except ValueError as unusable:
            return {"exit_code": 1, "error": str(unusable)}
        return {"exit_code": 0, "output": output, "error": error}

    def _note(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self._folder / name).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return found


# The folder -----------------------------------------------------------------------------------------------------------


def _make_folder() -> tuple[Path, int]:
    """Return a new folder that belongs to nobody else, and its lock; take away those of keepers that are gone."""
    base = Path(tempfile.gettempdir()) / f"runtara-ray-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    found = base.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{base} is open to others, or theirs: remove it")
    # Under one lock, so that nobody sweeps a folder that is just being made.
    everybody = os.open(base / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(everybody, fcntl.LOCK_EX)
        for left in base.iterdir():
            if left.is_dir() and _is_free(left / _OURS) and _is_free(left / LOCK):
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=base, prefix=""))
        ours = os.open(folder / _OURS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(ours, fcntl.LOCK_EX)
    finally:
        os.close(everybody)
    return folder, ours


def _is_free(lock: Path) -> bool:
    """Whether nobody holds a lock."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _lay_out(folder: Path, order: Order) -> Path:
    """Write what a launch needs, and return the path of the program."""
    (folder / "work").mkdir(mode=0o700)
    (folder / "program").mkdir(mode=0o700)
    program = folder / "program" / order["name"]
    program.write_bytes(order["program"])
    program.chmod(0o700)
    (folder / "shim.py").write_bytes(order["shim"])
    (folder / "marker.json").write_text(json.dumps({"launch_id": order["launch_id"]}))
    if order["input"] is not None:
        (folder / "input").write_bytes(order["input"])
    for stream, (start, data) in order["logs"].items():
        (folder / f"{stream}.{start:020}").write_bytes(data)
    return program


def _start_and_size(order: Order, stream: str) -> tuple[int, int]:
    start, data = order["logs"].get(stream, (0, b""))
    return start, len(data)


def _specification(folder: Path, order: Order, program: Path) -> bytes:
    """Return what the shim is told: a line of JSON."""
    files = {
        LAUNCH_ID: order["launch_id"],
        "RUNTARA_OUTPUT_FILE": str(folder / "output"),
        "RUNTARA_WORK_DIR": str(folder / "work"),
    }
    if order["input"] is not None:
        files["RUNTARA_INPUT_FILE"] = str(folder / "input")
    spec = {
        "launch_id": order["launch_id"],
        "folder": str(folder),
        "marker": str(folder / "marker.json"),
        "work": str(folder / "work"),
        "argv": [sys.executable, str(program)] if order["by_python"] else [str(program)],
        "env": {"PATH": os.defpath, **inherited_environment(), **order["env"], **files},
        "limits": order["limits"],
        "log_bytes": order["log_bytes"],
        "grace_ms": order["grace_ms"],
        "bound": True,
    }
    return json.dumps(spec).encode() + b"\n"


def _open_watch(folder: Path) -> int | None:
    """Return a descriptor on which the kernel tells that something was written; None where it has no more of them."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.inotify_init1(os.O_CLOEXEC)
    if descriptor < 0:
        return None  # then whoever waits for news looks again when its patience is over
    libc.inotify_add_watch(descriptor, bytes(folder), _MODIFY | _CREATE)
    return descriptor


def _start_shim(folder: Path, spec: bytes) -> int:
    """Start a shim, and return the pipe to which it is bound, once the program runs. Raises `OSError`."""
    log = folder / "shim.log"
    take, lifeline = os.pipe()
    hear, say = os.pipe()
    with ExitStack() as ours:
        ours.callback(os.close, hear)
        with log.open("wb") as errors:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-X", "utf8", str(folder / "shim.py")],
                {},
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, to) for to, fd in enumerate((take, say, errors.fileno()))],
                setsid=True,
                setsigmask=(),
                setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
            )
        os.close(take)
        os.close(say)
        with suppress(BrokenPipeError), os.fdopen(lifeline, "wb", closefd=False) as give:
            give.write(spec)
        said = b""
        while chunk := os.read(hear, len(LAUNCHED)):
            said += chunk
    with suppress(ChildProcessError):  # it has left us at once
        os.waitpid(pid, 0)
    if said == LAUNCHED:
        return lifeline
    os.close(lifeline)
    raise OSError(log.read_text(errors="replace").strip().rpartition("\n")[2] or "the shim has died")
