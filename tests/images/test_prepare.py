"""Whatever was pushed becomes something that can be started, once, however many ask for it."""

import io
import os
import stat
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtara.errors import ConfigError, InvalidInput, NotFound
from runtara.ids import new_id
from runtara.images import Blobs, ExtractLimits, Library, prepare
from runtara.images import extract as extract_once
from runtara.records import ImageKind, ImageOptions
from tests.images.archives import file, folder, oci_files, plain_tar, sha256, symlink, tar
from tests.images.projects import OFFLINE, project
from tests.images.sandbox import listed

PLAIN = ImageOptions()
COMMAND = ImageOptions(command=("/bin/app", "-v"), env={"A": "mine"})


def open_library(folder_: Path, limits: ExtractLimits | None = None) -> Library:
    environment = {"PATH": os.environ["PATH"]} | OFFLINE
    return Library(Blobs(folder_, 100_000_000), environment=environment, limits=limits, timeout_s=100)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return open_library(tmp_path / "images")


def push(library: Library, content: bytes) -> str:
    upload = new_id()
    library.blobs.open_upload(upload)
    library.blobs.write(upload, 0, content)
    library.blobs.finish(upload, sha256(content), len(content))
    return sha256(content)


def unpacked(library: Library) -> list[str]:
    folder_ = library.blobs.folder / "unpacked"
    return listed(folder_) if folder_.exists() else []


def test_a_program_is_copied_so_that_it_can_be_run(library: Library) -> None:
    digest = push(library, b"#!/bin/sh\necho hello\n")

    prepared = library.prepare(digest, "executable", COMMAND)

    assert subprocess.run([prepared.path], capture_output=True, text=True, check=True).stdout == "hello\n"
    assert prepared.path == library.blobs.folder / "unpacked" / f"{digest}.executable" / "program"
    assert stat.S_IMODE(prepared.path.stat().st_mode) == 0o500
    assert prepared.path.stat().st_nlink == 1
    assert (prepared.command, prepared.env, prepared.working_dir) == (("/bin/app", "-v"), {"A": "mine"}, "/")


def test_a_python_file_is_called_what_it_is(library: Library) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("__main__.py", "print('zipped')")

    text = library.prepare(push(library, b"print('text')\n"), "python", PLAIN)
    zipped = library.prepare(push(library, buffer.getvalue()), "python", PLAIN)

    assert (text.path.name, zipped.path.name) == ("program.py", "program.pyz")
    assert text.command == zipped.command == ()
    assert subprocess.run([sys.executable, zipped.path], capture_output=True, check=True).stdout == b"zipped\n"


def test_a_wasm_module_is_only_copied(library: Library) -> None:
    prepared = library.prepare(push(library, b"\0asm\x01\0\0\0"), "wasm", PLAIN)

    assert prepared.path.read_bytes() == b"\0asm\x01\0\0\0"


def test_a_root_file_system_is_run_by_the_command_of_its_options(library: Library) -> None:
    digest = push(library, tar(file(b"bin/app", b"x", 0o755)))

    prepared = library.prepare(digest, "rootfs", COMMAND)

    assert (prepared.path / "bin" / "app").read_bytes() == b"x"
    assert prepared.command == ("/bin/app", "-v")
    with pytest.raises(InvalidInput, match="give it a command"):
        library.prepare(digest, "rootfs", PLAIN)


def test_a_busybox_in_a_root_file_system_runs(library: Library, busybox: Path) -> None:
    root = tar(folder(b"bin"), file(b"bin/busybox", busybox.read_bytes(), 0o755), symlink(b"bin/echo", b"/bin/busybox"))

    prepared = library.prepare(push(library, root), "rootfs", ImageOptions(command=("/bin/echo", "hello")))

    if os.getuid() == 0:
        done = subprocess.run(["chroot", str(prepared.path), *prepared.command], capture_output=True, check=True)
        assert done.stdout == b"hello\n"


