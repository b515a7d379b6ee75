"""Control groups: whether this host may hold containers to limits, where their groups lie, and what they tell.

A machine has them in one tree (version 2) or in one for each resource (version 1; where both are mounted, the trees of
version 1 are those that limit). Root may use them. Another user may, in version 2, where its own group's parent was
delegated to it: with systemd, ``Delegate=yes`` and ``DelegateSubgroup=server`` for the server's unit.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from runtara.actors.runners._process import kill_all

__all__ = ["Cgroups", "clear_cgroup", "find_cgroups"]

_ROOT: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")
_ROUNDS: Final = 100
"""A group that grows for longer while it is being killed is not ours to end."""
_WANTED: Final = ("memory", "cpu", "pids")


class Cgroups(msgspec.Struct, frozen=True, kw_only=True):
    """What this host can do."""

    version: Literal[0, 1, 2]
    """0 where it can do nothing."""
    controllers: frozenset[str] = frozenset()
    """Of memory, cpu and pids, those that can be limited."""
    parent: str = "/runtara"
    """Below which the groups of containers lie, in each tree."""
    swap: bool = False
    """Whether swapped memory can be limited."""
    root: Path = _ROOT

    def path_of(self, container: str) -> str | None:
        """Return where the group of a container lies; None where it has none."""
        return f"{self.parent}/{container}" if self.version else None

    def told(self, container: str) -> dict[str, Any]:  # Any: JSON
        """Return the files that tell what a container has used, and which limits it ran into, for the shim."""
        if self.version == 1:
            memory, pids = (f"{self.root}/{name}{self.parent}/{container}" for name in ("memory", "pids"))
            names = ("memory.max_usage_in_bytes", "memory.oom_control", "memory.limit_in_bytes")
        else:
            memory = pids = f"{self.root}{self.parent}/{container}"
            names = ("memory.peak", "memory.events", "memory.max")
        peak, events, limit = (f"{memory}/{name}" for name in names)
        found = {"memory": (events, "oom_kill", limit), "pids": (f"{pids}/pids.events", "max", f"{pids}/pids.max")}
        return {
            "memory_peak": peak if "memory" in self.controllers else None,
            "limits": {name: files for name, files in found.items() if name in self.controllers},
        }


def find_cgroups(*, root: Path = _ROOT, own: Path = _OWN, privileged: bool | None = None) -> Cgroups:
    """Look at the machine; `privileged` for root, by default what this process is."""
    privileged = os.geteuid() == 0 if privileged is None else privileged
    if (root / "cgroup.controllers").is_file():
        return _unified(root, own, privileged)
    if not privileged:
        return Cgroups(version=0, root=root)
    found = frozenset(name for name in _WANTED if os.access(root / name / "cgroup.procs", os.W_OK))
    swap = (root / "memory" / "memory.memsw.limit_in_bytes").exists()
    return Cgroups(version=1 if found else 0, controllers=found, swap=swap, root=root)


def _unified(root: Path, own: Path, privileged: bool) -> Cgroups:
    swap = any(root.glob("*/memory.swap.max"))
    if privileged:
        found = _controllers(root / "cgroup.controllers") if os.access(root / "cgroup.procs", os.W_OK) else frozenset()
        return Cgroups(version=2 if found else 0, controllers=found, swap=swap, root=root)
    parent = str(Path(own.read_text("ascii").strip().rpartition("::")[2]).parent)
    folder = root / parent.lstrip("/")
    if not (os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK)):
        return Cgroups(version=0, root=root)
    found = _controllers(folder / "cgroup.subtree_control")
    return Cgroups(version=2 if found else 0, controllers=found, parent=parent.rstrip("/"), swap=swap, root=root)


def _controllers(path: Path) -> frozenset[str]:
    try:
        return frozenset(_WANTED).intersection(path.read_text("ascii").split())
    except OSError:
        return frozenset()


def clear_cgroup(path: str, root: Path = _ROOT) -> None:
    """Kill what is left in a container's group, and remove the group; harmless where there is none."""
    for folder in _folders(path, root):
        for _ in range(_ROUNDS):
            left = list(_open_members(folder))
            if not left or not kill_all(left):
                break
        with suppress(OSError):  # what hangs in the kernel holds it
            folder.rmdir()


def _folders(path: str, root: Path) -> Iterator[Path]:
    name = path.lstrip("/")
    yield from (folder for folder in (root / name, *root.glob(f"*/{name}")) if folder.is_dir())


def _open_members(folder: Path) -> Iterator[int]:
    """Return descriptors of the processes of a group; none of another one that was given the number of one."""
    for pid in _members(folder):
        with suppress(OSError):
            descriptor = os.pidfd_open(pid)
            if pid in _members(folder):
                yield descriptor
            else:
                os.close(descriptor)


def _members(folder: Path) -> list[int]:
    try:
        return [int(pid) for pid in (folder / "cgroup.procs").read_text("ascii").split()]
    except OSError:
        return []
