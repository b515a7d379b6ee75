"""An archive is unpacked wholly or not at all, and whatever it holds, nothing outside of its folder is touched."""

import bz2
import gzip
import lzma
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from runtara.errors import AlreadyExists, InvalidInput, StoreFull, StoreUnavailable, TooLarge
from runtara.images import ExtractLimits, Rules, _members, _tree, extract
from tests.images import archives
from tests.images.archives import END, entry, file, folder, global_header, hardlink, long_name, pax, symlink, tar
from tests.images.sandbox import Sandbox, listed, small_limits


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


def test_files_folders_and_links_are_made_with_plain_modes(sandbox: Sandbox) -> None:
    members = [
        folder(b"bin", 0o7777),
        file(b"./bin/app", b"run", 0o4711),
        file(b"etc/app.conf", b"a=b", 0o666),
        symlink(b"bin/sh", b"/bin/app"),
        symlink(b"etc/up", b"../bin"),
        hardlink(b"bin/again", b"bin/app"),
    ]

    assert sandbox.unpack(tar(*members), Rules.ROOTFS)

    assert sandbox.content() == {
        "bin": None,
        "bin/again": b"run",
        "bin/app": b"run",
        "bin/sh": "/bin/app",
        "dev": None,
        "etc": None,
        "etc/app.conf": b"a=b",
        "etc/up": "../bin",
        "proc": None,
        "sys": None,
    }
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in sandbox.made() if not path.is_symlink()}
    assert (modes["app"], modes["app.conf"], modes["bin"]) == (0o755, 0o644, 0o755)
    assert (sandbox.target / "bin/app").stat().st_nlink == 2


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["", "gzip", "bzip2", "xz"])
def test_archives_are_read_however_they_are_packed(pack: Callable[[bytes], bytes], sandbox: Sandbox) -> None:
    assert sandbox.unpack(pack(tar(file(b"a", b"b" * 70_000))), Rules.FOLDER)

    assert sandbox.content() == {"a": b"b" * 70_000}


def test_what_was_held_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar(folder(b"a"), file(b"a/b", b"123"), file(b"c", b"4567")))

    done = extract(tmp_path / "a.tar", tmp_path / "a", Rules.FOLDER, ExtractLimits())

    assert (done.members, done.bytes) == (3, 7)


def test_the_time_of_a_file_is_kept(sandbox: Sandbox) -> None:
    sandbox.unpack(tar(entry(b"a", data=b"x", modified_at=1_000_000_000)), Rules.ROOTFS)

    assert (sandbox.target / "a").stat().st_mtime == 1_000_000_000


