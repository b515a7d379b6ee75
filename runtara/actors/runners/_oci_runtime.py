"""The program that runs containers: where it is, its version, whether it is to be trusted, and how it is called."""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from runtara.errors import Forbidden, NotFound

__all__ = ["RUNTIMES", "Runtime", "find_runtime", "is_repaired", "version_of"]

RUNTIMES: Final = ("runc", "crun")
"""In the order in which they are looked for."""

_REPAIRED: Final[Mapping[tuple[int, int], tuple[int, int, int]]] = {
    (1, 1): (1, 1, 14),
    (1, 2): (1, 2, 8),
    (1, 3): (1, 3, 3),
}
"""For a line of versions of runc, the first in which the known ways out of a container are closed. (CVE-2024-21626,
CVE-2024-45310, CVE-2025-31133, CVE-2025-52565, CVE-2025-52881)"""
_VERSION: Final = re.compile(r"version (\d+)\.(\d+)\.(\d+)")
_PATIENCE_S: Final = 10.0


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """A runtime of this machine."""

    path: str
    kind: str
    """Which of `RUNTIMES` it takes its options like."""

    def command(self, root: Path, verb: str, *arguments: str) -> tuple[str, ...]:
        """Return a command; the runtime keeps what it knows below `root`."""
        # What goes wrong is said on stderr all the same; warnings are not the program's to say.
        quiet = ("--log", os.devnull) if self.kind == "runc" else ()
        return (self.path, "--root", str(root), *quiet, verb, *arguments)


def find_runtime(setting: str | None) -> Runtime:
    """Return the runtime that the setting names, or else the first that is there.

    Raises `NotFound` where there is none, and `Forbidden` for one that somebody else may have changed.
    """
    for name in RUNTIMES if setting is None else (setting,):
        path = shutil.which(name)
        if path is not None:
            _check_trusted(Path(path).resolve())
            kind = next((known for known in RUNTIMES if known in Path(path).name), RUNTIMES[0])
            return Runtime(path=str(Path(path).absolute()), kind=kind)
    if setting is not None:
        raise NotFound(f"there is no program {setting!r} to run containers with: correct RUNTARA_CONTAINER_RUNTIME")
    raise NotFound("there is no program to run containers with: install runc")


def _check_trusted(path: Path) -> None:
    found = path.stat()
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Forbidden(f"{path} may be changed by other users, and is to run containers: take it from the system")


def version_of(runtime: Runtime) -> tuple[int, int, int] | None:
    """Return the version that a runtime says it has; None where it says none."""
    try:
        said = subprocess.run([runtime.path, "--version"], capture_output=True, timeout=_PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(said.stdout.decode(errors="replace"))
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def is_repaired(version: tuple[int, int, int]) -> bool:
    """Whether the known ways out of a container are closed in a version of runc, going by its number."""
    line = version[:2]
    return line > max(_REPAIRED) or (line in _REPAIRED and version >= _REPAIRED[line])