@pytest.mark.usefixtures("umoci")
def test_an_image_of_a_container_is_run_as_it_says_unless_its_options_do(library: Library) -> None:
    digest = push(library, plain_tar(oci_files([tar(file(b"bin/app", b"x", 0o755))])))

    own = library.prepare(digest, "oci", PLAIN)
    ours = library.prepare(digest, "oci", COMMAND)

    assert (own.command, own.env) == (("/bin/app",), {"PATH": "/bin", "A": "b=c"})
    assert (own.working_dir, own.user) == ("/srv", "app")
    assert (ours.command, ours.env) == (("/bin/app", "-v"), {"PATH": "/bin", "A": "mine"})
    assert (own.path / "bin" / "app").is_file()


@pytest.mark.usefixtures("umoci")
def test_an_image_that_says_nothing_needs_a_command(library: Library) -> None:
    digest = push(library, plain_tar(oci_files([], config={})))

    with pytest.raises(InvalidInput, match="give it a command"):
        library.prepare(digest, "oci", PLAIN)


def test_without_umoci_everything_else_is_prepared(tmp_path: Path) -> None:
    library = Library(Blobs(tmp_path, 1_000_000), environment={"PATH": "/nowhere"})

    with pytest.raises(ConfigError, match="install it"):
        library.prepare(push(library, plain_tar(oci_files([]))), "oci", PLAIN)
    assert library.prepare(push(library, b"x = 1\n"), "python", PLAIN).path.is_file()


def test_a_project_without_needs_is_only_unpacked(library: Library) -> None:
    prepared = library.prepare(push(library, project(main__py="print('hello')")), "folder", PLAIN)

    assert (prepared.path / "main.py").is_file()
    assert prepared.command == ()
    assert prepared.working_dir == str(prepared.path)
    assert listed(prepared.path.parent) == ["project"]


@pytest.mark.slow
def test_a_project_is_run_by_a_python_that_has_what_it_needs(library: Library) -> None:
    content = project(main__py="import greeting; greeting.main()", requirements__txt="greeting==1.0")
    digest = push(library, content)

    prepared = library.prepare(digest, "folder", PLAIN)
    chosen = library.prepare(digest, "folder", ImageOptions(command=("greeting",)))
    other = library.prepare(digest, "folder", ImageOptions(command=("sh", "-c", "true")))

    for command in (prepared.command, chosen.command):
        assert subprocess.run(command, capture_output=True, check=True).stdout == b"hello from greeting\n"
    assert other.command == ("sh", "-c", "true")


@pytest.mark.slow
def test_a_project_may_be_run_by_its_one_program(library: Library) -> None:
    setup = "[project]\nname = 'greeter'\nversion = '1'\ndependencies = ['greeting']\n"
    setup += "[project.scripts]\ngreeter = 'it:go'\n"
    build = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    backend = (
        "import base64, hashlib, zipfile\n"
        "def build_wheel(folder, *_, **__):\n"
        "    name = 'greeter-1-py3-none-any.whl'\n"
        "    with zipfile.ZipFile(f'{folder}/{name}', 'w') as made:\n"
        "        made.writestr('it.py', 'import greeting\\ndef go():\\n    greeting.main()\\n')\n"
        "        info = 'greeter-1.dist-info'\n"
        "        made.writestr(f'{info}/METADATA',"
        " 'Metadata-Version: 2.1\\nName: greeter\\nVersion: 1\\nRequires-Dist: greeting\\n')\n"
        "        made.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n"
        "        made.writestr(f'{info}/entry_points.txt', '[console_scripts]\\ngreeter = it:go\\n')\n"
        "        made.writestr(f'{info}/RECORD', '')\n"
        "    return name\n"
    )
    digest = push(library, project(pyproject__toml=setup + build, backend__py=backend))

    prepared = library.prepare(digest, "folder", PLAIN)

    assert subprocess.run(prepared.command, capture_output=True, check=True).stdout == b"hello from greeting\n"


def test_a_project_without_anything_to_run_is_refused(library: Library) -> None:
    with pytest.raises(InvalidInput, match=r"neither a main\.py nor exactly one program"):
        library.prepare(push(library, project(other__py="")), "folder", PLAIN)


@pytest.mark.slow
def test_a_project_that_cannot_be_installed_leaves_nothing(library: Library) -> None:
    digest = push(library, project(main__py="", requirements__txt="no-such-package-anywhere"))

    with pytest.raises(InvalidInput, match="no-such-package"):
        library.prepare(digest, "folder", PLAIN)
    assert unpacked(library) == []


