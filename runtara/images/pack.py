"""What a file or folder on the pusher's side is, and how a folder becomes one file: the same one every time."""

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from runtara.errors import InvalidInput
from runtara.records import ImageKind

__all__ = ["LEFT_OUT", "kind_of", "pack_folder"]

LEFT_OUT: Final = frozenset({".git", ".hg", ".venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"})
"""Names of folders that are not packed: they can be made again, and differ each time."""

_OCI_MEMBERS: Final = frozenset({"oci-layout", "index.json", "manifest.json"})
_MAGIC: Final[tuple[tuple[bytes, ImageKind], ...]] = (
    (b"\0asm", "wasm"),
    (b"\x7fELF", "executable"),
)
_BROKEN: Final = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)
"""What an archive is refused with that ends too early, or is garbled behind its beginning."""


def kind_of(path: Path) -> ImageKind:
    """Return what a file or folder can be pushed as. Raises `InvalidInput` where it is nothing of what there is."""
    try:
        kind = _look_at(path)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from None
    except _BROKEN as error:
        raise InvalidInput(f"{path} is an archive that is damaged or incomplete: {error}") from None
    if kind is None:
        raise InvalidInput(
            f"{path} is no folder, script, zip, ELF file, WASI module or tar: push one of these, or say "
            "which kind it is"
        )
    return kind


def _look_at(path: Path) -> ImageKind | None:
    if path.is_dir():
        return "folder"
    if path.suffix in (".py", ".pyz"):
        return "python"
    with path.open("rb") as file:
        start = file.read(4)
    for magic, kind in _MAGIC:
        if start.startswith(magic):
            return kind
    if tarfile.is_tarfile(path):  # before zips, which are known by their end: that of a tar may be one
        return _kind_of_tar(path)
    if zipfile.is_zipfile(path):
        return "python"
    return "executable" if start.startswith(b"#!") else None


def _kind_of_tar(path: Path) -> ImageKind:
    with tarfile.open(path) as archive:
        names = {member.name.removeprefix("./") for member in archive if "/" not in member.name.removeprefix("./")}
    return "oci" if names & _OCI_MEMBERS else "rootfs"


def pack_folder(folder: Path, file: BinaryIO) -> None:
    """Write a tar of a folder: names in order, no owners, no times, so that the same content is the same file.

    Raises `InvalidInput` for links and for what is neither file nor folder, and `OSError`.
    """
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in _members(folder):
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())
            if path.is_dir():
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
                continue
            status = path.stat()
            member.size, member.mode = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644
            with path.open("rb") as content:
                archive.addfile(member, content)


def _members(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in LEFT_OUT:
            continue
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise InvalidInput(
                f"{path} is a link or no plain file, which a folder cannot be pushed with: copy it there"
            )
        yield path
        if path.is_dir():
            yield from _members(path)
