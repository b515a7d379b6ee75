"""Whether a data folder is fit for a server, and whether one works there."""

import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from runtara.cli._findings import Finding, fail, ok, warn
from runtara.cli._reach import Reach
from runtara.cli._words import instant, size, span
from runtara.clock import SystemClock
from runtara.errors import ConfigError, RuntaraError, Unauthenticated
from runtara.messages import GetHealth
from runtara.settings import Settings
from runtara.transport.certificates import Identity, read_identity
from runtara.transport.connection_file import read_connection_file

__all__ = ["SERVER", "Scene", "check_expiry"]

SECRETS: Final = ("runtara.db", "server.json", "keys.json", "secret", "tls/key.pem")
ROOM_MIN_BYTES: Final = 256 * 1024 * 1024
DAY_MS: Final = 86_400_000
EXPIRES_SOON_MS: Final = 30 * DAY_MS
PATIENCE: Final = 3.0
"""Seconds that a server may take to say that it is well."""


class Scene(NamedTuple):
    """What is looked at."""

    settings: Settings
    reach: Reach

    @property
    def folder(self) -> Path:
        """The data folder."""
        return Path(self.settings.data_dir)


def _folder(scene: Scene) -> Finding:
    folder, subject = scene.folder, "data folder"
    if not folder.exists():
        return ok(subject, f"{folder} is not there yet: a server will make it")
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return fail(subject, f"{folder} cannot be written", "give it to the user that runs the server")
    wide = [str(path) for path in _private(folder) if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    if wide:
        return fail(subject, f"others may look into {', '.join(wide)}", f"chmod -R go= {folder}")
    room = shutil.disk_usage(folder).free
    if room < ROOM_MIN_BYTES:
        return warn(subject, f"{folder}: {size(room)} left on its disk", "make room: a full disk stops every program")
    return ok(subject, f"{folder}, {size(room)} left on its disk")


def _private(folder: Path) -> Iterator[Path]:
    yield folder
    yield from (path for name in SECRETS if (path := folder / name).exists())


def _port(scene: Scene) -> Finding:
    return _place(scene, "port", scene.settings.quic_port, socket.SOCK_DGRAM, "--port")


def _http_port(scene: Scene) -> Finding:
    return _place(scene, "HTTP port", scene.settings.env_http_port, socket.SOCK_STREAM, "--http-port")


def _place(scene: Scene, subject: str, port: int, kind: socket.SocketKind, option: str) -> Finding:
    """Judge whether a server could listen at a port."""
    where = f"{scene.settings.host} {'UDP' if kind == socket.SOCK_DGRAM else 'TCP'} port {port}"
    if read_connection_file(scene.folder) is not None:
        return ok(subject, f"{where}: a server has it, see below")
    try:
        family, _, _, _, address = socket.getaddrinfo(scene.settings.host, port, type=kind)[0]
        with socket.socket(family, kind) as probe:
            if kind == socket.SOCK_STREAM:  # as the server does: connections that are just over keep nobody away
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return fail(subject, f"{where}: {error.strerror}", f"choose others with --host and {option}, or end who has it")
    return ok(subject, f"{where} is free")


def _certificate(scene: Scene) -> Finding:
    subject = "certificate"
    try:
        identity = _identity(scene)
    except ConfigError as error:
        return fail(subject, "it cannot be used", str(error))
    if identity is None:
        return ok(subject, "none yet: a server will make one")
    return check_expiry(identity.expires_at, SystemClock().now_ms())


def _identity(scene: Scene) -> Identity | None:
    settings, folder = scene.settings, scene.folder / "tls"
    if settings.tls_cert_file and settings.tls_key_file:
        return read_identity(Path(settings.tls_cert_file), Path(settings.tls_key_file))
    if not folder.exists():
        return None
    return read_identity(folder / "cert.pem", folder / "key.pem", folder / "ca.pem")


def check_expiry(expires_at: int, now_ms: int) -> Finding:
    """Judge the end of a certificate."""
    advice = "replace it; one that a server made is made again where the folder tls is moved away"
    if expires_at <= now_ms:
        return fail("certificate", f"it has expired at {instant(expires_at)}", advice)
    if expires_at - now_ms < EXPIRES_SOON_MS:
        return warn("certificate", f"it expires in {span(expires_at - now_ms)}", advice)
    return ok("certificate", f"good until {instant(expires_at)}")


def _server(scene: Scene) -> Finding:
    asked, found = scene.reach.where.server, read_connection_file(scene.folder)
    if asked is None and found is None:
        return ok("server", "none works in this data folder")
    return _answer(scene, "server", scene.reach, asked or (found.address if found else ""))


def _http_server(scene: Scene) -> Finding:
    """Judge the other door of a server on this machine: to clients where UDP is blocked, it is the server."""
    found = read_connection_file(scene.folder)
    if scene.reach.where.server is not None or found is None or found.http_address is None:
        return ok("HTTP server", "no server of this data folder is meant")
    return _answer(scene, "HTTP server", scene.reach.to(found.http_address), found.http_address)


def _answer(scene: Scene, subject: str, reach: Reach, where: str) -> Finding:
    """Judge how a server answers."""
    found = read_connection_file(scene.folder)
    try:
        with reach.door() as door:
            health = door.call_from_thread(GetHealth(), timeout=PATIENCE)
    except Unauthenticated as error:
        return warn(subject, f"{where}: {error}", "put a key into RUNTARA_TOKEN")
    except RuntaraError as error:
        if scene.reach.where.server is None and found is not None and not Path(f"/proc/{found.pid}").exists():
            return warn(subject, f"{where}: it was killed, and has left its server.json", "start it again")
        return fail(subject, f"{where}: {error}", "look at its log; is it the right address?")
    state = ", going down" if health.draining else ""
    return ok(subject, f"{where}: version {health.version}, up for {span(health.uptime_ms)}{state}")


SERVER: Final[tuple[Callable[[Scene], Finding], ...]] = (
    *(_folder, _port, _http_port, _certificate, _server, _http_server),
)