@pytest.mark.parametrize("kind", ["executable", "folder", "rootfs", "oci", "wasm"])
def test_what_is_not_of_its_kind_is_refused_and_leaves_nothing(kind: ImageKind, library: Library) -> None:
    digest = push(library, b"only text")

    with pytest.raises(InvalidInput, match=f"no image of the kind {kind}"):
        library.prepare(digest, kind, COMMAND)
    assert unpacked(library) == []


def test_a_push_of_the_wrong_kind_is_seen_at_once(library: Library) -> None:
    path = library.blobs.find(push(library, b"only text"))
    assert path

    library.check(path, "python")
    with pytest.raises(InvalidInput, match="ELF"):
        library.check(path, "executable")


def test_a_blob_that_is_not_here_is_to_be_pushed_again(library: Library) -> None:
    with pytest.raises(NotFound, match="push the image again"):
        library.prepare("0" * 64, "python", PLAIN)


def test_the_same_blob_may_be_of_several_kinds(library: Library) -> None:
    digest = push(library, tar(file(b"main.py", b"x")))

    library.prepare(digest, "rootfs", COMMAND)
    library.prepare(digest, "folder", PLAIN)

    assert sorted(unpacked(library)) == [f"{digest}.folder", f"{digest}.rootfs"]


def test_many_threads_prepare_it_once(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = push(library, tar(file(b"main.py", b"x" * 100_000)))
    made = count_extractions(monkeypatch)
    together = threading.Barrier(8)

    def ask(_: int) -> Path:
        together.wait()
        return library.prepare(digest, "folder", PLAIN).path

    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(ask, range(8)))

    assert len(paths) == len(made) == 1


def count_extractions(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    made: list[Path] = []

    def extract(archive: Path, *rest: object) -> object:
        made.append(archive)
        return extract_once(archive, *rest)  # type: ignore[arg-type]  # whatever was given

    monkeypatch.setattr(prepare, "extract", extract)
    return made


ASKER = """
import os, sys
from pathlib import Path
from runtara.images import Blobs, Library
from runtara.records import ImageOptions
from tests.images.sandbox import listed
sys.stdin.readline()
library = Library(Blobs(Path(sys.argv[1]), 10**9), environment=dict(os.environ))
print(library.prepare(sys.argv[2], "folder", ImageOptions()).path.stat().st_ino)
"""


def test_several_processes_prepare_it_once(library: Library) -> None:
    digest = push(
        library, tar(*(file(b"%d.py" % number, b"x" * 10_000) for number in range(200)), file(b"main.py", b"x"))
    )
    arguments = [sys.executable, "-c", ASKER, str(library.blobs.folder), digest]
    askers = [
        subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
        for _ in range(3)
    ]
    for asker in askers:
        assert asker.stdin
        asker.stdin.write(b"go\n")
        asker.stdin.flush()

    said = {asker.communicate()[0] for asker in askers}

    assert len(said) == 1, "each has found the same folder, so it was made once"
    assert next(iter(said)).strip().isdigit()


def test_what_runs_is_not_collected_and_what_is_collected_is_prepared_again(library: Library) -> None:
    digest = push(library, b"x = 1\n")
    path = library.prepare(digest, "python", PLAIN).path
    for old in (path.parent, library.blobs.folder / "blobs" / digest[:2] / digest):
        os.utime(old, (0, 0))

    kept = library.collect(lambda found: found == digest, 60)
    planned = library.collect(lambda _: False, 60, dry_run=True)
    library.prepare(digest, "python", PLAIN)
    young = library.collect(lambda _: False, 60)
    os.utime(path.parent, (0, 0))
    removed = library.collect(lambda _: False, 60)

    assert kept == []
    assert len(planned) == 2
    assert young == []
    assert removed == [f"unpacked/{digest}.python"]
    assert library.prepare(digest, "python", PLAIN).path == path


def test_what_a_killed_one_left_is_removed_by_the_next(library: Library) -> None:
    digest = push(library, b"x = 1\n")
    left = library.blobs.folder / "unpacked" / f"{digest}.python.new-{new_id()}"
    left.mkdir(parents=True)

    library.prepare(digest, "python", PLAIN)

    assert unpacked(library) == [f"{digest}.python"]
