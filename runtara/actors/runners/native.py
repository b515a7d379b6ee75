"""The engine that launches programs as processes of this host. Linux only.

Every attempt has a small parent of its own, the shim (`_shim`), which outlives the server and leaves its notes in the
run's folder (`_run_folder`). So a server that comes back finds every attempt, running or ended. A shim is known by the
lock that it holds and by number and start time, and is signalled through a descriptor: never a foreign process.

It does not know how instances stand; the actor `Runner` does.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, Literal

import trio
from msgspec.structs import replace

from runtara.actors.runners import _shim
from runtara.actors.runners._command import Command, Commands
from runtara.actors.runners._contract import Ended, HostFailed, Plan, Prepare
from runtara.actors.runners._oci_cgroups import clear_cgroup
from runtara.actors.runners._process import boot_id, kill_launched, kill_process, open_process, reap
from runtara.actors.runners._run_folder import ExitNote, Marker, RunFolder, read_markers
from runtara.ids import InstanceKey, new_id
from runtara.inotify import FolderWatch
from runtara.settings import Settings

__all__ = ["NativeAttempt", "NativeEngine"]

_LOST: Final = "the process that looked after the program is gone, and nobody saw how the program ended"
_NOT_BEGUN: Final = "the host has ended before it could launch the program"
_REBOOTED: Final = "the machine was started anew while the program ran"
_SIGNALS: Final = {"ask": signal.SIGTERM, "kill": signal.SIGINT, "destroy": signal.SIGKILL}
"""What each way to stop an attempt is to its shim. A shim that is killed takes the program with it."""
_REACHED: Final = {
    "memory": "it was stopped for want of memory: {} bytes were all it might have (memory_bytes of its image, or "
    "RUNTARA_CONTAINER_MEMORY_BYTES)",
    "pids": "it was refused more processes: {} were all it might have (pids of its image, or RUNTARA_CONTAINER_PIDS)",
}
"""What is said of a limit that a container ran into."""
_CLEAR_TIMEOUT_S: Final = 30.0
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_SIGNALS_RESET: Final = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


class NativeAttempt:
    """A program on this host, and its shim."""

    def __init__(self, marker: Marker, folder: RunFolder, shim: int | None, output_max_bytes: int) -> None:
        self.key: Final = marker.key
        self.epoch: Final = marker.epoch
        self._marker = marker
        self._folder = folder
        self._shim = shim
        """Descriptor of its process; None if it is gone."""
        self._output_max_bytes = output_max_bytes

    def stop(self, how: Literal["ask", "kill", "destroy"]) -> None:
        """Signal the shim, which sees to the rest."""
        if self._shim is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._shim, _SIGNALS[how])

    async def wait_ended(self) -> Ended:
        """Wait for the end of the shim, which is that of all processes of the program."""
        if self._shim is not None:
            await trio.lowlevel.wait_readable(self._shim)
        return await trio.to_thread.run_sync(self._ended)

    async def forget(self) -> None:
        """Take the marker away."""
        await trio.to_thread.run_sync(self._folder.forget, self._marker.launch_id)

    def close(self) -> None:
        """Close the descriptor."""
        if self._shim is not None:
            os.close(self._shim)
            self._shim = None

    def _ended(self) -> Ended:
        """Return what is known of the end; where the shim has left no note, see to it that it is one."""
        if self._shim is not None:
            reap(self._shim)
        self._folder.wait_unlocked()
        note = self._folder.read_exit(self._marker.launch_id)
        if note is None:
            note = self._give_up()
        if note.exit_code is None:
            return self._lost()
        return replace(self._left(note.exit_code, note), memory_peak=note.memory_peak, cpu_seconds=note.cpu_seconds)

    def _left(self, exit_code: int, note: ExitNote) -> Ended:
        """Return what the program has left."""
        error = self._folder.read_tail(self._marker.stderr_from)
        if exit_code != 0:
            reasons = [_REACHED[name].format(limit) for name, limit in note.reached.items() if name in _REACHED]
            return Ended(exit_code=exit_code, error="\n".join([error, *reasons]).strip())
        try:
            return Ended(exit_code=0, output=self._folder.read_output(self._output_max_bytes), error=error)
        except ValueError as unusable:
            return Ended(exit_code=1, error=str(unusable))

    def _lost(self) -> Ended:
        """Return what can be said where nobody saw the end."""
        shim = self._folder.read_shim(self._marker.launch_id)
        if self._marker.boot_id != boot_id():
            return Ended(exit_code=None, error=_REBOOTED, counts=False)
        if shim is None or shim.program is None:
            return Ended(exit_code=None, error=_NOT_BEGUN, counts=False)
        return Ended(exit_code=None, error=_LOST)

    def _give_up(self) -> ExitNote:
        launch_id = self._marker.launch_id
        if self._marker.boot_id == boot_id():
            shim = self._folder.read_shim(launch_id)
            if shim is not None and shim.program is not None and shim.program_started is not None:
                kill_process(shim.program, shim.program_started)
            _clear_away(self._marker)
        self._folder.give_up(launch_id)
        return ExitNote(launch_id=launch_id, exit_code=None)


class NativeEngine:
    """Launches programs as processes; what it keeps lies in ``runs`` in the data folder."""

    def __init__(self, settings: Settings, inherited: Mapping[str, str], prepare: Prepare | None = None) -> None:
        """Take what there is to set, the part of the host's own environment that programs are to see, and images."""
        self._home: Final = (Path(settings.data_dir) / "runs").resolve()
        self._commands: Final = Commands(settings, inherited, prepare)
        self._output_max_bytes: Final = settings.state_max_bytes
        self._log_bytes: Final = settings.program_log_bytes
        self._grace_ms: Final = settings.kill_grace_ms
        self._watch: FolderWatch | None = None

    def check(self, program: str) -> None:
        """Raise `NotFound` or `Forbidden` unless the program may be launched here."""
        self._commands.check(program)

    async def launch(self, plan: Plan) -> NativeAttempt:
        """Start a shim, which starts the program; see `Engine.launch`. Not interrupted half-way."""
        return await trio.to_thread.run_sync(self._launch, plan)

    async def adopt(self) -> Sequence[NativeAttempt]:
        """Return every attempt that has a marker."""
        return await trio.to_thread.run_sync(self._adopt)

    async def read_log(self, key: InstanceKey, stream: str, offset: int, limit: int) -> tuple[bytes, int]:
        """Read from the segments of a stream."""
        return await trio.to_thread.run_sync(RunFolder(self._home, key).read_log, stream, offset, limit)

    def watch_log(self, key: InstanceKey) -> trio.Event:
        """Watch the run's folder; see `Engine.watch_log`."""
        folder = RunFolder(self._home, key)
        event = trio.Event()
        if self._watch is not None:
            with suppress(OSError):  # without a watch, the reader has to come back by itself
                folder.make()
                event = self._watch.watch(folder.path)
        return event

    async def serve(self) -> None:
        """Hear from the kernel about the folders that are watched, until cancelled."""
        self._watch = FolderWatch()
        try:
            await self._watch.serve()
        finally:
            watch, self._watch = self._watch, None
            watch.close()

    def _launch(self, plan: Plan) -> NativeAttempt:
        folder, launch_id = RunFolder(self._home, plan.key), new_id()
        marker: Marker | None = None
        try:
            command = self._commands.of(plan, folder, launch_id)
            folder.begin(plan.origin)
            marker = Marker(
                tenant_id=plan.key.tenant_id,
                instance_id=plan.key.instance_id,
                epoch=plan.epoch,
                launch_id=launch_id,
                boot_id=boot_id(),
                stderr_from=folder.written("stderr"),
                after=command.after,
                cgroup=command.cgroup,
            )
            folder.prepare(marker, plan.input, command.files, command.owner)
            shim = _start_shim(self._spec(marker, folder, command), folder.path)
        except OSError as error:
            with suppress(OSError):
                _take_back(marker, folder)
            raise HostFailed(f"the host could not launch {plan.program!r}: {error}") from error
        return NativeAttempt(marker, folder, shim, self._output_max_bytes)

    def _spec(self, marker: Marker, folder: RunFolder, command: Command) -> bytes:
        return json.dumps(
            {
                "launch_id": marker.launch_id,
                "folder": str(folder.path),
                "marker": str(folder.marker),
                "work": str(folder.work),
                "argv": command.argv,
                "env": dict(command.env),
                "limits": dict(command.limits),
                "log_bytes": self._log_bytes,
                "grace_ms": self._grace_ms,
                **({"container": command.container} if command.container is not None else {}),
            }
        ).encode()

    def _adopt(self) -> list[NativeAttempt]:
        return [self._find(marker) for marker in read_markers(self._home)]

    def _find(self, marker: Marker) -> NativeAttempt:
        """Return the attempt that a marker speaks of, running or ended."""
        folder = RunFolder(self._home, marker.key)
        folder.make()
        note = folder.read_shim(marker.launch_id)
        if note is None:
            with folder.locked() as free:  # if it is, a shim that is merely late finds that it shall not begin
                if free and folder.read_exit(marker.launch_id) is None:
                    folder.give_up(marker.launch_id)
            note = folder.read_shim(marker.launch_id)  # whoever has the lock has said before who it is
        shim = open_process(note.pid, note.started) if note is not None else None
        return NativeAttempt(marker, folder, shim, self._output_max_bytes)


