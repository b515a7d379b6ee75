"""A file of the wrong kind is refused when it is pushed, with the kinds that there are."""

import gzip
import zipfile
from pathlib import Path
from typing import get_args

import pytest

from runtara.errors import InvalidInput
from runtara.images._kinds import check_kind, is_zip
from runtara.images._limits import ExtractLimits
from runtara.records import ImageKind
from tests.images.archives import END, file, tar

ELF = b"\x7fELF\x02\x01\x01" + bytes(100)
SCRIPT = b"#!/bin/sh\necho hello\n"
PYTHON = "import runtara\nprint('ö')\n".encode()
TAR = tar(file(b"main.py", b"x"))
WASM = b"\0asm\x01\0\0\0more"

FITS: dict[ImageKind, list[bytes]] = {
    "executable": [ELF, SCRIPT],
    "python": [PYTHON, SCRIPT],
    "folder": [TAR, gzip.compress(TAR)],
    "rootfs": [TAR, gzip.compress(TAR)],
    "oci": [TAR, gzip.compress(TAR)],
    "wasm": [WASM],
}
ALL = {
    "elf": ELF,
    "script": SCRIPT,
    "python": PYTHON,
    "tar": TAR,
    "tgz": gzip.compress(TAR),
    "wasm": WASM,
    "": b"",
    "end": END,
}


@pytest.mark.parametrize("kind", get_args(ImageKind))
@pytest.mark.parametrize("content", ALL.values(), ids=ALL)
def test_a_file_is_taken_for_what_it_can_be(kind: ImageKind, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "pushed"
    path.write_bytes(content)

    if content in FITS[kind]:
        check_kind(path, kind, ExtractLimits())
    else:
        with pytest.raises(
            InvalidInput, match=f"no image of the kind {kind}: .*executable, python, folder, rootfs, oci"
        ):
            check_kind(path, kind, ExtractLimits())


def test_a_zip_archive_with_a_line_in_front_is_python(tmp_path: Path) -> None:
    path = tmp_path / "app.pyz"
    with path.open("wb") as opened:
        opened.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(opened, "w") as archive:
            archive.writestr("__main__.py", "print('hello')")

    check_kind(path, "python", ExtractLimits())

    assert is_zip(path)


def test_long_python_text_is_not_cut_inside_of_a_letter(tmp_path: Path) -> None:
    path = tmp_path / "app.py"
    path.write_text("x = 'ö'\n" * 20_000, encoding="utf-8")

    check_kind(path, "python", ExtractLimits())
