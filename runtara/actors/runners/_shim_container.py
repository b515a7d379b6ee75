"""The shim's part in a program that runs in a container: what it takes besides a process of its own.

A container is made in three steps. A child of the shim becomes the *stage*: it leaves for namespaces of its own, where
it lays out what the container is to see, brings up a loopback device, and becomes the runtime's ``create``. The
container's first process is then a child of the shim, and waits. A helper may now connect its network. ``start`` lets
it go. From there on the shim treats it as it treats every program.

If the shim is killed, the *guard* removes the container: a child that does nothing but wait for the end of the shim. It
shares the shim's lock, so that the folder is free only when nothing is left. Whoever finds the shim and the guard dead
runs the same command, which the marker of the launch names.

Like the shim it imports nothing of this package: the shim loads it by its path.
"""

import ctypes
import fcntl
import os
import signal
import socket
import struct
from contextlib import suppress

TYPE_CHECKING = False  # the module `typing` would cost every launch some milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Container", "guard", "stage"]

_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 0x1000, 0x4000, 0x40000
_NEWNS, _NEWUSER, _NEWNET = 0x20000, 0x10000000, 0x40000000
_SIOCSIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8914, 1, 64
_MESSAGE_BYTES = 1 << 16
_DESCRIPTORS = 64
_PR_SET_PDEATHSIG = 1
_NO_SUCH = ("no such file", "not found")
_libc = ctypes.CDLL(None, use_errno=True)


# The shim's side ------------------------------------------------------------------------------------------------------


class Container:
    """A program in a container, from its launch to its end."""

    def __init__(self, spec: "dict[str, Any]", outputs: list[int], errors: int, become: "Callable[[], None]") -> None:
        """Make the container, and let its program go.

        `outputs` are what it writes to, `errors` the end where the second of them is read, `become` what makes a forked
        child a program's. Where the image lacks the program, a process that ends at once stands for it. Raises
        `OSError`.
        """
        self._spec = spec["container"]
        self._doors: list[socket.socket] = []
        guard(self._spec["delete"])
        try:
            self._doors = _create(spec, outputs, errors, become)
            self.program = int(_read(self._spec["pid_file"]))
            _run(self._spec["start"], errors=outputs[1])
        except _NotThereError as reason:
            self.program = _fail(spec["argv"][0], str(reason), outputs[1])
        except OSError:
            _run(self._spec["delete"], check=False)
            raise

    def attach(self, shim: "Any") -> None:
        """Have the shim pass datagrams on, if there is a door for them."""
        if self._doors:
            relay = __import__("_shim_relay").Relay(self._doors, self._spec["servers"])
            shim.watch(relay.fileno(), relay.turn)

    def end(self) -> "dict[str, Any]":
        """Remove the container; return what is known of its use of the machine: parts of the last note."""
        facts: dict[str, Any] = {}
        if self._spec["memory_peak"]:
            with suppress(OSError, ValueError):
                facts["memory_peak"] = int(_read(self._spec["memory_peak"]))
        reached = {}
        for name, (events, key, limit) in self._spec["limits"].items():
            with suppress(OSError, ValueError):
                counts = dict(line.split() for line in _read(events).splitlines())
                if int(counts.get(key, 0)):
                    reached[name] = int(_read(limit))
        _run(self._spec["delete"], check=False)
        return {**facts, "reached": reached}


class _NotThereError(Exception):
    """The container is fine, but the image has no such program."""


def guard(delete: list[str]) -> None:
    """Leave a child behind that removes the container when this process is gone. It holds the folder's lock, too."""
    wait, held = os.pipe()
    os.set_inheritable(held, False)
    if os.fork():
        os.close(wait)
        return  # `held` stays open for as long as this process lives
    try:
        os.close(held)
        os.setsid()
        _leave_the_server()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.read(wait, 1)
        _run(delete, check=False)
    finally:
        os._exit(0)


def _leave_the_server() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)


def _create(
    spec: "dict[str, Any]", outputs: list[int], errors: int, become: "Callable[[], None]"
) -> "list[socket.socket]":
    container = spec["container"]
    ours, theirs = socket.socketpair()
    with ours:
        child = os.fork()
        if not child:
            _become_create(spec, theirs, become)
        theirs.close()
        said, descriptors, _, _ = socket.recv_fds(ours, _MESSAGE_BYTES, _DESCRIPTORS)
        if said != b"ready":
            os.waitpid(child, 0)
            raise OSError(said.decode(errors="replace") or "the container's stage was killed")
    if container["helper"]:
        _connect(container["helper"], descriptors[:2])
    for descriptor in descriptors[:2]:
        os.close(descriptor)
    doors = [socket.socket(fileno=descriptor) for descriptor in descriptors[2:]]
    if os.waitpid(child, 0)[1]:
        text = _complaint(errors)
        if 'exec: "' in text or "executable file" in text:
            raise _NotThereError(text)
        raise OSError(text)
    return doors


