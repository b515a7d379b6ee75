"""What can be pushed, and as what; how a folder becomes one file."""

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from runtara.errors import InvalidInput
from runtara.images import Blobs, Library
from runtara.images.pack import LEFT_OUT, kind_of, pack_folder
from runtara.records import ImageOptions


def zip_of(**files: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return made.getvalue()


def tar_of(files: dict[str, bytes], mode: str = "w") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:  # type: ignore[call-overload]  # a mode of three
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def packed(folder: Path) -> bytes:
    made = io.BytesIO()
    pack_folder(folder, made)
    return made.getvalue()


ROOTFS = {"bin/sh": b"", "etc/passwd": b""}
KINDS = {
    "python-text": ("job.py", b"print()", "python"),
    "python-zip": ("job.pyz", zip_of(a=""), "python"),
    "zip": ("job", zip_of(a=""), "python"),
    "zip-with-a-shebang": ("job", b"#!/usr/bin/env python3\n" + zip_of(a=""), "python"),
    "script": ("job", b"#!/bin/sh\n", "executable"),
    "elf": ("job", b"\x7fELF\x02\x01", "executable"),
    "elf-with-a-zip": ("job", b"\x7fELF" + zip_of(a=""), "executable"),
    "wasm": ("job.wasm", b"\0asm\x01\0\0\0", "wasm"),
    "rootfs": ("root.tar", tar_of(ROOTFS), "rootfs"),
    "rootfs-gz": ("root", tar_of(ROOTFS, "w:gz"), "rootfs"),
    "rootfs-xz": ("root", tar_of(ROOTFS, "w:xz"), "rootfs"),
    "rootfs-that-ends-with-a-zip": ("root", tar_of({**ROOTFS, "lib/job.jar": zip_of(a="")}), "rootfs"),
    "rootfs-with-an-index-deep-in-it": ("root", tar_of({"srv/index.json": b""}), "rootfs"),
    "oci-layout": ("a.tar", tar_of({"oci-layout": b"", "index.json": b""}), "oci"),
    "oci-layout-with-dots": ("a.tar", tar_of({"./oci-layout": b""}), "oci"),
    "docker-save": ("a.tar", tar_of({"manifest.json": b""}, "w:gz"), "oci"),
}


@pytest.mark.parametrize(("name", "content", "kind"), KINDS.values(), ids=KINDS)
def test_a_file_is_known_by_its_name_or_its_beginning(name: str, content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)

    assert kind_of(tmp_path / name) == kind


def test_a_folder_is_one_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "a.py").mkdir()

    assert kind_of(tmp_path / "a.py") == "folder"


@pytest.mark.parametrize("content", [b"", b"#", b"hello", b"PK", bytes(1024), bytes(range(1, 255))])
def test_what_is_nothing_of_what_there_is_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "job").write_bytes(content)

    if content == bytes(1024):  # the end of a tar and nothing before it: an empty archive
        assert kind_of(tmp_path / "job") == "rootfs"
        return
    with pytest.raises(InvalidInput, match=r"job is no folder, script, zip"):
        kind_of(tmp_path / "job")


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_an_archive_that_is_cut_off_is_refused(mode: str, tmp_path: Path) -> None:
    whole = tar_of({"a": os.urandom(2_000_000), "b": b""}, mode)
    (tmp_path / "a").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(InvalidInput, match="damaged or incomplete"):
        kind_of(tmp_path / "a")


def test_what_is_not_there_or_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read: No such file"):
        kind_of(tmp_path / "missing")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InvalidInput, match="cannot be read"):
        kind_of(tmp_path / "loop")


# Folders --------------------------------------------------------------------------------------------------------------


def project(folder: Path, *, backwards: bool = False) -> Path:
    files = {"main.py": "print('hello')", "lib/__init__.py": "", "lib/deep/a.txt": "a", "ü/ß": "b", "x" * 120: "c"}
    for name, text in sorted(files.items(), reverse=backwards):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "empty").mkdir()
    (folder / "run").write_text("#!/bin/sh\n")
    (folder / "run").chmod(0o750)
    return folder


def test_the_same_content_is_the_same_file_whenever_and_in_whatever_order_it_was_written(tmp_path: Path) -> None:
    one, two = project(tmp_path / "one"), project(tmp_path / "two", backwards=True)
    for path in two.rglob("*"):
        os.utime(path, (1, 1))
    (two / "main.py").chmod(0o600)

    assert packed(one) == packed(two)

    (two / "main.py").chmod(0o700)
    assert packed(one) != packed(two)


def test_what_can_be_made_again_is_left_out(tmp_path: Path) -> None:
    plain = packed(project(tmp_path))
    for name in LEFT_OUT:
        (tmp_path / "lib" / name).mkdir()
        (tmp_path / "lib" / name / "thing").write_text("")

    assert packed(tmp_path) == plain


@pytest.mark.parametrize("target", ["main.py", "/etc/passwd", "missing", "lib"])
def test_links_are_refused(target: str, tmp_path: Path) -> None:
    (project(tmp_path) / "link").symlink_to(target)

    with pytest.raises(InvalidInput, match="link is a link or no plain file"):
        packed(tmp_path)


def test_what_is_neither_file_nor_folder_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(InvalidInput, match="pipe is a link or no plain file"):
        packed(tmp_path)


def test_a_packed_folder_is_unpacked_as_what_it_was(tmp_path: Path) -> None:
    content = packed(project(tmp_path / "project"))
    digest, library = hashlib.sha256(content).hexdigest(), Library(Blobs(tmp_path / "images", 10**6), environment={})
    upload_id = "0" * 32
    library.blobs.open_upload(upload_id)
    library.blobs.write(upload_id, 0, content)
    library.check(library.blobs.finish(upload_id, digest, len(content)), "folder")

    prepared = library.prepare(digest, "folder", ImageOptions())

    made = {path.relative_to(prepared.path): path for path in prepared.path.rglob("*")}
    meant = {path.relative_to(tmp_path / "project"): path for path in (tmp_path / "project").rglob("*")}
    assert made.keys() == meant.keys()
    assert all(made[name].read_bytes() == path.read_bytes() for name, path in meant.items() if path.is_file())
    assert os.access(prepared.path / "run", os.X_OK)
    assert prepared.kind == "folder"
