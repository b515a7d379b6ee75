"""From a blob to something that can be started: copied, unpacked, or installed, once for each digest and kind.

What was prepared lies in ``unpacked/<digest>.<kind>``, complete or not there. `Library` owns that folder and the blobs
beside it; it knows nothing of who has pushed an image, and starts nothing. All calls wait, for seconds or minutes:
they belong in a worker thread.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from runtara.decoders import decode_json
from runtara.disk import answer_refusals
from runtara.errors import InvalidInput, NotFound
from runtara.images._garbage import lock_of
from runtara.images._kinds import check_kind, is_zip
from runtara.images._limits import ExtractLimits
from runtara.images._members import Rules
from runtara.images._scratch import hold_lock, remove_left, scratch_folder, settle
from runtara.images._venv import make_venv, needs_venv, script_of
from runtara.images.blobs import Blobs
from runtara.images.extract import extract
from runtara.images.oci import ContainerConfig, unpack
from runtara.records import ImageKind, ImageOptions

__all__ = ["Library", "Prepared"]

_OPEN: Final = 0o755
"""For root file systems: whoever runs in a container is somebody else. The folders around it stay closed."""


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What is started for an image, and how."""

    kind: ImageKind
    path: Path
    """A program, a Python file, a WASI module; the folder of a project, or of a root file system."""
    command: tuple[str, ...] = ()
    """Empty where whoever starts it knows best: for programs, Python files and WASI modules, and for projects that have
    a main.py and no Python of their own."""
    env: dict[str, str] = {}
    working_dir: str = "/"
    """For a project its folder; inside a root file system what the image says."""
    user: str = ""
    """Whom the image wants to be; of a container only."""


class Library:
    """The blobs below a folder, and what was prepared of them. Any call may be made from any thread or process.

    `environment` is what installers are told (see `runtara.settings.building_environment`).
    """

    def __init__(
        self,
        blobs: Blobs,
        *,
        environment: Mapping[str, str],
        limits: ExtractLimits | None = None,
        timeout_s: float = 900,
        python: str = "",
    ) -> None:
        self.blobs: Final = blobs
        self._environment = dict(environment)
        self._limits = limits or ExtractLimits()
        self._timeout_s = timeout_s
        self._python = python
        self._makers: Final[dict[ImageKind, Callable[[Path, Path, Path], None]]] = {
            "executable": self._make_program,
            "python": self._make_python,
            "folder": self._make_project,
            "rootfs": self._make_rootfs,
            "oci": self._make_container,
            "wasm": self._make_module,
        }

    def check(self, path: Path, kind: ImageKind) -> None:
        """Refuse a file that is plainly not of a kind, at little cost. Raises `InvalidInput`."""
        with answer_refusals(f"{path.name} cannot be read"):
            check_kind(path, kind, self._limits)

    def prepare(self, digest: str, kind: ImageKind, options: ImageOptions) -> Prepared:
        """Return how to start a blob; it is unpacked if it is not yet, by exactly one of those who ask at once.

        Raises `NotFound` where there is no such blob, `InvalidInput`, `TooLarge` and `ConfigError` where it cannot be
        prepared, `StoreFull` and `StoreUnavailable`.
        """
        blob = self.blobs.find(digest, touch=True)
        if blob is None:
            raise NotFound(f"there is no blob {digest}: push the image again")
        if kind == "rootfs" and not options.command:
            raise InvalidInput("an image of the kind rootfs does not say what to run: give it a command")
        home = self.blobs.folder / "unpacked" / f"{digest}.{kind}"
        with answer_refusals(f"the image {digest} cannot be prepared"), hold_lock(lock_of(self.blobs.folder, digest)):
            if not home.is_dir():
                self._make(blob, kind, home)
            os.utime(home)  # so that nobody collects it before it is known to be needed
        return _PREPARED[kind](kind, home, options)

    def collect(self, keep: Callable[[str], bool], older_than_s: float, *, dry_run: bool = False) -> list[str]:
        """Remove what nobody needs (see `Blobs.collect`). `keep` must say True of all that runs."""
        return self.blobs.collect(keep, older_than_s, dry_run=dry_run)

    def _make(self, blob: Path, kind: ImageKind, home: Path) -> None:
        remove_left(home)
        check_kind(blob, kind, self._limits)
        with scratch_folder(home) as scratch:
            made = scratch / "made"
            made.mkdir(mode=0o700)
            self._makers[kind](blob, made, home)
            settle(made, home)

    def _make_program(self, blob: Path, made: Path, _home: Path) -> None:
        _copy(blob, made / "program", 0o500)

    def _make_python(self, blob: Path, made: Path, _home: Path) -> None:
        _copy(blob, made / ("program.pyz" if is_zip(blob) else "program.py"), 0o400)

    def _make_module(self, blob: Path, made: Path, _home: Path) -> None:
        _copy(blob, made / "program.wasm", 0o400)

    def _make_rootfs(self, blob: Path, made: Path, _home: Path) -> None:
        extract(blob, made / "rootfs", Rules.ROOTFS, self._limits)
        (made / "rootfs").chmod(_OPEN)

    def _make_container(self, blob: Path, made: Path, _home: Path) -> None:
        config = unpack(blob, made / "rootfs", self._limits, environment=self._environment, timeout_s=self._timeout_s)
        (made / "rootfs").chmod(_OPEN)
        (made / "config.json").write_bytes(msgspec.json.encode(config))

    def _make_project(self, blob: Path, made: Path, home: Path) -> None:
        project = made / "project"
        extract(blob, project, Rules.FOLDER, self._limits)
        if needs_venv(project):
            make_venv(
                project,
                made / "venv",
                home / "venv",
                environment=self._environment,
                timeout_s=self._timeout_s,
                python=self._python,
            )