def _take_back(marker: Marker | None, folder: RunFolder) -> None:
    """Leave nothing of a launch that has failed, and what may still run of an earlier one alone."""
    found = folder.read_marker()
    if marker is not None and found in (None, marker):
        if found is not None and marker.after:
            folder.wait_unlocked()
            _clear_away(marker)
        folder.forget(marker.launch_id)


def _clear_away(marker: Marker) -> None:
    """See to it that nothing runs of a launch, where its shim could not."""
    kill_launched(marker.launch_id)
    if marker.after:
        with suppress(OSError, subprocess.TimeoutExpired):  # then its control group says who is left
            subprocess.run(marker.after, capture_output=True, timeout=_CLEAR_TIMEOUT_S, check=False)
    if marker.cgroup is not None:
        clear_cgroup(marker.cgroup)


def _start_shim(spec: bytes, folder: Path) -> int:
    """Start a shim and return the descriptor of its process, once the program runs. Raises `OSError`."""
    log = folder / "shim.log"
    with ExitStack() as ours:
        hear, say = (
            ours.enter_context(os.fdopen(end, mode)) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True)
        )
        take, give = (
            ours.enter_context(os.fdopen(end, mode)) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True)
        )
        errors = ours.enter_context(os.fdopen(os.open(log, _WRITE, 0o600), "wb"))
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-X", "utf8", _shim.__file__],
            {},
            file_actions=[(os.POSIX_SPAWN_DUP2, file.fileno(), to) for to, file in enumerate((take, say, errors))],
            setsid=True,
            setsigmask=(),
            setsigdef=_SIGNALS_RESET,
        )
        take.close()
        say.close()
        with suppress(BrokenPipeError), give:
            give.write(spec)
        if hear.read() == _shim.LAUNCHED:
            return os.pidfd_open(pid)  # not waited for yet, so the number is its own
    os.waitpid(pid, 0)
    raise OSError(log.read_text(errors="replace").strip().rpartition("\n")[2] or "the shim has died")
