"""The source tree as data: what the tests of the house walk over."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = [
    "PACKAGE",
    "ROOT",
    "dotted_uses",
    "environment",
    "modules",
    "parse",
    "run_python",
    "squash",
    "tracked",
    "unpack",
]

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "runtara"
_NEVER_TRACKED = {".git", ".venv", ".hypothesis", ".data", ".coverage", "__pycache__", "build", "dist"}


def modules(folder: Path = PACKAGE) -> list[str]:
    """Every Python file under `folder`, as a path from the root."""
    return sorted(path.relative_to(ROOT).as_posix() for path in folder.rglob("*.py"))


@cache
def parse(module: str) -> ast.Module:
    """The syntax tree of a module given by its path from the root."""
    return ast.parse((ROOT / module).read_text(encoding="utf-8"), module)


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that is, or would be, under version control."""
    if shutil.which("git") and (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        found = (ROOT / name for name in names.split("\0") if name)
    else:
        found = (path for path in ROOT.rglob("*") if not _is_made(path))
    return tuple(sorted(path for path in found if path.is_file()))


def _is_made(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return any(part in _NEVER_TRACKED or part.endswith((".egg-info", "_cache")) for part in parts)


def dotted_uses(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every imported name that the module uses, in full (``time.time_ns``), with its line, whatever it is called."""
    full: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
                full[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno
                full[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (parts := unpack(node)) and parts[0] in full:
            yield ".".join([full[parts[0]], *parts[1:]]), node.lineno


def unpack(node: ast.expr) -> list[str]:
    """``a.b.c`` as its parts; nothing for an expression that does not begin with a name."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (parts := unpack(node.value)):
        return [*parts, node.attr]
    return []


def run_python(*arguments: str, cwd: Path, timeout: float = 60, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a user would; `more` are variables of the environment."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment() | more, capture_output=True, encoding="utf-8", timeout=timeout, check=False
    )


def environment() -> dict[str, str]:
    """Our environment as a user would have it: without our settings and contexts, every warning being an error."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNTARA_", "PYTEST_", "COV_"))}
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    kept["XDG_CONFIG_HOME"] = "/nonexistent"
    ours = {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8", "COLUMNS": "100"}
    patient = {"RUNTARA_CONNECT_TIMEOUT_MS": "30000"}  # a person types the command again; here the machine may be busy
    return kept | ours | patient


def squash(expected: str) -> re.Pattern[str]:
    """A pattern for text that may hold ``...`` where anything may stand, over several lines if on a line of its own."""
    lines = expected.strip().splitlines()
    patterns = ["(?s:.*)" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") for line in lines]
    return re.compile(r"\n".join(patterns))
