"""Make the root file system of a container without a container builder.

    python rootfs.py ARCHIVE PROGRAM [PACKAGE ...]

The program lies in /packages, with the packages (by default runtara) and all that these require; Python and the shared
libraries lie where they lie here. The same files make the same archive, byte for byte. It is for machines of this kind.
"""

import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

PYTHON = Path(sys.executable).resolve()
LEFT_OUT = re.compile(r"(site|dist)-packages|/(test|idlelib|pydoc_data|config-.*)/|tkinter|\.opt-\d\.pyc$|/\.")


def tree(folder: Path, name: str) -> dict[str, Path]:
    """Return the files of a folder by their names in the archive."""
    found = [path for path in folder.rglob("*") if not LEFT_OUT.search(f"/{path.relative_to(folder)}")]
    return {f"{name}/{path.relative_to(folder)}": path for path in found if path.is_file()}


def required(wanted: list[str]) -> Iterator[Distribution]:
    """Yield what was installed under these names, and all that it requires."""
    found = {"pip", "faker"}  # a program in a container installs nothing, and makes up no data for tests
    while wanted:
        if (name := wanted.pop()) not in found:
            found.add(name)
            try:
                yield (one := distribution(name))
            except PackageNotFoundError:  # it is for other machines
                continue
            wanted += [re.split(r"[^\w.-]", text)[0] for text in one.requires or () if "extra ==" not in text]


def contents(program: Path, packages: list[str]) -> dict[str, Path]:
    """Return all files of the root file system by their names."""
    files = {str(PYTHON): PYTHON, f"/packages/{program.name}": program}
    for path in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib").replace(sys.prefix, sys.base_prefix)}:
        files |= tree(Path(path), path)
    for one in required(list(packages)):
        listed = [file for file in one.files or () if ".." not in file.parts]
        files |= {f"/packages/{file}": Path(str(one.locate_file(file))) for file in listed}
    for spec in filter(None, map(find_spec, packages)):  # which may be installed as links to their sources
        files |= tree(Path(spec.origin or "").parent, f"/packages/{spec.name}")
    native = [str(path) for path in files.values() if ".so" in path.suffixes or path == PYTHON]
    said = subprocess.run(["ldd", *native], capture_output=True, text=True, check=False).stdout
    own = {path.resolve() for path in files.values()}
    return files | {path: Path(path) for path in re.findall(r"(/\S+) \(0x", said) if Path(path).resolve() not in own}


def write(archive: Path, files: dict[str, Path]) -> None:
    """Write the archive: names in order, no owners; times stay, as Python tells by them what it has compiled."""
    with tarfile.open(archive, "w") as tar:
        for name, path in sorted(files.items()):
            member, status = tarfile.TarInfo(name.lstrip("/")), path.stat()
            member.size, member.mtime, member.mode = (
                status.st_size,
                int(status.st_mtime),
                status.st_mode & 0o111 | 0o644,
            )
            with path.open("rb") as file:
                tar.addfile(member, file)
        link = tarfile.TarInfo("bin/python")
        link.type, link.linkname = tarfile.SYMTYPE, str(PYTHON)
        tar.addfile(link)


if __name__ == "__main__":
    made, program, *packages = sys.argv[1:] or ["rootfs.tar", __file__]
    write(Path(made), contents(Path(program), packages or ["runtara"]))
    print(f"{made} holds {Path(program).name} and {PYTHON.name}")

# Output:
# rootfs.tar holds rootfs.py and python3...
