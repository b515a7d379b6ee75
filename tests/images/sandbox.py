"""A folder that is watched: whatever is unpacked into it, nothing around it may change by a single byte."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from runtara.errors import InvalidInput, TooLarge
from runtara.images import ExtractLimits, Rules, extract

__all__ = ["Sandbox", "listed", "small_limits"]

_MODES = {0o644, 0o755}


def small_limits(**more: int) -> ExtractLimits:
    return ExtractLimits(**{"members": 200, "total_bytes": 1024 * 1024, **more})


class Sandbox:
    """A tree of canaries with the place to unpack into in its middle, ``around/inner/target``."""

    def __init__(self, folder: Path) -> None:
        self.around = folder / "around"
        self.target = self.around / "inner" / "target"
        self.target.parent.mkdir(parents=True)
        for name in ("secret", "inner/secret", "etc/passwd", "inner/tree/canary"):
            path = self.around / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"the canary {name}")
            path.chmod(0o600)
        (self.around / "inner" / "way-out").symlink_to("..")
        (self.around / "etc").chmod(0o700)
        self._before = self._seen()

    def unpack(self, content: bytes, rules: Rules, limits: ExtractLimits | None = None) -> bool:
        """Unpack an archive, and see that nothing around was touched; return whether it was accepted."""
        archive = self.around.with_name("archive.tar")
        archive.write_bytes(content)
        try:
            extract(archive, self.target, rules, limits or small_limits())
        except (InvalidInput, TooLarge):
            accepted = False
        else:
            accepted = True
        self.check(rules, accepted=accepted)
        return accepted

    def check(self, rules: Rules, *, accepted: bool) -> None:
        assert self._seen() == self._before, "something outside of the target was changed"
        assert self.target.exists() is accepted, "what was refused has left something, or what was accepted nothing"
        if accepted:
            for path in self.made():
                _check_made(path, self.target, rules)
            assert stat.S_IMODE(self.target.stat().st_mode) == 0o700

    def made(self) -> list[Path]:
        """All that was unpacked, no link followed."""
        return sorted(_walk(self.target))

    def content(self) -> dict[str, bytes | str | None]:
        """What was unpacked: the bytes of files, the targets of links, None for folders."""
        return {str(path.relative_to(self.target)): _content(path) for path in self.made()}

    def clear(self) -> None:
        for path in sorted(_walk(self.target), reverse=True):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()
        if self.target.exists():
            self.target.rmdir()

    def _seen(self) -> dict[str, tuple[object, ...]]:
        seen: dict[str, tuple[object, ...]] = {}
        for path in [self.around, *_walk(self.around, leave=self.target)]:
            found = path.lstat()
            seen[str(path)] = (found.st_mode, found.st_nlink if path.is_file() else 0, found.st_uid, _content(path))
        return seen


def listed(folder: Path) -> list[str]:
    """The names in a folder, in order."""
    return sorted(path.name for path in folder.iterdir())


def _walk(folder: Path, leave: Path | None = None) -> Iterator[Path]:
    if not folder.is_dir() or folder.is_symlink():
        return
    for path in folder.iterdir():
        if path == leave:
            continue
        yield path
        yield from _walk(path, leave)


def _content(path: Path) -> bytes | str | None:
    if path.is_symlink():
        return str(path.readlink())
    return path.read_bytes() if path.is_file() else None


def _check_made(path: Path, root: Path, rules: Rules) -> None:
    found = path.lstat()
    assert stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode), path
    assert found.st_uid == os.getuid()
    assert os.listxattr(path, follow_symlinks=False) == []
    if stat.S_ISLNK(found.st_mode):
        assert rules.links
        _check_link(path, root)
    else:
        assert stat.S_IMODE(found.st_mode) in _MODES, path
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        same = [other for other in _walk(root) if other.lstat().st_ino == found.st_ino]
        assert len(same) == found.st_nlink, "a file has a name outside"


def _check_link(path: Path, root: Path) -> None:
    target = str(path.readlink())
    start = "/" if target.startswith("/") else "/" + str(path.parent.relative_to(root))
    depth = len([part for part in start.split("/") if part not in ("", ".")])
    for part in target.split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        assert depth >= 0, f"{path} leads out: {target}"
