"""Whether this machine is fit for a server: its Python, SQLite, kernel, network, clock and containers."""

import os
import platform
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import trio

from runtara.actors.runners.containers import Runtime, examine_runtime, try_container
from runtara.cli._findings import Finding, fail, ok, warn
from runtara.cli._words import instant, size, span
from runtara.clock import SystemClock
from runtara.errors import ConfigError, NotFound, RuntaraError
from runtara.settings import Settings
from runtara.store import check_sqlite_version, sqlite_version
from runtara.transport.certificates import ensure_certificate
from runtara.transport.quic.protocol import ServerTls
from runtara.transport.quic.server import self_test

__all__ = ["MACHINE", "check_clock", "check_containers", "check_sqlite", "check_udp_buffer"]

OLDEST_PYTHON: Final = (3, 11)
WAL_RESET_REPAIRED: Final = (3, 51, 3)
EARLIEST_MS: Final = 1_750_000_000_000
"""A clock that says less was never set: this was written later."""


def _python(_: Settings) -> Finding:
    text = f"{platform.python_implementation()} {platform.python_version()}"
    if sys.version_info < OLDEST_PYTHON or platform.python_implementation() != "CPython":
        return fail("python", text, "use CPython 3.11 or later")
    return ok("python", text)


def _sqlite(_: Settings) -> Finding:
    return check_sqlite(sqlite_version())


def check_sqlite(version: tuple[int, ...]) -> Finding:
    """Judge a version of SQLite."""
    text = ".".join(map(str, version))
    try:
        check_sqlite_version(version)
    except ConfigError as error:
        return fail("sqlite", text, str(error))
    if version < WAL_RESET_REPAIRED:
        text += "; its WAL-reset defect (before 3.51.3) cannot strike: one connection writes and checkpoints"
    return ok("sqlite", text)


def _processes(_: Settings) -> Finding:
    if not hasattr(os, "pidfd_open"):
        return fail("processes", "no pidfd: ends of programs cannot be seen", "use Linux 5.4 or later")
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return fail("processes", f"pidfd_open: {error.strerror}", "allow pidfd_open in the sandbox of the server")
    return ok("processes", "pidfd works")


def _inotify(_: Settings) -> Finding:
    limit = Path("/proc/sys/fs/inotify/max_user_watches")
    try:
        watches = int(limit.read_text())
    except (OSError, ValueError):
        return fail("inotify", "not there: logs cannot be followed", "use Linux, with /proc")
    if watches < 1024:
        return warn("inotify", f"{watches} watches", "sysctl -w fs.inotify.max_user_watches=65536")
    return ok("inotify", f"{watches} watches")


def _udp_buffer(settings: Settings) -> Finding:
    wanted = settings.quic_udp_recv_buffer
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        if wanted:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, wanted)
        got = probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    return check_udp_buffer(wanted, got // 2 if sys.platform == "linux" else got)  # Linux tells the double


def check_udp_buffer(wanted: int, got: int) -> Finding:
    """Judge the receive buffer that a socket was given."""
    if got < wanted:
        text = f"{size(got)} of the {size(wanted)} wanted: datagrams are lost when many programs speak at once"
        return warn("udp buffer", text, f"sysctl -w net.core.rmem_max={wanted}")
    return ok("udp buffer", size(got))


def _clock(settings: Settings) -> Finding:
    folder = Path(settings.data_dir)
    written = [int(path.stat().st_mtime * 1000) for path in folder.glob("runtara.db*")] if folder.is_dir() else []
    return check_clock(SystemClock().now_ms(), max(written, default=0))


def check_clock(now_ms: int, written_ms: int) -> Finding:
    """Judge the time of day by what is certain: that it is past, and that the store was written in the past."""
    if now_ms < EARLIEST_MS:
        return fail("clock", f"it says {instant(now_ms)}", "set it: sleeps end by the time of day")
    if written_ms > now_ms + 1000:
        text = f"it says {instant(now_ms)}, {span(written_ms - now_ms)} before the store was written"
        return fail("clock", text, "set it: sleeps end by the time of day")
    return ok("clock", instant(now_ms))


def _quic(_: Settings) -> Finding:
    """Attack a connection in memory, with a certificate that is made for that and thrown away."""
    with TemporaryDirectory() as folder:
        try:
            identity = ensure_certificate(Path(folder) / "tls")
            self_test(ServerTls(cert_file=str(identity.cert_file), key_file=str(identity.key_file)))
        except RuntaraError as error:
            return fail("quic", str(error), "install Runtara again, with the versions that it names")
    return ok("quic", "aioquic is the version that was tried, and its guards hold")


def _containers(settings: Settings) -> Finding:
    """Make one, because there is no other way to know."""
    subject = "containers"
    try:
        runtime = examine_runtime(settings)
    except NotFound as error:
        if settings.container_runtime is None:
            return ok(subject, f"{error}; until then, images that are file systems are refused")
        return fail(subject, str(error), "correct RUNTARA_CONTAINER_RUNTIME")
    except RuntaraError as error:
        return fail(subject, str(error), "choose another one with RUNTARA_CONTAINER_RUNTIME")
    return check_containers(runtime, trio.run(try_container, settings), settings)


def check_containers(runtime: Runtime, failure: str | None, settings: Settings) -> Finding:
    """Judge a runtime, and what became of a container that was made with it."""
    subject, text = "containers", f"{runtime.path} {runtime.version}"
    if failure is not None:
        judge = warn if settings.container_runtime is None else fail  # a server may do without
        return judge(subject, f"{text}: {failure}", "choose another one with RUNTARA_CONTAINER_RUNTIME")
    if runtime.unlimited:
        missing = ", ".join(sorted(runtime.unlimited))
        advice = "run the server as root, or as a systemd unit with Delegate=yes and DelegateSubgroup=server"
        return warn(subject, f"{text}; no control group to limit {missing}", advice)
    if not runtime.repaired and not settings.container_allow_old_runtime:
        advice = "take 1.1.14, 1.2.8, 1.3.3 or later; or RUNTARA_CONTAINER_ALLOW_OLD_RUNTIME=1, if it has been repaired"
        return warn(subject, f"{text}, which may have known ways out of a container", advice)
    return ok(subject, text)


MACHINE: Final[tuple[Callable[[Settings], Finding], ...]] = (
    _python,
    _sqlite,
    _processes,
    _inotify,
    _udp_buffer,
    _clock,
    _quic,
    _containers,
)