def _copy(blob: Path, target: Path, mode: int) -> None:
    """Copy a blob: whoever runs the copy may have the right to change it, and the blob stays what it was."""
    with blob.open("rb") as file, target.open("xb") as copy:
        shutil.copyfileobj(file, copy, 1024 * 1024)
    target.chmod(mode)


def _one_file(kind: ImageKind, home: Path, options: ImageOptions) -> Prepared:
    (path,) = home.iterdir()
    return Prepared(kind=kind, path=path, command=options.command, env=options.env)


def _project(kind: ImageKind, home: Path, options: ImageOptions) -> Prepared:
    project, venv = home / "project", home / "venv" / "bin"
    return Prepared(
        kind=kind,
        path=project,
        command=_project_command(project, venv, options.command),
        env=options.env,
        working_dir=str(project),
    )


def _project_command(project: Path, venv: Path, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """What is run of a project: what was asked for, its main.py, or its one program; by its own Python if it can."""
    python = str(venv / "python") if venv.is_dir() else ""
    if wanted:
        own = venv / wanted[0]
        return (str(own), *wanted[1:]) if "/" not in wanted[0] and own.is_file() else wanted
    if (project / "main.py").is_file():
        return (python, str(project / "main.py")) if python else ()
    script = script_of(project)
    if script is None or not (venv / script).is_file():
        raise InvalidInput("the project has neither a main.py nor exactly one program in [project.scripts]: add one")
    return (python, str(venv / script))


def _rootfs(kind: ImageKind, home: Path, options: ImageOptions) -> Prepared:
    return Prepared(kind=kind, path=home / "rootfs", command=options.command, env=options.env)


def _container(kind: ImageKind, home: Path, options: ImageOptions) -> Prepared:
    config = decode_json((home / "config.json").read_bytes(), ContainerConfig)
    command = options.command or config.command
    if not command:
        raise InvalidInput("the image does not say what to run: give it a command")
    return Prepared(
        kind=kind,
        path=home / "rootfs",
        command=command,
        env=config.env | options.env,
        working_dir=config.working_dir,
        user=config.user,
    )


_PREPARED: Final[dict[ImageKind, Callable[[ImageKind, Path, ImageOptions], Prepared]]] = {
    "executable": _one_file,
    "python": _one_file,
    "wasm": _one_file,
    "folder": _project,
    "rootfs": _rootfs,
    "oci": _container,
}
"""How to start what was prepared of each kind."""