def _become_create(spec: "dict[str, Any]", channel: "socket.socket", become: "Callable[[], None]") -> None:
    code = 1
    try:
        found = stage(spec["container"])
        socket.send_fds(channel, [b"ready"], found)
        become()
        known_by = {name: spec["env"][name] for name in ("RUNTARA_LAUNCH_ID",)}
        os.execve(spec["container"]["create"][0], spec["container"]["create"], {"PATH": os.defpath, **known_by})
    except (OSError, ValueError) as error:
        with suppress(OSError):
            channel.send(f"the container's stage could not be laid out: {error}".encode())
            os.write(2, f"{error}\n".encode())
    finally:
        os._exit(code)


def _complaint(errors: int) -> str:
    """Return what the runtime has said last."""
    with suppress(OSError):
        lines = os.read(errors, _MESSAGE_BYTES).decode(errors="replace").strip().splitlines()
        if lines:
            return lines[-1]
    return "the container's runtime has failed, and did not say why"


def _fail(program: str, reason: str, stderr: int) -> int:
    """Return the number of a child that stands for a program that could not be launched."""
    child = os.fork()
    if child:
        return child
    with suppress(OSError):
        os.setsid()
        os.write(stderr, f"{program} could not be launched: {reason}\n".encode())
    os._exit(127 if any(words in reason for words in _NO_SUCH) else 126)


def _connect(helper: list[str], namespaces: list[int]) -> None:
    """Have the helper connect the network namespace, and wait until it has. It ends with the shim."""
    wait, ready = os.pipe()
    names = dict(zip(("netns", "userns", "ready"), [*namespaces, ready], strict=True))
    argv = [argument.format(**names) for argument in helper]
    _spawn(argv, keep=list(names.values()))
    os.close(ready)
    try:
        done = bool(os.read(wait, 1))
    finally:
        os.close(wait)
    if not done:
        raise OSError(f"{argv[0]} could not connect the container's network; what it said is in shim.log")


def _run(argv: list[str], *, errors: int = 2, check: bool = True) -> None:
    """Run a command of the runtime's to its end."""
    status = os.waitpid(_spawn(argv, errors=errors), 0)[1]
    if check and status:
        raise OSError(f"{' '.join(argv[:1])} has failed: {os.waitstatus_to_exitcode(status)}")


def _spawn(argv: list[str], *, errors: int = 2, keep: "list[int] | None" = None) -> int:
    """Start a command that reads and writes nothing; `keep` are the descriptors that it inherits."""
    child = os.fork()
    if child:
        return child
    try:
        _leave_the_server()
        os.dup2(errors, 2)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for descriptor in keep or ():
            os.set_inheritable(descriptor, True)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execve(argv[0], argv, {"PATH": os.defpath})
    finally:
        os._exit(126)


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


# The stage ------------------------------------------------------------------------------------------------------------


def stage(container: "dict[str, Any]") -> list[int]:
    """Leave for namespaces of our own, and lay out what the container is to see.

    Returns descriptors: of the network namespace, of the user namespace, and of a socket on the loopback of the
    container for every address in ``doors``; nothing where the container shares the host's network.

    The container's own root cannot look into the host's private folders. So all that it needs is bound below one place
    that everybody can reach, in a tmpfs that only this mount namespace has; the files with the secrets lie in it, too.
    """
    apart, ids = bool(container["apart"]), container["ids"]
    _check(_libc.unshare(_NEWNS | (_NEWNET if apart else 0) | (_NEWUSER if ids else 0)))
    if ids:
        _map_ids(*ids)
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _lay_out(container["place"], container["binds"], container["files"])
    if not apart:
        return []
    _bring_up("lo")
    found = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in ("net", "user")]
    for host, port in container["doors"]:
        door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        door.bind((host, port))
        found.append(door.detach())
    return found


def _map_ids(uid: int, gid: int) -> None:
    """Be root in the new user namespace, of nothing but what is our own."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _lay_out(place: str, binds: "dict[str, str]", files: "dict[str, str]") -> None:
    sources = {name: os.open(path, os.O_PATH) for name, path in binds.items()}  # `place` may hide what is below it
    _mount("tmpfs", place, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755")
    for name, source in sources.items():
        os.mkdir(f"{place}/{name}", 0o755)
        _mount(f"/proc/self/fd/{source}", f"{place}/{name}", None, _MS_BIND)
        os.close(source)
    for name, text in files.items():
        with open(f"{place}/{name}", "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644 if name != "config.json" else 0o600)
            file.write(text)


def _bring_up(device: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", device.encode(), _IFF_UP | _IFF_RUNNING)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


def _mount(source: "str | None", target: str, kind: "str | None", flags: int, data: "str | None" = None) -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind, data)]
    _check(_libc.mount(texts[0], texts[1], texts[2], flags, texts[3]), target)


def _check(result: int, name: str = "") -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name or None)