REFUSED: dict[str, tuple[bytes, ...]] = {
    "an absolute name": (file(b"/etc/passwd", b"x"),),
    "a name that leads out": (file(b"../secret", b"x"),),
    "a name that leads out later": (file(b"a/../../secret", b"x"),),
    "a name that is only dots": (folder(b".."),),
    "a link that is written through": (symlink(b"a", b"b"), file(b"a/x", b"x")),
    "a link out that is written through": (symlink(b"a", b"../.."), file(b"a/secret", b"x")),
    "an absolute link that is written through": (symlink(b"a", b"/etc"), file(b"a/passwd", b"x")),
    "a link that is made a folder": (symlink(b"a", b"b"), folder(b"a")),
    "a chain of links": (symlink(b"a", b"."), symlink(b"b", b"a/.."), symlink(b"c", b"b/.."), file(b"c/secret", b"x")),
    "a link that is a folder in the middle": (folder(b"a"), symlink(b"a/b", b".."), file(b"a/b/c", b"x")),
    "a hard link out": (hardlink(b"a", b"../secret"),),
    "an absolute hard link": (hardlink(b"a", b"/etc/passwd"),),
    "a hard link to what is not there": (hardlink(b"a", b"b"),),
    "a hard link to what comes later": (hardlink(b"a", b"b"), file(b"b", b"x")),
    "a hard link to a link": (symlink(b"a", b"/etc/passwd"), hardlink(b"b", b"a")),
    "a hard link through a link": (file(b"d/a", b"x"), symlink(b"l", b"d"), hardlink(b"b", b"l/a")),
    "a hard link to a folder": (folder(b"a"), hardlink(b"b", b"a")),
    "a hard link to itself": (file(b"a", b"x"), hardlink(b"a", b"a")),
    "a hard link to the root": (hardlink(b"a", b"."),),
    "a link that leads above the root": (symlink(b"a", b".."),),
    "a link that leads above the root in its middle": (symlink(b"d/a", b"../../d/b"),),
    "an absolute link above the root": (symlink(b"a", b"/.."),),
    "a link to nothing": (symlink(b"a", b""),),
    "a character device": (entry(b"a", b"3"),),
    "a block device": (entry(b"a", b"4"),),
    "a FIFO": (entry(b"a", b"6"),),
    "a contiguous file": (entry(b"a", b"7", b"x"),),
    "a sparse file of GNU": (entry(b"a", b"S", magic=b"ustar  \0"),),
    "a sparse file of PAX": (pax(GNU__sparse__major=b"1", GNU__sparse__name=b"a"), file(b"a", b"x")),
    "a volume of several": (entry(b"a", b"M", magic=b"ustar  \0"),),
    "an unknown type": (entry(b"a", b"z"),),
    "a name that PAX makes absolute": (pax(path=b"/etc/passwd"), file(b"a", b"x")),
    "a name that PAX makes lead out": (pax(path=b"../secret"), file(b"a", b"x")),
    "a target that PAX makes lead out": (pax(linkpath=b"../../etc"), symlink(b"a", b"b")),
    "a hard link that PAX makes lead out": (file(b"b", b"x"), pax(linkpath=b"../secret"), hardlink(b"a", b"b")),
    "a name with a NUL from PAX": (pax(path=b"a\0b"), file(b"a", b"x")),
    "an empty name from PAX": (pax(path=b""), file(b"a", b"x")),
    "a size that PAX makes huge": (pax(size=b"999999999999"), file(b"a", b"x")),
    "a size that PAX makes negative": (pax(size=b"-1"), file(b"a", b"x")),
    "names for all from PAX": (global_header(path=b"../secret"), file(b"a", b"x")),
    "an unknown character set": (pax(hdrcharset=b"KOI8"), file(b"a", b"x")),
    "two headers for one member": (pax(path=b"a"), pax(path=b"../secret"), file(b"a", b"x")),
    "long names of two kinds": (pax(path=b"a"), long_name(b"../secret"), file(b"a", b"x")),
    "a long name that leads out": (long_name(b"a/" * 60 + b"../" * 61 + b"secret"), file(b"a", b"x")),
    "a long target that leads out": (long_name(b"../" * 40 + b"etc", b"K"), symlink(b"a", b"b")),
    "a long name for nothing": (long_name(b"a"),),
    "a header of the wrong kind of tar": (entry(b"a", data=b"x", magic=b"ustar\x0099"),),
    "a header of GNU with a prefix": (entry(b"a", data=b"x", magic=b"ustar  \0", prefix=b"b"),),
    "a prefix that leads out": (entry(b"secret", data=b"x", prefix=b".."),),
    "a file for a folder": (folder(b"a"), file(b"a", b"x")),
    "a link for a folder": (folder(b"a"), symlink(b"a", b"b")),
    "a folder for a file": (file(b"a", b"x"), folder(b"a")),
    "a file below a file": (file(b"a", b"x"), file(b"a/b", b"x")),
    "a file as the root": (file(b".", b"x"),),
    "a link as the root": (symlink(b".", b"/etc"),),
    "a link as the root by a slash": (symlink(b"./", b"/etc"),),
    "a folder with data": (entry(b"a", b"5", b"x" * 512),),
    "a link with data": (entry(b"a", b"2", b"x" * 512, target=b"b"),),
    "a file with the name of a folder": (file(b"a/", b"x"),),
    "a control character": (file(b"a\nb", b"x"),),
    "a control character beyond ASCII": (file("a\x85b".encode(), b"x"),),
    "a long part": (pax(path=b"a" * 256), file(b"a", b"x")),
    "a long name": (pax(path=b"a/" * 2048 + b"a"), file(b"a", b"x")),
    "a deep name": (pax(path=b"a/" * 64 + b"a"), file(b"a", b"x")),
    "no name": (file(b"", b"x"),),
    "a huge size": (entry(b"a", size=0o77777777777),),
    "more members than allowed": tuple(file(b"%d" % number) for number in range(201)),
    "more folders than allowed": tuple(file(b"%d/" % number * 30 + b"x") for number in range(7)),
}


@pytest.mark.parametrize("rules", [Rules.ROOTFS, Rules.FOLDER, Rules.BUNDLE], ids=lambda rules: rules.word)
@pytest.mark.parametrize("members", REFUSED.values(), ids=REFUSED)
def test_what_is_hostile_is_refused_and_leaves_nothing(
    members: tuple[bytes, ...], rules: Rules, sandbox: Sandbox
) -> None:
    assert not sandbox.unpack(tar(file(b"first", b"x"), *members), rules)


def test_a_negative_size_is_refused(sandbox: Sandbox) -> None:
    block = bytearray(entry(b"a"))
    block[124:136] = b"\xff" * 12
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)

    assert not sandbox.unpack(bytes(block) + END, Rules.ROOTFS)


@pytest.mark.parametrize("links", [symlink(b"a", b"b"), file(b"b", b"x") + hardlink(b"a", b"b")], ids=["soft", "hard"])
def test_a_project_has_no_links(links: bytes, sandbox: Sandbox) -> None:
    assert not sandbox.unpack(tar(links), Rules.FOLDER)


def test_a_name_that_is_no_text_is_kept_in_a_root_file_system_only(sandbox: Sandbox) -> None:
    odd = tar(file(b"caf\xe9", b"x"))

    assert not sandbox.unpack(odd, Rules.FOLDER)
    assert sandbox.unpack(odd, Rules.ROOTFS)
    assert b"caf\xe9" in map(os.fsencode, listed(sandbox.target))


