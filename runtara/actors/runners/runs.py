"""The folders of all runs of a host, and which of them are old."""

from pathlib import Path
from typing import Final, NamedTuple

from runtara.actors.runners._run_folder import RunFolder, read_key, remove_tree
from runtara.ids import InstanceKey, new_id

__all__ = ["OldRun", "Runs"]

_REMOVED: Final = ".removed-"
"""What the name of a folder begins with that is put aside, and may be cleared away."""


class OldRun(NamedTuple):
    """A folder in which nothing has changed for a while, and whose it is."""

    path: Path
    key: InstanceKey


class Runs:
    """The folder that holds those of all runs. Every method does its work at once, in files; call it in a thread."""

    def __init__(self, home: Path) -> None:
        self._home: Final = home

    def list_old(self, before_ms: int) -> list[OldRun]:
        """Return the folders in which nothing was launched since an instant, as far as it is known whose they are."""
        old = []
        for path in sorted(self._home.glob("[0-9a-f]*")):
            if path.is_dir() and path.stat().st_mtime_ns < before_ms * 1_000_000:
                key = read_key(path)
                if key is not None and RunFolder(self._home, key).path == path:  # not a copy that somebody has made
                    old.append(OldRun(path, key))
        return old

    def put_aside(self, run: OldRun) -> bool:
        """Take a folder out of sight; False where something runs in it, or it is gone. Raises `OSError`."""
        folder = RunFolder(self._home, run.key)
        try:
            with folder.locked() as free:
                if not free or folder.marker.exists():
                    return False
                run.path.rename(self._home / f"{_REMOVED}{new_id()}")
        except FileNotFoundError:
            return False
        return True

    def clear(self) -> None:
        """Remove all that was put aside, also by a process that was killed before it came to this.

        Raises `OSError` for the first that cannot be removed, when the others are gone.
        """
        failures: list[OSError] = []
        for folder in self._home.glob(f"{_REMOVED}*"):
            try:
                remove_tree(folder)
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]
