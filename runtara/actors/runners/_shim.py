"""The parent of one launched program: a small process of its own, which outlives the server.

It launches the program, keeps what it writes, sees its end, kills what is left of its tree, and leaves a note of how
it ended. It is run as ``python -I -S -X utf8 _shim.py`` in a session of its own, and imports nothing of this package,
to be small and to need nobody: the server may die and come back meanwhile.

- In: a specification (a line of JSON) on stdin; later only signals. SIGTERM: ask the program to end, and kill it when
  its grace is over. SIGINT: kill it now. Where the specification says ``bound``, so does the end of stdin.
- Out, in the run's folder: a note of who is the shim and who the program, segments of what the program writes, and at
  the end ``exit.json``. The shim holds the folder's lock for as long as it lives. On stdout it says that the program is
  launched; if it is silent, it is not.

A segment is called ``stdout.`` or ``stderr.``, and then how many bytes of that stream all attempts of the instance had
written before it. A full disk costs log lines and nothing else: they are counted and left out. What it takes to run the
program in a container is in `_shim_container`.
"""

import ctypes
import fcntl
import json
import os
import re
import resource
import select
import signal
import sys
import time
from contextlib import suppress

TYPE_CHECKING = False  # the module `typing` would cost every launch some milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["EXIT", "LAUNCHED", "LOCK", "STREAMS", "note_of", "segments", "start_time"]

LOCK, EXIT = "lock", "exit.json"
STREAMS = ("stdout", "stderr")
LAUNCHED = b"launched"
"""What the shim says on stdout when the program runs."""

