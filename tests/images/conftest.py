"""What several tests of images need."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.requirements import require


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    reason = "a disk that is full"
    require("mount", reason)
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def umoci() -> str:
    return require("umoci", "images of containers are unpacked with it")


@pytest.fixture
def busybox() -> Path:
    """A program without libraries that is a whole system."""
    found = Path(require("busybox", "a root file system that is small and real"))
    assert shutil.which(found)
    return found.resolve()
