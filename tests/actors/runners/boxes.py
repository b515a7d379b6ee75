"""A hall whose programs run in containers: scripts for the shell of a file system that holds nothing but busybox."""

import shutil
import subprocess
import sys
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import msgspec

import runtara
from runtara.actors.runners import Attempt, Plan, PlannedImage, Prepared
from runtara.actors.runners._command import Command
from runtara.actors.runners._run_folder import Marker, RunFolder
from runtara.actors.runners.native import NativeEngine
from runtara.ids import InstanceKey
from runtara.records import ImageOptions
from tests.actors.runners.hall import KEY, Hall, processes_of
from tests.requirements import require

__all__ = ["BoxHall", "add_packages", "add_python", "make_rootfs"]


class _Recorded(NativeEngine):
    """An engine that remembers the control groups of what it has launched."""

    def __init__(self, hall: "BoxHall") -> None:
        super().__init__(hall.settings, {}, lambda _: hall.prepared)
        self.cgroups: list[str] = []

    def _spec(self, marker: Marker, folder: RunFolder, command: Command) -> bytes:
        self.cgroups.append(marker.cgroup or "")
        return super()._spec(marker, folder, command)


class BoxHall(Hall):
    """An engine that launches containers."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        require("runc", "containers are run by it")
        self.rootfs = settings.pop("rootfs", folder / "rootfs")
        if not self.rootfs.exists():
            make_rootfs(self.rootfs)
        self.prepared = Prepared(kind="rootfs", path=self.rootfs, env={"PATH": "/bin:/usr/python/bin"})
        super().__init__(folder, **settings)

    def make_engine(self) -> NativeEngine:
        """An engine of this folder, whose only image is the root file system."""
        return _Recorded(self)

    def plan(self, program: str, **more: Any) -> Plan:
        """What it takes to launch a script, for Python where its name says so; `options` are those of its image."""
        shell = ("python3", "-c") if more.pop("name", "").endswith(".py") else ("/bin/sh", "-c")
        options = ImageOptions(**{"command": (*shell, program)} | more.pop("options", {}))
        image = PlannedImage(digest="0" * 64, kind="rootfs", options=options)
        plain: dict[str, Any] = {"key": KEY, "epoch": 1, "program": "a script", "image": image}
        return Plan(**plain | more)

    async def launch(self, text: str, name: str = "program", **plan: Any) -> Attempt:
        """Launch a script."""
        return await self.engine.launch(self.plan(text, name=name, **plan))

    def outside(self, pid: int) -> int:
        """The number that a process of the only container has here."""
        return self.inside()[pid]

    def groups(self) -> list[Path]:
        """The control groups that are left of containers that this hall has launched, in every tree."""
        assert isinstance(self.engine, _Recorded)
        names = [name.lstrip("/") for name in self.engine.cgroups if name]
        return [
            path for name in names for depth in ("", "*/") for path in Path("/sys/fs/cgroup").glob(f"{depth}{name}")
        ]

    def inside(self, key: InstanceKey = KEY) -> dict[int, int]:
        """The processes of a container: their number in it, and here."""
        return processes_of(Path(f"/proc/{self.shim(key).program}/ns/pid").readlink().name)


def make_rootfs(folder: Path) -> None:
    """Make a root file system with a shell, and with what a shell is good for."""
    busybox = require("busybox", "it is all that the containers of the tests hold")
    if subprocess.run(["ldd", busybox], capture_output=True, check=False).returncode == 0:
        require("busybox-static", "busybox must need no libraries: it is alone in its container")
    (folder / "bin").mkdir(parents=True)
    shutil.copy(busybox, folder / "bin" / "busybox")
    names = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        if name != "busybox":
            (folder / "bin" / name).symlink_to("busybox")
    folder.chmod(0o755)


_LEFT_OUT = {
    "site-packages",
    "test",
    "idlelib",
    "tkinter",
    "ensurepip",
    "lib2to3",
    "config-3.11-x86_64-linux-gnu",
}
_NEEDED = """
    _cffi_backend* aioquic attr attrs certifi cffi cryptography cryptography-* idna itsdangerous msgspec outcome
    pylsqpack pykka psycopg* service_identity sniffio sortedcontainers trio typing_extensions.py OpenSSL pyopenssl-*
"""


def add_python(folder: Path) -> None:
    """Add this Python, what the SDK needs, and the SDK. Files are linked where that can be done: nothing is copied."""
    home, here = folder / "usr" / "python", Path(sys.base_prefix)
    standard = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}"
    program = Path(sys.executable).resolve()
    _link(program, home / "bin" / "python3")
    _link_all(here / standard, home / standard, leave=_LEFT_OUT)
    add_packages(home / standard)  # where every Python looks; some distributions' own have no site-packages
    for binary in (program, *home.rglob("*.so")):
        for library in _libraries_of(binary):
            _link(library.resolve(), folder / str(library).lstrip("/"))


def add_packages(folder: Path) -> None:
    """Add runtara, and what it needs of other packages."""
    packages = Path(msgspec.__file__).parents[1]
    for pattern in _NEEDED.split():
        for found in packages.glob(pattern):
            _link_all(found, folder / found.name)
    _link_all(Path(runtara.__file__).parent, folder / "runtara")


def _libraries_of(binary: Path) -> list[Path]:
    said = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False).stdout
    return [
        Path(word) for line in said.splitlines() for word in line.split() if word.startswith("/") and ":" not in word
    ]


def _link_all(source: Path, target: Path, leave: AbstractSet[str] = frozenset()) -> None:
    if source.is_file():
        _link(source, target)
        return
    for found in source.iterdir():
        if found.name not in leave and not found.name.startswith("libpython"):
            _link_all(found, target / found.name)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        try:
            target.hardlink_to(source)
        except OSError:
            shutil.copy(source, target)
