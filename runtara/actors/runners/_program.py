"""Which programs may be launched on this host, how, and with which environment."""

import os
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from runtara.actors.runners._contract import Plan
from runtara.errors import Forbidden, NotFound

__all__ = ["command_of", "environment_of", "folders_of"]

_BY_PYTHON: Final = (".py", ".pyz")


def folders_of(setting: str) -> tuple[Path, ...]:
    """Return the folders that the setting names, colons between them, as they really are."""
    return tuple(Path(name).resolve() for name in setting.split(":") if name)


def command_of(program: str, folders: Sequence[Path]) -> list[str]:
    """Return the command that runs a program: an absolute path, or one that is looked for below each folder.

    Raises `NotFound` for what does not exist or lies elsewhere, links followed, and `Forbidden` for what is there but
    cannot or must not be run.
    """
    path = _find(program, folders)
    if path is None:
        raise NotFound(
            f"there is no program {program!r} below the folders of programs: put it there, or add its folder to "
            "RUNTARA_PROGRAMS"
        )
    mode = path.stat().st_mode
    if mode & (stat.S_ISUID | stat.S_ISGID):
        raise Forbidden(f"program {program!r} would run as another user or group: take its setuid and setgid bits away")
    if path.suffix in _BY_PYTHON:
        if not os.access(path, os.R_OK):
            raise Forbidden(f"program {program!r} cannot be read: allow the host's user to read it")
        return [sys.executable, str(path)]
    if not os.access(path, os.X_OK):
        raise Forbidden(f"program {program!r} cannot be executed: make it executable, or call it .py or .pyz")
    return [str(path)]


def _find(program: str, folders: Sequence[Path]) -> Path | None:
    """Return the file that a program really is, if it is one, and lies where programs may."""
    if not program or "\0" in program:
        return None
    for folder in folders:
        try:
            path = (folder / program).resolve(strict=True)
            if path.is_file() and any(path.is_relative_to(allowed) for allowed in folders):
                return path
        except (OSError, RuntimeError):  # it does not exist, may not be looked at, or its links go round in a circle
            continue
    return None


def environment_of(plan: Plan, inherited: Mapping[str, str], files: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of an attempt: a little of the host's own, the user's, ours, and our files."""
    return {
        "PATH": os.defpath,
        **inherited,
        "PYTHONUNBUFFERED": "1",
        **plan.env,
        "RUNTARA_TENANT_ID": plan.key.tenant_id,
        "RUNTARA_INSTANCE_ID": plan.key.instance_id,
        "RUNTARA_EPOCH": str(plan.epoch),
        **plan.ours,
        **files,
    }