def test_the_system_folders_of_a_root_file_system_are_empty(sandbox: Sandbox) -> None:
    members = [entry(b"dev/null", b"3"), symlink(b"proc", b"/etc"), file(b"sys/kernel/x", b"x"), file(b"device", b"x")]

    assert sandbox.unpack(tar(*members), Rules.ROOTFS)

    assert sandbox.content() == {"dev": None, "device": b"x", "proc": None, "sys": None}


def test_a_later_file_replaces_an_earlier_one_and_not_what_that_is_linked_to(sandbox: Sandbox) -> None:
    members = [
        file(b"a", b"old"),
        hardlink(b"b", b"a"),
        file(b"a", b"new"),
        symlink(b"l", b"b"),
        file(b"l", b"no link any more"),
        file(b"k", b"x"),
        symlink(b"k", b"a"),
        folder(b"d"),
        folder(b"d"),
    ]

    assert sandbox.unpack(tar(*members), Rules.BUNDLE)

    assert sandbox.content() == {"a": b"new", "b": b"old", "d": None, "k": "a", "l": b"no link any more"}


def test_a_bomb_is_refused_before_it_fills_the_disk(sandbox: Sandbox) -> None:
    bomb = gzip.compress(tar(file(b"a", bytes(64 * 1024 * 1024))))

    assert not sandbox.unpack(bomb, Rules.FOLDER, ExtractLimits())
    with pytest.raises(TooLarge, match="200 times"):
        extract(sandbox.around.with_name("archive.tar"), sandbox.target, Rules.FOLDER, ExtractLimits())


@pytest.mark.parametrize("packed", [False, True])
def test_an_archive_that_was_cut_off_anywhere_is_refused(packed: bool, sandbox: Sandbox) -> None:
    whole = tar(file(b"a", b"x" * 700), file(b"b", b"y"))
    whole = gzip.compress(whole, mtime=0) if packed else whole

    accepted = [cut for cut in range(0, len(whole), 1 if packed else 100) if sandbox.unpack(whole[:cut], Rules.FOLDER)]

    assert accepted == [] if packed else all(cut > len(whole) - 1024 for cut in accepted)


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x7fELF" + bytes(2000), b"\x1f\x8b" + bytes(600)], ids=len)
def test_what_is_no_archive_is_refused(content: bytes, sandbox: Sandbox) -> None:
    assert not sandbox.unpack(content, Rules.FOLDER)


def test_nothing_is_unpacked_over_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar(file(b"a", b"x")))
    (tmp_path / "a").mkdir()

    with pytest.raises(AlreadyExists, match="is there already"):
        extract(tmp_path / "a.tar", tmp_path / "a", Rules.FOLDER, ExtractLimits())


def test_an_archive_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"a\.tar cannot be unpacked"):
        extract(tmp_path / "a.tar", tmp_path / "a", Rules.FOLDER, ExtractLimits())


def test_an_error_says_which_member_and_what_to_try(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar(entry(b"a\x1b[31m", b"6")))

    with pytest.raises(InvalidInput, match=r"'a\\x1b\[31m' has control characters in its name: rename it"):
        extract(tmp_path / "a.tar", tmp_path / "a", Rules.ROOTFS, ExtractLimits())


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extractor with a bug: it follows links."""
    monkeypatch.setattr(_tree, "_NO_LINK", 0)
    monkeypatch.setattr(_members.Ledger, "_enter", lambda *_: None)
    monkeypatch.setattr(_members, "check_target", lambda *_: ())


@pytest.mark.usefixtures("careless")
@pytest.mark.parametrize("target", [b"../..", b"../../etc"])
def test_an_extractor_that_follows_links_would_be_found_out(target: bytes, sandbox: Sandbox) -> None:
    with pytest.raises(AssertionError, match="outside of the target was changed"):
        sandbox.unpack(tar(symlink(b"a", b"../" + target), file(b"a/secret", b"x")), Rules.ROOTFS)


def test_either_of_the_two_guards_alone_keeps_it_inside(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = tar(symlink(b"a", b"../../.."), file(b"a/secret", b"x"))
    monkeypatch.setattr(_members, "check_target", lambda *_: ())
    monkeypatch.setattr(_members.Ledger, "_enter", lambda *_: None)

    assert not sandbox.unpack(evil, Rules.ROOTFS)


def test_a_full_disk_leaves_nothing_and_succeeds_once_there_is_room(small_disk: Path) -> None:
    archive = small_disk.parent / "a.tar"
    archive.write_bytes(archives.plain_tar({"a": b"a" * 600_000, "b": b"b" * 600_000}))
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_000_000))

    with pytest.raises(StoreFull, match="make room"):
        extract(archive, small_disk / "made", Rules.FOLDER, ExtractLimits())
    left = listed(small_disk)
    ballast.unlink()
    extract(archive, small_disk / "made", Rules.FOLDER, small_limits(total_bytes=2_000_000))

    assert left == ["ballast"]
    assert (small_disk / "made" / "b").stat().st_size == 600_000
