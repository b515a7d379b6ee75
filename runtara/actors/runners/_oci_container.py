"""How a program of an image is run in a container on this host: decided anew for each launch, from what is there.

Nothing is left out in silence: a limit, or a network, that was asked for and cannot be had is a refusal that says why.
Only what the settings give to those who ask for nothing may be missing, and `runtara doctor` tells.
"""

import json
import os
import platform
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from runtara.actors.runners._command import Command, image_environment, limits_of
from runtara.actors.runners._contract import HostFailed, Plan, Prepared
from runtara.actors.runners._oci_bundle import PROGRAM_ID, Box, config_of, host_name_of
from runtara.actors.runners._oci_cgroups import Cgroups, find_cgroups
from runtara.actors.runners._oci_network import Link, link_of
from runtara.actors.runners._oci_runtime import Runtime, find_runtime
from runtara.actors.runners._oci_seccomp import ARCHITECTURES
from runtara.actors.runners._process import LAUNCH_ID
from runtara.actors.runners._program import environment_of
from runtara.actors.runners._run_folder import RunFolder
from runtara.errors import Forbidden
from runtara.records import ImageOptions
from runtara.settings import Settings

__all__ = ["Held", "container_command", "held_of", "make_mount_points", "place_beside"]

_INHERITED: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp"}
_AUTHORITY: Final = "RUNTARA_CA_FILE"
_MOUNT_POINTS: Final = ("proc", "dev", "tmp", "data")
_PLACES: Final = ("/mnt", "/media", "/srv", "/opt", "/tmp")


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a container is held to; None for no limit."""

    memory_bytes: int | None
    cpus: float | None
    pids: int | None
    processes: int | None = None
    """The limit of processes, where it has to be one of the user's (RLIMIT_NPROC)."""


def container_command(settings: Settings, plan: Plan, prepared: Prepared, folder: RunFolder, launch_id: str) -> Command:
    """Return what it takes to run an image's program in a container.

    Raises `NotFound` where there is no runtime, `Forbidden` for what this host cannot hold to, and `OSError`.
    """
    assert plan.image is not None, "containers are made of images"
    container, options = f"runtara-{launch_id}", plan.image.options
    argv = options.command or prepared.command
    if not argv:
        raise Forbidden(f"{plan.program!r} names no program to run: give its command when the image is pushed")
    runtime, groups = find_runtime(settings.container_runtime), find_cgroups()
    link = link_of(options.network or settings.container_network, plan.ours)
    make_mount_points(prepared.path, resolv=link.name_servers is not None)
    authority = {"ca.pem": Path(plan.ours[_AUTHORITY]).read_bytes()} if _AUTHORITY in plan.ours else {}
    box = Box(
        argv=argv,
        env=_environment(plan, prepared, {**link.env, LAUNCH_ID: launch_id}),
        cwd=prepared.working_dir,
        host_name=host_name_of(plan.key.instance_id),
        machine=_machine(),
        place=place_beside((prepared.path, folder.path, Path(runtime.path))),
        first_uid=settings.container_first_uid if os.geteuid() == 0 else None,
        cgroup=groups.path_of(container),
        limits_swap=groups.swap,
        tmp_bytes=settings.container_tmp_bytes,
        has_resolv_conf=link.name_servers is not None,
        **_limits(settings, held_of(settings, options, plan.resources, groups)),
    )
    binds = {"rootfs": str(prepared.path), "data": str(folder.data), "work": str(folder.work)}
    steps = _steps(runtime, folder, container, box.place)
    return Command(
        argv=argv,
        env=box.env,
        container={**steps, **_stage(box, link), "binds": binds, **groups.told(container)},
        after=steps["delete"],
        cgroup=box.cgroup,
        owner=None if box.first_uid is None else box.first_uid + PROGRAM_ID,
        files=authority,
    )


