"""The virtual environment of a Python project: made once, with what the project says it needs.

It is made beside its final place and then moved. A virtual environment knows its own path, so what it holds is told
the final one before.
"""

import contextlib
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from runtara.errors import InvalidInput
from runtara.images._commands import run_command

__all__ = ["make_venv", "needs_venv", "script_of"]

_REQUIREMENTS: Final = "requirements.txt"
_PROJECT: Final = "pyproject.toml"
_WHEELS: Final = "wheels"
_TEXT_MAX_BYTES: Final = 1024 * 1024
"""Largest script of a virtual environment that knows its path."""


def needs_venv(project: Path) -> bool:
    """Whether a project says what it needs."""
    return (project / _PROJECT).is_file() or (project / _REQUIREMENTS).is_file()


def script_of(project: Path) -> str | None:
    """Return the name of the one program that a project installs; None where it has none or several.

    Raises `InvalidInput` where its pyproject.toml cannot be read.
    """
    path = project / _PROJECT
    if not path.is_file():
        return None
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        scripts = list(found.get("project", {}).get("scripts", {}))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise InvalidInput(f"the project's {_PROJECT} cannot be read: {error}") from None
    return str(scripts[0]) if len(scripts) == 1 and "/" not in scripts[0] else None


def make_venv(
    project: Path, venv: Path, final: Path, *, environment: Mapping[str, str], timeout_s: float, python: str = ""
) -> None:
    """Make the virtual environment `venv`, which will be moved to `final`, and install what `project` needs.

    Raises `InvalidInput` with the last of what the installer said.
    """
    run_command(
        [python or sys.executable, "-m", "venv", str(venv)],
        what="making the project's virtual environment",
        folder=project,
        environment=environment,
        timeout_s=timeout_s,
    )
    run_command(
        [str(venv / "bin" / "python"), "-m", "pip", "install", "--no-compile", "--no-input", *_wanted(project)],
        what="installing what the project needs",
        folder=project,
        environment=environment,
        timeout_s=timeout_s,
    )
    _tell_final_path(venv, final)
    with contextlib.suppress(InvalidInput):  # what does not compile, such as an example of bad code, is not needed yet
        run_command(
            [
                str(venv / "bin" / "python"),
                "-m",
                "compileall",
                "-q",
                "-s",
                str(venv),
                "-p",
                str(final),
                str(venv / "lib"),
            ],
            what="compiling what the project needs",
            folder=project,
            environment=environment,
            timeout_s=timeout_s,
        )


def _wanted(project: Path) -> list[str]:
    wheels = ["--find-links", str(project / _WHEELS)] if (project / _WHEELS).is_dir() else []
    requirements = ["--requirement", _REQUIREMENTS] if (project / _REQUIREMENTS).is_file() else []
    itself = [str(project)] if (project / _PROJECT).is_file() else []
    return [*wheels, *requirements, *itself]


def _tell_final_path(venv: Path, final: Path) -> None:
    """Replace the path of a virtual environment in its own scripts."""
    for path in [*(venv / "bin").iterdir(), venv / "pyvenv.cfg"]:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _TEXT_MAX_BYTES:
            continue
        before = path.read_bytes()
        after = before.replace(bytes(venv), bytes(final))
        if after != before and b"\0" not in before:
            path.write_bytes(after)
