"""Images of containers become root file systems, by umoci; what is hostile never gets that far."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from runtara.errors import AlreadyExists, ConfigError, InvalidInput, StoreFull
from runtara.images import ContainerConfig, ExtractLimits, Rules, unpack
from runtara.images._documents import machine
from tests.images.archives import docker_archive, entry, file, folder, hardlink, oci_archive, plain_tar, symlink, tar
from tests.images.sandbox import Sandbox, listed
from tests.requirements import require

LOWER = tar(
    folder(b"bin", 0o7777),
    file(b"bin/app", b"old", 0o4755),
    file(b"bin/gone", b"x"),
    folder(b"full"),
    file(b"full/one", b"1"),
    symlink(b"bin/sh", b"/bin/app"),
    entry(b"dev/null", b"3"),
    hardlink(b"bin/again", b"bin/app"),
)
UPPER = tar(file(b"bin/.wh.gone"), file(b"full/.wh..wh..opq"), file(b"full/two", b"2"), file(b"bin/app", b"new", 0o755))

pytestmark = pytest.mark.usefixtures("umoci")


def run(archive: Path, target: Path, *, timeout_s: float = 60, limits: ExtractLimits | None = None) -> ContainerConfig:
    environment = {"PATH": os.environ["PATH"]}
    return unpack(archive, target, limits or ExtractLimits(), environment=environment, timeout_s=timeout_s)


@pytest.mark.parametrize("form", ["oci", "oci, not packed", "docker"])
def test_layers_are_put_over_each_other(form: str, tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    archive = tmp_path / "saved.tar"
    if form == "docker":
        docker_archive(archive, [LOWER, UPPER])
    else:
        oci_archive(archive, [LOWER, UPPER], packed=form == "oci")

    config = run(archive, sandbox.target)

    assert config == ContainerConfig(
        command=("/bin/app",), env={"PATH": "/bin", "A": "b=c"}, working_dir="/srv", user="app"
    )
    assert sandbox.content() == {
        "bin": None,
        "bin/again": b"old",
        "bin/app": b"new",
        "bin/sh": "/bin/app",
        "dev": None,
        "full": None,
        "full/two": b"2",
        "proc": None,
        "sys": None,
    }
    assert stat.S_IMODE((sandbox.target / "bin" / "again").stat().st_mode) == 0o755
    assert listed(sandbox.target.parent.parent / "inner").count("target") == 1


def test_a_folder_with_a_colon_in_its_name_is_no_tag(tmp_path: Path) -> None:
    folder_ = tmp_path / "a:b c"
    folder_.mkdir()

    run(oci_archive(tmp_path / "saved.tar", [LOWER]), folder_ / "target")

    assert listed(folder_) == ["target"]


def test_an_image_without_layers_is_empty(tmp_path: Path) -> None:
    run(oci_archive(tmp_path / "saved.tar", []), tmp_path / "made")

    assert (listed(tmp_path / "made")) == ["dev", "proc", "sys"]


@pytest.mark.parametrize(
    "layer",
    [
        tar(file(b"../secret", b"x")),
        tar(symlink(b"a", b"../.."), file(b"a/secret", b"x")),
        tar(symlink(b".", b"/etc"), file(b"passwd", b"x")),
        tar(file(b".wh...")),
        tar(hardlink(b"a", b"../secret")),
    ],
    ids=["name", "link", "root", "whiteout", "hard link"],
)
def test_a_hostile_image_leaves_nothing(layer: bytes, tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)

    with pytest.raises(InvalidInput):
        run(oci_archive(tmp_path / "saved.tar", [LOWER, layer]), sandbox.target)

    sandbox.check(Rules.LAYER, accepted=False)


def test_a_link_of_a_lower_layer_leads_nowhere_outside(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    outside = os.fsencode(sandbox.around / "etc")
    lower = tar(symlink(b"l", outside), symlink(b"m", b"bin"))
    upper = tar(file(b"l/passwd", b"x"), folder(b"m"), file(b"m/app", b"y"))

    run(oci_archive(tmp_path / "saved.tar", [lower, upper]), sandbox.target)

    assert sandbox.around.joinpath("etc", "passwd").read_text() == "the canary etc/passwd"
    sandbox.check(Rules.LAYER, accepted=True)
    assert (sandbox.target / "m" / "app").read_text() == "y"


def test_an_image_for_another_machine_is_refused(tmp_path: Path) -> None:
    other = "arm64" if machine() != "arm64" else "amd64"

    with pytest.raises(InvalidInput, match=f"for linux/{other}, and this machine is linux/{machine()}"):
        run(oci_archive(tmp_path / "saved.tar", [LOWER], architecture=other), tmp_path / "made")


def test_without_umoci_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"umoci is not installed on this machine: .*apt-get install umoci"):
        unpack(tmp_path / "a", tmp_path / "b", ExtractLimits(), environment={"PATH": "/nowhere"}, timeout_s=1)


def test_a_umoci_that_fails_is_quoted_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "programs").mkdir()
    program = tmp_path / "programs" / "umoci"
    program.write_text("#!/bin/sh\necho no such luck >&2\nexit 1\n")
    program.chmod(0o755)
    archive = oci_archive(tmp_path / "saved.tar", [LOWER])

    with pytest.raises(InvalidInput, match=r"unpacking the image saved\.tar has failed; it said: no such luck"):
        unpack(archive, tmp_path / "made", ExtractLimits(), environment={"PATH": str(program.parent)}, timeout_s=9)
    assert (listed(tmp_path)) == ["programs", "saved.tar"]


def test_nothing_is_unpacked_over_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(AlreadyExists):
        run(oci_archive(tmp_path / "saved.tar", [LOWER]), tmp_path)


def test_a_full_disk_leaves_nothing_and_succeeds_once_there_is_room(small_disk: Path, tmp_path: Path) -> None:
    layer = plain_tar({"a": os.urandom(300_000)})
    archive = oci_archive(tmp_path / "saved.tar", [layer])
    ballast = small_disk / "ballast"
    for ballast_bytes in (1_900_000, 1_500_000):  # the second leaves room for all but the root file system
        ballast.write_bytes(bytes(ballast_bytes))
        with pytest.raises((StoreFull, InvalidInput), match=r"no space left|make room"):
            run(archive, small_disk / "made")
        assert listed(small_disk) == ["ballast"]

    ballast.unlink()
    run(archive, small_disk / "made")

    assert (small_disk / "made" / "a").stat().st_size == 300_000


def test_what_umoci_itself_has_made_is_read(umoci: str, busybox: Path, tmp_path: Path) -> None:
    require("root", "umoci keeps the owners of files", found=os.geteuid() == 0)
    layout = tmp_path / "layout"

    def call(*arguments: str) -> None:
        subprocess.run([umoci, *arguments], check=True, cwd=tmp_path, capture_output=True)

    call("init", "--layout", "layout")
    call("new", "--image", "layout:app")
    call("insert", "--rootless", "--image", "layout:app", str(busybox), "/bin/busybox")
    call("config", "--image", "layout:app", "--config.cmd", "/bin/busybox", "--config.cmd", "true")
    names = [path for path in layout.rglob("*") if path.is_file()]
    archive = tmp_path / "saved.tar"
    archive.write_bytes(plain_tar({str(path.relative_to(layout)): path.read_bytes() for path in names}))

    config = run(archive, tmp_path / "made")

    assert config.command == ("/bin/busybox", "true")
    assert (tmp_path / "made" / "bin" / "busybox").read_bytes() == busybox.read_bytes()
    if os.getuid() == 0:
        done = subprocess.run(["chroot", str(tmp_path / "made"), *config.command], check=False)
        assert done.returncode == 0
