"""What a file plainly is, seen from its first bytes: so that a push of the wrong kind is refused at once."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, get_args

from runtara.errors import InvalidInput
from runtara.images._limits import ExtractLimits
from runtara.images._source import open_source
from runtara.images._tar import TarReader
from runtara.records import ImageKind

__all__ = ["check_kind", "is_zip"]

_START: Final = 64 * 1024
"""How much of a file is looked at."""


def check_kind(path: Path, kind: ImageKind, limits: ExtractLimits) -> None:
    """See to it that a file may be of a kind. Raises `InvalidInput` where it plainly is not, and `OSError`."""
    with path.open("rb") as file:
        start = file.read(_START)
    wrong = _CHECKS[kind](path, start, limits)
    if wrong:
        kinds = ", ".join(get_args(ImageKind))
        raise InvalidInput(f"this is no image of the kind {kind}: {wrong}; push it as what it is, one of {kinds}")


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive, perhaps with a line in front that says what runs it."""
    return zipfile.is_zipfile(path)


def _executable(_path: Path, start: bytes, _limits: ExtractLimits) -> str:
    fits = start.startswith((b"\x7fELF", b"#!"))
    return "" if fits else "it is neither an ELF program nor a script that begins with #!"


def _python(path: Path, start: bytes, _limits: ExtractLimits) -> str:
    if is_zip(path):
        return ""
    cut = start if len(start) < _START else start[: start.rfind(b"\n") + 1]
    try:
        fits = "\0" not in cut.decode()
    except UnicodeDecodeError:
        fits = False
    return "" if fits and start.strip() else "it is neither Python text in UTF-8 nor a zip archive"


def _tar(path: Path, _start: bytes, limits: ExtractLimits) -> str:
    try:
        with open_source(path, limits) as source:
            empty = next(iter(TarReader(source)), None) is None
    except InvalidInput as error:
        return str(error)
    return "it is an empty archive" if empty else ""


def _wasm(_path: Path, start: bytes, _limits: ExtractLimits) -> str:
    return "" if start[:8] == b"\0asm\x01\0\0\0" else "it is no WebAssembly module of version 1"


_CHECKS: Final[dict[ImageKind, Callable[[Path, bytes, ExtractLimits], str]]] = {
    "executable": _executable,
    "python": _python,
    "folder": _tar,
    "rootfs": _tar,
    "oci": _tar,
    "wasm": _wasm,
}
"""What is wrong with a file of each kind; nothing, if nothing is."""