_CHUNK = 1 << 16
_LAST_CHUNKS = 64
"""More than a pipe can hold. It is empty then, unless somebody else has got hold of its other end."""
_NOTE_BYTES = 512
"""Room for the last note, taken at the start, because the disk may be full at the end."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_SEGMENTS = 8
"""Most segments of one stream; more than two only where a full disk has left gaps."""
_SCANS = 3
"""How often in a row no child is found, although there is one, before the shim waits for it."""
_libc = ctypes.CDLL(None)


def segments(folder: str, stream: str) -> list[tuple[int, str]]:
    """Return the segments of a stream, oldest first: how much was written before each, and its name."""
    found = [re.fullmatch(rf"{stream}\.(\d{{20}})", name) for name in os.listdir(folder)]
    return sorted((int(match[1]), match[0]) for match in found if match)


def note_of(launch_id: str) -> str:
    """Return the name of the note by which the shim of a launch is found. Those of two launches never meet."""
    return f"shim.{launch_id}.json"


def start_time(pid: int) -> int | None:
    """Return when a process began, in ticks since the boot; with its number it is unique. None if there is none."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _stat(pid: int | str) -> list[str]:
    """Return what the system says about a process, from its state on."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().decode("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return []


# What the program writes ----------------------------------------------------------------------------------------------


class Log:
    """One stream: takes what the program writes, and keeps the end of it, at most `cap` bytes."""

    def __init__(self, stream: str, cap: int) -> None:
        self.dropped = 0
        self._stream = stream
        self._half = max(cap // 2, 1)
        self._kept = [(start, os.stat(name).st_size, name) for start, name in segments(".", stream)]
        self._end = self._kept[-1][0] + self._kept[-1][1] if self._kept else 0
        """How much was written to the stream."""
        self._file = -1
        self._start = self._end

    def drain(self, pipe: int) -> bool:
        """Take what waits in the pipe; return whether more may follow."""
        try:
            data = os.read(pipe, _CHUNK)
        except BlockingIOError:
            return True
        view = memoryview(data)
        while view:
            view = view[self._write(view) :]
        return bool(data)

    def _write(self, data: memoryview) -> int:
        """Write a part of it, and return how much; what cannot be written counts as dropped."""
        try:
            if self._file < 0 or self._end - self._start >= self._half:
                self._begin_segment()
            written = os.write(self._file, data[: self._half - (self._end - self._start)])
        except OSError:
            with suppress(OSError):
                self._close_segment()  # what follows goes into one behind the gap, as soon as there is room
            written = len(data)
            self.dropped += written
        self._end += written
        return written

    def _begin_segment(self) -> None:
        """Go on with the segment of an earlier attempt, or begin one and make room for it."""
        self._close_segment()
        if self._kept and sum(self._kept[-1][:2]) == self._end and self._kept[-1][1] < self._half:
            self._start, _, name = self._kept.pop()
        else:
            self._start, name = self._end, f"{self._stream}.{self._end:020}"
        self._file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        while sum(size for _, size, _ in self._kept) > self._half or len(self._kept) >= _SEGMENTS:
            with suppress(OSError):
                os.unlink(self._kept.pop(0)[2])

    def _close_segment(self) -> None:
        if self._file < 0:
            return
        os.close(self._file)
        self._file = -1
        name = f"{self._stream}.{self._start:020}"
        if self._end > self._start:
            self._kept.append((self._start, self._end - self._start, name))
        else:
            os.unlink(name)


# The program ----------------------------------------------------------------------------------------------------------


def _launch(spec: "dict[str, Any]", outputs: list[int]) -> int:
    """Start the program and return its number, once it leads a group of its own that can be signalled."""
    shim = os.getpid()
    grouped, ready = os.pipe()
    pid = os.fork()
    if pid:
        os.close(ready)
        os.read(grouped, 1)  # returns when the child has closed its end, or is gone
        os.close(grouped)
        return pid
    code = 126
    try:
        _become_a_program(shim, spec["limits"], outputs)
        os.chdir(spec["work"])
        os.execve(spec["argv"][0], spec["argv"], spec["env"])
    except (OSError, ValueError) as error:
        code = 127 if isinstance(error, FileNotFoundError) else 126
        os.write(2, f"{spec['argv'][0]} could not be launched: {error}\n".encode())
    finally:
        os._exit(code)


def _become_a_program(shim: int, limits: "dict[str, int]", outputs: list[int]) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(outputs[0], 1)
    os.dup2(outputs[1], 2)
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != shim:
        os._exit(126)
    _close_all_but_standard()
    for name, wanted in limits.items():
        kind = getattr(resource, name)
        most = resource.getrlimit(kind)[1]
        limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(kind, (limit, limit))


def _close_all_but_standard() -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with suppress(OSError):
                os.close(int(name))


# The shim -------------------------------------------------------------------------------------------------------------


class Shim:
    """Looks after the program from its launch to its end."""

    def __init__(self, program: int, signals: int, grace: float) -> None:
        self.used = {"memory_peak": 0, "cpu_seconds": 0.0}
        self._program, self._signals, self._grace = program, signals, grace
        self._kill_at: float | None = None
        self._watched: dict[int, Callable[[int], bool]] = {}
        self._poll = select.poll()
        self._poll.register(signals, select.POLLIN)

    def watch(self, descriptor: int, act: "Callable[[int], bool]") -> None:
        """Call `act` whenever a descriptor can be read, until it says that nothing more will follow."""
        self._watched[descriptor] = act
        self._poll.register(descriptor, select.POLLIN)

    def kill(self, _: int) -> bool:
        """Kill the program at once; for the end of the pipe that it is bound to."""
        self._hear(bytes([signal.SIGINT]))
        return False

    def run(self) -> int:
        """Return the program's exit code, or minus the number of the signal that killed it, when nothing is left."""
        code = None
        while code is None:
            self._wait()
            if self._kill_at is not None and self._kill_at <= time.monotonic():
                self._kill_at = None
                self._signal(signal.SIGKILL)
            code = self._reap()
        _kill_the_rest()
        for pipe, act in self._watched.items():
            for _ in range(_LAST_CHUNKS):
                if not select.select([pipe], [], [], 0)[0] or not act(pipe):
                    break
        return code

    def _wait(self) -> None:
        """Take what is written, and hear signals, until there is one or the program's grace is over."""
        while True:
            left = None if self._kill_at is None else max(0.0, self._kill_at - time.monotonic()) * 1000
            ready = [descriptor for descriptor, _ in self._poll.poll(left)]
            for descriptor in self._watched.keys() & ready:
                if not self._watched[descriptor](descriptor):
                    self._poll.unregister(descriptor)
                    del self._watched[descriptor]
            if self._signals in ready:
                self._hear(os.read(self._signals, _CHUNK))
                return
            if not ready or left == 0:
                return

    def _hear(self, heard: bytes) -> None:
        if signal.SIGINT in heard:
            self._kill_at = time.monotonic()
        elif signal.SIGTERM in heard and self._kill_at is None:
            self._kill_at = time.monotonic() + self._grace
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # one that was stopped could not hear

    def _signal(self, number: int) -> None:
        """Signal the program's group. The program is our child and not yet waited for, so the number is still its."""
        with suppress(OSError):
            os.killpg(self._program, number)

    def _reap(self) -> int | None:
        """Wait for children that have ended; return the program's exit code if it is among them."""
        code = None
        with suppress(ChildProcessError):
            while (ended := os.wait4(-1, os.WNOHANG))[0]:
                if ended[0] == self._program:
                    code, use = os.waitstatus_to_exitcode(ended[1]), ended[2]
                    self.used = {"memory_peak": use.ru_maxrss * 1024, "cpu_seconds": use.ru_utime + use.ru_stime}
        return code


