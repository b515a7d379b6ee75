"""Removes blobs that nobody needs, what was unpacked of them, and what was never finished."""

from collections.abc import Callable, Iterator
from pathlib import Path

from runtara.ids import new_id
from runtara.images._scratch import NEW, hold_lock, remove_tree

__all__ = ["Garbage", "lock_of"]


def lock_of(folder: Path, digest: str) -> Path:
    """The lock of who unpacks a blob, or removes what was unpacked; some unrelated blobs share one."""
    return folder / "locks" / f"unpacked-{digest[:3]}"


class Garbage:
    """What lies below a folder and was last touched before `before`, in seconds since 1970."""

    def __init__(self, folder: Path, before: float, *, dry_run: bool) -> None:
        self._folder = folder
        self._before = before
        self._dry_run = dry_run

    def collect(self, keep: Callable[[str], bool]) -> list[str]:
        """Remove it, and return its paths below the folder. Raises `OSError`."""
        removed = [*self._uploads(), *self._unpacked(keep), *self._blobs(keep)]
        return sorted(path.relative_to(self._folder).as_posix() for path in removed)

    def _uploads(self) -> Iterator[Path]:
        for path in _within(self._folder / "uploads"):
            if self._is_old(path):
                self._unlink(path)
                yield path

    def _blobs(self, keep: Callable[[str], bool]) -> Iterator[Path]:
        for group in _within(self._folder / "blobs"):
            for path in _within(group):
                if self._is_old(path) and not keep(path.name) and self._remove_blob(path):
                    yield path

    def _remove_blob(self, path: Path) -> bool:
        with hold_lock(self._folder / "locks" / "blobs"):
            if not self._is_old(path):  # pushed again since
                return False
            self._unlink(path)
            return True

    def _unpacked(self, keep: Callable[[str], bool]) -> Iterator[Path]:
        for path in _within(self._folder / "unpacked"):
            digest = path.name.split(".")[0]
            unfinished = NEW in path.name
            if self._is_old(path) and (unfinished or not keep(digest)) and self._remove_unpacked(path, digest):
                yield path

    def _remove_unpacked(self, path: Path, digest: str) -> bool:
        with hold_lock(lock_of(self._folder, digest), wait=False) as held:
            if not held or not self._is_old(path):  # somebody is about to use it
                return False
            if not self._dry_run:
                # Out of sight at once, so that nobody ever finds a part of it; of who is killed here a folder remains
                # that the next collection removes.
                hidden = path if NEW in path.name else path.with_name(f"{path.name}{NEW}{new_id()}")
                path.rename(hidden)
                remove_tree(hidden)
            return True

    def _unlink(self, path: Path) -> None:
        if not self._dry_run:
            path.unlink(missing_ok=True)

    def _is_old(self, path: Path) -> bool:
        try:
            return path.lstat().st_mtime < self._before
        except FileNotFoundError:
            return False


def _within(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
