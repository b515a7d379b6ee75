"""Folders of runs for tests, as old as they should be."""

import os
from pathlib import Path

from runtara.actors.runners._run_folder import Marker, RunFolder
from runtara.ids import InstanceKey

__all__ = ["NOW_MS", "ended", "key_of", "launched"]

NOW_MS = 1_750_000_000_000


def key_of(name: str) -> InstanceKey:
    return InstanceKey("acme", name)


def launched(home: Path, name: str, at_ms: int = NOW_MS) -> RunFolder:
    """The folder of a run whose attempt was launched at an instant, and goes on as far as anybody knows."""
    folder = RunFolder(home, key_of(name))
    folder.make()
    marker = Marker(tenant_id="acme", instance_id=name, epoch=1, launch_id="l", boot_id="b", stderr_from=0)
    folder.prepare(marker, b"input")
    os.utime(folder.path, (at_ms / 1000, at_ms / 1000))
    return folder


def ended(home: Path, name: str, at_ms: int = NOW_MS) -> RunFolder:
    """The folder of a run whose end is known and stored."""
    folder = launched(home, name, at_ms)
    (folder.path / "stdout.0").write_text("hello")
    folder.forget("l")
    os.utime(folder.path, (at_ms / 1000, at_ms / 1000))
    return folder