def _kill_the_rest() -> None:
    """Kill all that descends from the program. Whoever loses its parent becomes a child of the shim, so none escapes.

    Only children of the shim are signalled: until it has waited for them, their numbers are theirs.
    """
    fruitless = 0
    with suppress(ChildProcessError):
        while True:
            killed = _kill_children()
            fruitless = 0 if killed else fruitless + 1
            os.waitpid(-1, 0 if killed or fruitless > _SCANS else os.WNOHANG)


def _kill_children() -> int:
    """Kill every child, with its group where it leads one; return how many were found."""
    killed, shim = 0, str(os.getpid())
    for name in os.listdir("/proc"):
        fields = _stat(name) if name.isdigit() else []
        if fields and fields[1] == shim and fields[0] != "Z":
            with suppress(OSError):
                (os.killpg if fields[2] == name else os.kill)(int(name), signal.SIGKILL)
                killed += 1
    return killed


def _note(name: str, facts: "dict[str, Any]") -> None:
    """Write a note in one go, so that a reader finds all of it or the one before."""
    with open(f"{name}.new", "wb") as file:
        file.write(json.dumps(facts).encode())
    os.replace(f"{name}.new", name)


def _note_exit(facts: "dict[str, Any]") -> None:
    """Write the last note into the room that was kept for it, and onto the disk."""
    with open(f"{EXIT}.new", "r+b") as file:
        file.write(json.dumps(facts).encode().ljust(_NOTE_BYTES))
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{EXIT}.new", EXIT)


def _take_folder(spec: "dict[str, Any]") -> None:
    """Take the folder's lock, unless the server has given this launch up meanwhile. It is held until the end."""
    fcntl.flock(os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX | fcntl.LOCK_NB)
    with open(spec["marker"], "rb") as file:
        if json.loads(file.read())["launch_id"] != spec["launch_id"] or os.path.exists(EXIT):
            raise ValueError("the launch was given up")


def _leave_the_parent() -> int:
    """Become nobody's child, and return a pipe that ends when whoever has launched this shim does.

    Who is bound to another process must not be killed by its end: Ray kills the children of one, not their children.
    """
    if os.fork():
        os._exit(0)
    return os.dup(0)


def _hear_signals() -> int:
    """Return a pipe on which the numbers of signals arrive."""
    hear, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return hear


def main() -> None:
    """Look after one program, from the specification on stdin to the note of its end."""
    _close_all_but_standard()
    os.umask(0o077)
    spec = json.loads(sys.stdin.buffer.readline())  # cut short if the server has died: then there is nothing to do
    lifeline = _leave_the_parent() if spec.get("bound") else None
    os.chdir(spec["folder"])
    signals = _hear_signals()
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    facts = {"launch_id": spec["launch_id"], "pid": os.getpid(), "started": start_time(os.getpid())}
    _note(note_of(spec["launch_id"]), facts)
    _take_folder(spec)
    with open(f"{EXIT}.new", "wb") as file:
        file.write(b" " * _NOTE_BYTES)
    logs = {stream: Log(stream, spec["log_bytes"]) for stream in STREAMS}
    pipes = [os.pipe() for _ in STREAMS]
    outputs = [write for _, write in pipes]
    container = _launch_container(spec, outputs, pipes[1][0]) if "container" in spec else None
    program = container.program if container else _launch(spec, outputs)
    for read, write in pipes:
        os.close(write)
        os.set_blocking(read, False)
    with suppress(OSError):  # the disk may be full, the server gone: the program runs all the same
        _note(note_of(spec["launch_id"]), {**facts, "program": program, "program_started": start_time(program)})
    _let_the_server_go()
    shim = Shim(program, signals, spec["grace_ms"] / 1000)
    for (read, _), stream in zip(pipes, STREAMS, strict=True):
        shim.watch(read, logs[stream].drain)
    if lifeline is not None:
        shim.watch(lifeline, shim.kill)
    if container:
        container.attach(shim)
    end = {"launch_id": spec["launch_id"], "exit_code": shim.run()}
    end |= {"dropped": {stream: log.dropped for stream, log in logs.items()}, **shim.used}
    _note_exit(end | (container.end() if container else {}))


def _launch_container(spec: "dict[str, Any]", outputs: list[int], errors: int) -> "Any":
    """Launch the program in a container, with what lies beside this file."""
    shim = os.getpid()
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    return __import__("_shim_container").Container(spec, outputs, errors, lambda: _become_a_program(shim, {}, outputs))


def _let_the_server_go() -> None:
    """Say that the program runs, and close what leads to the server."""
    with suppress(OSError):
        os.write(1, LAUNCHED)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)


if __name__ == "__main__":
    main()
