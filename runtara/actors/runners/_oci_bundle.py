"""What a container is: its configuration for the runtime, made of nothing but what it is handed.

    what it sees            what that is
    /                       the image's root file system, read-only
    /data, /data/work       the run's folders; /data holds input, output and the server's authority
    /tmp, /dev/shm          memory of its own
    /proc                   of its own processes, without what tells of the host
    /dev                    null, zero, full, random, urandom, tty; nothing else
    /sys, the host's files  nothing

It has user, process, mount, IPC, host name and control group namespaces of its own, no capability at all, and the
system calls of `_oci_seccomp`. The network namespace is that which the runtime is in (see `_shim_container`).
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from runtara.actors.runners._oci_seccomp import profile_of

__all__ = ["IDS", "PROGRAM_ID", "Box", "config_of", "host_name_of"]

IDS: Final = 65_536
"""How many ids of users a container has where the host is root."""
PROGRAM_ID: Final = 1_000
"""Of the program's user and group, seen from inside. Where the host is not root, 0 is the only one, and powerless."""

_PERIOD_US: Final = 100_000
_DEV_BYTES: Final = 65_536
_UMASK: Final = 0o077
_OOM_SCORE: Final = 500
"""When the machine itself runs out of memory, containers go before the server."""
_HOST_NAME: Final = 63
_SAFE: Final = ("nosuid", "nodev", "noexec")
_MASKED: Final = tuple(
    """
    /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi
    /proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware
    """.split()
)
_READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_CAPABILITIES: Final = ("bounding", "effective", "inheritable", "permitted", "ambient")
_NAMESPACES: Final = ("cgroup", "ipc", "mount", "pid", "user", "uts")


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """What a container is made of."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    host_name: str
    machine: str
    """Its processor, as the machine names it."""
    place: str
    """Where the runtime finds the folders ``rootfs``, ``data`` and ``work``, and the file ``resolv.conf``."""
    first_uid: int | None
    """First of the ids on the host that stand for those of the container; None for the only one, that of the host."""
    rlimits: Mapping[str, int] = {}
    cgroup: str | None = None
    memory_bytes: int | None = None
    limits_swap: bool = False
    cpus: float | None = None
    pids: int | None = None
    tmp_bytes: int
    has_resolv_conf: bool = False


def config_of(box: Box) -> dict[str, Any]:  # Any: JSON
    """Return the configuration of a container, as ``config.json`` of its bundle."""
    return {
        "ociVersion": "1.0.2",
        "hostname": box.host_name,
        "root": {"path": f"{box.place}/rootfs", "readonly": True},
        "process": _process(box),
        "mounts": _mounts(box),
        "linux": {
            "namespaces": [{"type": kind} for kind in _NAMESPACES],
            **_ids(box.first_uid),
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
            "seccomp": profile_of(box.machine),
            **({"cgroupsPath": box.cgroup, "resources": _resources(box)} if box.cgroup is not None else {}),
        },
    }


def host_name_of(instance_id: str) -> str:
    """Return a host name that looks like an instance's id."""
    return re.sub(r"[^a-z0-9]+", "-", instance_id.lower())[:_HOST_NAME].strip("-") or "instance"


def _user(box: Box) -> int:
    """Return the program's user, seen from inside."""
    return 0 if box.first_uid is None else PROGRAM_ID


def _process(box: Box) -> dict[str, Any]:
    user = _user(box)
    return {
        "terminal": False,
        "user": {"uid": user, "gid": user, "umask": _UMASK},
        "args": list(box.argv),
        "env": [f"{name}={value}" for name, value in box.env.items()],
        "cwd": box.cwd,
        "noNewPrivileges": True,
        "capabilities": {kind: [] for kind in _CAPABILITIES},
        "rlimits": [{"type": name, "soft": limit, "hard": limit} for name, limit in box.rlimits.items()],
        "oomScoreAdj": _OOM_SCORE,
    }


def _mounts(box: Box) -> list[dict[str, Any]]:
    # The runtime gives a tmpfs the mode of the folder that it covers, so it must belong to the program.
    user = _user(box)
    memory = [*_SAFE, "mode=1777", f"size={box.tmp_bytes}", f"uid={user}", f"gid={user}"]
    mounts = [
        _mount("/proc", "proc", "proc", *_SAFE),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "noexec", "mode=755", f"size={_DEV_BYTES}"),
        _mount("/dev/shm", "tmpfs", "tmpfs", *memory),
        _mount("/tmp", "tmpfs", "tmpfs", *memory),
        _mount("/data", "bind", f"{box.place}/data", "bind", "rw", *_SAFE),
        _mount("/data/work", "bind", f"{box.place}/work", "bind", "rw", *_SAFE),
    ]
    if box.has_resolv_conf:
        mounts.append(_mount("/etc/resolv.conf", "bind", f"{box.place}/resolv.conf", "bind", "ro", *_SAFE))
    return mounts


def _mount(where: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": where, "type": kind, "source": source, "options": list(options)}


def _ids(first: int | None) -> dict[str, Any]:
    """Return the ids of the container; where the host is no root, the stage has made its own id 0 already."""
    mapping = {"containerID": 0, "hostID": 0, "size": 1}
    if first is not None:
        mapping = {"containerID": 0, "hostID": first, "size": IDS}
    return {"uidMappings": [mapping], "gidMappings": [mapping]}


def _resources(box: Box) -> dict[str, Any]:
    resources: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}]}
    if box.memory_bytes is not None:
        swap = {"swap": box.memory_bytes} if box.limits_swap else {}
        resources["memory"] = {"limit": box.memory_bytes, **swap}
    if box.cpus is not None:
        resources["cpu"] = {"quota": max(1_000, round(box.cpus * _PERIOD_US)), "period": _PERIOD_US}
    if box.pids is not None:
        resources["pids"] = {"limit": box.pids}
    return resources
