"""Whoever is killed while something arrives or is unpacked leaves nothing half under its final name."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from runtara.images import Blobs, Library
from runtara.records import ImageOptions
from tests.images.archives import plain_tar, sha256
from tests.images.sandbox import listed

FILES = {f"{number % 20}/{number}.py": b"x" * (number * 10) for number in range(300)} | {"main.py": b"print('hello')"}
CONTENT = plain_tar(FILES)
DIGEST = sha256(CONTENT)

WORKER = """
import sys
from pathlib import Path
from runtara.images import Blobs, Library
from runtara.records import ImageOptions
from tests.images.sandbox import listed

folder, archive = map(Path, sys.argv[1:])
content, digest = archive.read_bytes(), archive.name
print("begun", flush=True)
number = 0
while True:
    number += 1
    blobs = Blobs(folder, 10**9)
    upload = f"{number % 3:032x}"
    here = blobs.open_upload(upload)
    while here < len(content):
        here = blobs.write(upload, here, content[here:here + 50_000])
    blobs.finish(upload, digest, len(content))
    library = Library(blobs, environment={})
    library.prepare(digest, "folder", ImageOptions())
    print(number, flush=True)
    library.collect(lambda _: False, -60)
"""


def check(folder: Path) -> None:
    """All that has its final name is whole."""
    blobs = Blobs(folder, 10**9)
    for path in (folder / "blobs").glob("*/*"):
        assert blobs.verify(path.name), f"{path} is half"
    for path in (folder / "unpacked").glob("*"):
        if ".new-" not in path.name:
            project = path / "project"
            found = {str(it.relative_to(project)): it.read_bytes() for it in project.rglob("*") if it.is_file()}
            assert found == FILES, f"{path} is half"


def run_and_kill(folder: Path, archive: Path, after: int, chance: random.Random) -> None:
    """Kill a worker after so many rounds, and a little more, which is what it does until a read of ours returns."""
    command = [sys.executable, "-c", WORKER, str(folder), str(archive)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as worker:
        assert worker.stdout
        for _ in range(after):
            assert worker.stdout.readline()
        for _ in range(chance.randrange(60)):
            listed(folder)
            check_names(folder)
        worker.kill()


def check_names(folder: Path) -> None:
    for path in (folder / "unpacked").glob("*"):
        assert path.name.startswith(DIGEST)


def crash(tmp_path: Path, times: int) -> int:
    """Kill a worker so often, then have another one complete; return how often one was caught in the middle."""
    archive = tmp_path / DIGEST
    archive.write_bytes(CONTENT)
    folder = tmp_path / "images"
    folder.mkdir()
    chance = random.Random(times)
    halves = 0
    for _ in range(times):
        run_and_kill(folder, archive, chance.randrange(1, 4), chance)
        check(folder)
        halves += any((folder / "unpacked").glob("*.new-*"))
    blobs = Blobs(folder, 10**9)
    here = blobs.open_upload("f" * 32)
    blobs.write("f" * 32, here, CONTENT[here:])
    blobs.finish("f" * 32, DIGEST, len(CONTENT))
    prepared = Library(blobs, environment={}).prepare(DIGEST, "folder", ImageOptions())
    check(folder)

    blobs.collect(lambda _: True, -60, dry_run=False)

    assert (prepared.path / "main.py").read_bytes() == b"print('hello')"
    assert listed(folder / "unpacked") == [f"{DIGEST}.folder"]
    assert listed(folder / "uploads") == []
    return halves


def test_a_killed_process_leaves_nothing_half(tmp_path: Path) -> None:
    crash(tmp_path, 3)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_killed_processes_leave_nothing_half(tmp_path: Path) -> None:
    assert crash(tmp_path, 100) > 10
