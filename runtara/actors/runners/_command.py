"""What it takes to launch an attempt: the command, its environment and its limits, for every kind of program.

    program path    the file itself, or Python with it
    executable      the file, and the image's command as its arguments
    python          this host's Python with the file, and the image's command as its arguments
    folder          the command that the prepared project names, or this host's Python with its main.py
    rootfs, oci     the image's command, or what the archive itself names, in a container
    wasm            this host's Python with the module, in a WASI of its own, and the image's command as its arguments

A command is data; the shim carries it out.
"""

import importlib.util
import sys
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from runtara.actors.runners import _wasm_program
from runtara.actors.runners._contract import Plan, Prepare, Prepared
from runtara.actors.runners._process import LAUNCH_ID
from runtara.actors.runners._program import command_of, environment_of, folders_of
from runtara.actors.runners._run_folder import RunFolder
from runtara.errors import Forbidden
from runtara.settings import Settings

__all__ = ["Command", "Commands", "image_environment", "limits_of"]

_RESERVED: Final = "RUNTARA_"


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt, ready for its shim."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    limits: Mapping[str, int] = {}
    """Of the processes, by the names that the system has for them; a container brings its own."""
    container: Mapping[str, Any] | None = None  # Any: JSON, which only the shim reads
    """What the shim has to do for a container; None where the program is a process of the host's."""
    after: tuple[str, ...] = ()
    """The command that removes what is left of the container; harmless when repeated."""
    cgroup: str | None = None
    owner: int | None = None
    """The user to whom the run's folders must belong; None for the host's own."""
    files: Mapping[str, bytes] = {}
    """What else lies in its data folder."""


class Commands:
    """Makes commands for one host."""

    def __init__(self, settings: Settings, inherited: Mapping[str, str], prepare: Prepare | None) -> None:
        self._settings: Final = settings
        self._inherited: Final = dict(inherited)
        self._folders: Final = folders_of(settings.programs)
        self._prepare: Final = prepare

    def check(self, program: str) -> None:
        """Raise `NotFound` or `Forbidden` unless the program may be launched here."""
        command_of(program, self._folders)

    def of(self, plan: Plan, folder: RunFolder, launch_id: str) -> Command:
        """Return what launches an attempt. Raises what `Engine.launch` raises, and `OSError`."""
        if plan.image is None:
            argv = command_of(plan.program, self._folders)
            return self._process(plan, argv, folder, launch_id)
        if self._prepare is None:
            raise Forbidden(f"{plan.program!r} is an image, and this host keeps none: give it a folder for them")
        prepared = self._prepare(plan.image)
        if prepared.kind in ("rootfs", "oci"):
            from runtara.actors.runners._oci_container import container_command  # most hosts run none

            return container_command(self._settings, plan, prepared, folder, launch_id)
        plan = image_environment(plan, prepared)
        if prepared.kind == "wasm":
            return self._module(plan, prepared, folder, launch_id)
        return self._process(plan, _argv(plan, prepared), folder, launch_id)

    def _process(self, plan: Plan, argv: list[str], folder: RunFolder, launch_id: str) -> Command:
        files = {
            LAUNCH_ID: launch_id,
            "RUNTARA_OUTPUT_FILE": str(folder.output),
            "RUNTARA_WORK_DIR": str(folder.work),
        }
        if plan.input is not None:
            files["RUNTARA_INPUT_FILE"] = str(folder.input)
        limits = limits_of(self._settings)
        if plan.image is not None and plan.image.options.memory_bytes is not None:
            limits["RLIMIT_AS"] = plan.image.options.memory_bytes
        return Command(argv=tuple(argv), env=environment_of(plan, self._inherited, files), limits=limits)

    def _module(self, plan: Plan, prepared: Prepared, folder: RunFolder, launch_id: str) -> Command:
        if importlib.util.find_spec("wasmtime") is None:
            raise Forbidden(f"{plan.program!r} is a WASI module, and wasmtime is missing: pip install 'runtara[wasm]'")
        assert plan.image is not None, "modules are images"
        options = plan.image.options
        memory = plan.resources.get("memory", options.memory_bytes or self._settings.container_memory_bytes)
        limits = limits_of(self._settings)
        limits.pop("RLIMIT_AS", None)  # a module's memory is a small part of the room that is kept free for it
        argv = [sys.executable, "-I", "-X", "utf8", _wasm_program.__file__, f"{int(memory)}", f"{options.fuel or 0}"]
        argv += [str(folder.data), str(folder.work), str(prepared.path), *options.command]
        files = {LAUNCH_ID: launch_id, "RUNTARA_OUTPUT_FILE": "/data/output", "RUNTARA_WORK_DIR": "/data/work"}
        if plan.input is not None:
            files["RUNTARA_INPUT_FILE"] = "/data/input"
        return Command(argv=tuple(argv), env=environment_of(plan, {}, files), limits=limits)


def image_environment(plan: Plan, prepared: Prepared) -> Plan:
    """Return the plan with the environment of its image below what its instance was given."""
    assert plan.image is not None, "only an image has an environment"
    given = {**prepared.env, **plan.image.options.env}
    return replace(
        plan, env={name: value for name, value in given.items() if not name.startswith(_RESERVED)} | dict(plan.env)
    )


def _argv(plan: Plan, prepared: Prepared) -> list[str]:
    """Return the command of a program that is a process of the host's."""
    arguments = plan.image.options.command if plan.image is not None else ()
    if prepared.kind == "executable":
        return [str(prepared.path), *arguments]
    if prepared.kind == "python":
        return [sys.executable, str(prepared.path), *arguments]
    return [*prepared.command] or [sys.executable, str(prepared.path / "main.py")]


def limits_of(settings: Settings) -> dict[str, int]:
    """Return the limits of a program's processes, by the names that the system has for them."""
    limits = {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": settings.program_files}
    if settings.program_memory_bytes:
        limits["RLIMIT_AS"] = settings.program_memory_bytes
    if settings.program_file_bytes:
        limits["RLIMIT_FSIZE"] = settings.program_file_bytes
    return limits