def _environment(plan: Plan, prepared: Prepared, ours: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a program in a container: ours says where it finds there what lies elsewhere here."""
    files = {"RUNTARA_OUTPUT_FILE": "/data/output", "RUNTARA_WORK_DIR": "/data/work", **ours}
    if plan.input is not None:
        files["RUNTARA_INPUT_FILE"] = "/data/input"
    if _AUTHORITY in plan.ours:
        files[_AUTHORITY] = "/data/ca.pem"
    return environment_of(image_environment(plan, prepared), _INHERITED, files)


def _steps(runtime: Runtime, folder: RunFolder, container: str, place: str) -> dict[str, Any]:
    """Return the commands by which the shim makes, starts and removes the container."""
    state, pid_file = folder.container / "state", str(folder.container / "pid")
    return {
        "create": runtime.command(state, "create", "--bundle", place, "--pid-file", pid_file, container),
        "start": runtime.command(state, "start", container),
        "delete": runtime.command(state, "delete", "--force", container),
        "pid_file": pid_file,
    }


def _stage(box: Box, link: Link) -> dict[str, Any]:
    """Return what the shim's stage lays out for the container."""
    files = {"config.json": json.dumps(config_of(box))}
    if link.name_servers is not None:
        files["resolv.conf"] = link.name_servers
    return {
        "place": box.place,
        "files": files,
        "ids": (os.geteuid(), os.getegid()) if box.first_uid is None else None,
        "apart": link.apart,
        "helper": link.helper,
        "doors": link.doors,
        "servers": link.servers,
    }


def held_of(settings: Settings, options: ImageOptions, resources: Mapping[str, float], groups: Cgroups) -> Held:
    """Return the limits of a container: what its instance asks for, or its image, or else what the settings say.

    Raises `Forbidden` for one that was asked for and that this host cannot hold a container to.
    """
    memory = resources.get("memory", options.memory_bytes)
    cpus = resources.get("cpu", options.cpus)
    for name, asked, setting in (("memory", memory, "memory_bytes"), ("cpu", cpus, "cpus")):
        if asked is not None and name not in groups.controllers:
            raise Forbidden(
                f"a limit of {name} was asked for ({setting}), and this host has no control group to hold a container "
                "to it: run the server as root, or have systemd delegate its group (see `runtara doctor`), or ask "
                "for no limit"
            )
    found = {
        "memory": memory if memory is not None else settings.container_memory_bytes,
        "cpu": cpus if cpus is not None else settings.container_cpus,
        "pids": resources.get("pids", options.pids if options.pids is not None else settings.container_pids),
    }
    held = {name: limit if limit and name in groups.controllers else None for name, limit in found.items()}
    return Held(
        memory_bytes=None if held["memory"] is None else int(held["memory"]),
        cpus=held["cpu"],
        pids=None if held["pids"] is None else int(held["pids"]),
        processes=int(found["pids"]) if found["pids"] and held["pids"] is None else None,
    )


def _limits(settings: Settings, held: Held) -> dict[str, Any]:
    """Return the limits of the container, and those of single processes, none above what the host itself may have."""
    wanted = limits_of(settings)
    if held.processes is not None:
        wanted["RLIMIT_NPROC"] = held.processes
    found = {}
    for name, limit in wanted.items():
        most = resource.getrlimit(getattr(resource, name))[1]
        found[name] = limit if most == resource.RLIM_INFINITY else min(limit, most)
    return {"rlimits": found, "memory_bytes": held.memory_bytes, "cpus": held.cpus, "pids": held.pids}


def make_mount_points(rootfs: Path, *, resolv: bool) -> None:
    """Make the folders in an image's root file system on which something is mounted, where it has none.

    The root file system is read-only for containers, so the runtime cannot make them itself. Raises `Forbidden` where
    something else is in the way, and `HostFailed` where the image cannot be completed.
    """
    try:
        for name in _MOUNT_POINTS:
            _make_folder(rootfs / name)
        if resolv:
            _make_folder(rootfs / "etc")
            path = rootfs / "etc" / "resolv.conf"
            if path.is_symlink() or not path.is_file():
                path.unlink(missing_ok=True)
                path.touch(mode=0o644)
    except OSError as error:
        raise HostFailed(f"the image's root file system cannot be used: {error}") from error


def _make_folder(path: Path) -> None:
    path.mkdir(mode=0o755, exist_ok=not path.is_symlink() and path.is_dir())


def place_beside(paths: tuple[Path, ...]) -> str:
    """Return a folder of every machine that none of the paths lies in: in the stage's eyes, it is going to be empty."""
    for place in _PLACES:
        if Path(place).is_dir() and not any(path.is_relative_to(place) for path in paths):
            return place
    raise HostFailed(f"there is no folder on which a container's parts could be put together: make one of {_PLACES}")


def _machine() -> str:
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise Forbidden(f"containers are for {' and '.join(ARCHITECTURES)}, and this machine is {machine}")
    return machine
