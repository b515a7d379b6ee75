"""What is launched for each kind of image that is not a container; containers are in test_oci_container."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtara.actors.runners import HostFailed, Plan, PlannedImage, Prepared
from runtara.actors.runners._command import Command, Commands
from runtara.actors.runners._run_folder import RunFolder
from runtara.actors.runners.native import NativeEngine
from runtara.errors import Forbidden, NotFound
from runtara.records import ImageKind, ImageOptions
from runtara.settings import Settings
from tests.actors.runners.hall import KEY, Hall, serving

Make = Callable[..., Command]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes the command of an image, of a kind."""

    def command(kind: ImageKind, options: dict[str, Any] | None = None, env: dict[str, str] | None = None) -> Command:
        prepared = Prepared(
            kind=kind,
            path=tmp_path / "file",
            command=("/venv/bin/python", "main.py") if kind == "folder" else (),
            env={"OF_IMAGE": "1", "BOTH": "image", "RUNTARA_TOKEN": "forged"},
        )
        image = PlannedImage(digest="0", kind=kind, options=ImageOptions(**options or {}))
        plan = Plan(key=KEY, epoch=1, program="an image", image=image, env=env or {}, input=b"x")
        settings = Settings(data_dir=str(tmp_path), program_memory_bytes=1 << 30)
        return Commands(settings, {"PATH": "/bin"}, lambda _: prepared).of(plan, RunFolder(tmp_path, KEY), "launch")

    return command


@pytest.mark.parametrize(
    ("kind", "argv"),
    [
        ("executable", ("{file}", "-v")),
        ("python", (sys.executable, "{file}", "-v")),
        ("folder", ("/venv/bin/python", "main.py", "-v")),
    ],
)
def test_an_image_is_run_with_its_command_as_arguments(
    make: Make, tmp_path: Path, kind: ImageKind, argv: tuple[str, ...]
) -> None:
    found = make(kind, {"command": ("-v",)})

    assert found.argv == tuple(word.format(file=tmp_path / "file") for word in argv)
    assert (found.container, found.after, found.owner) == (None, (), None)


def test_a_module_is_run_by_this_python_and_sees_its_folders_under_other_names(make: Make, tmp_path: Path) -> None:
    found = make("wasm", {"command": ("-v",), "fuel": 7, "memory_bytes": 1 << 20})

    assert found.argv[:2] == (sys.executable, "-I")
    assert found.argv[5:7] == (str(1 << 20), "7")
    assert found.argv[-2:] == (str(tmp_path / "file"), "-v")
    assert found.env["RUNTARA_INPUT_FILE"] == "/data/input"
    assert "RLIMIT_AS" not in found.limits


def test_the_instance_wins_over_the_options_and_these_over_the_image(make: Make) -> None:
    found = make("executable", {"env": {"OF_OPTIONS": "2", "BOTH": "options", "RUNTARA_X": "y"}}, {"BOTH": "instance"})

    assert (found.env["OF_IMAGE"], found.env["OF_OPTIONS"], found.env["BOTH"]) == ("1", "2", "instance")
    assert "RUNTARA_TOKEN" not in found.env
    assert "RUNTARA_X" not in found.env


def test_an_image_may_say_how_much_memory_a_process_of_it_has(make: Make) -> None:
    assert make("python").limits["RLIMIT_AS"] == 1 << 30
    assert make("python", {"memory_bytes": 1 << 28}).limits["RLIMIT_AS"] == 1 << 28


def test_a_host_without_a_place_for_images_says_so(tmp_path: Path) -> None:
    plan = Plan(key=KEY, epoch=1, program="an image", image=PlannedImage(digest="0", kind="oci"))

    with pytest.raises(Forbidden, match="keeps none"):
        Commands(Settings(), {}, None).of(plan, RunFolder(tmp_path, KEY), "launch")


@pytest.mark.parametrize(
    ("error", "seen"), [(NotFound("x"), NotFound), (HostFailed("x"), HostFailed), (OSError("disk"), HostFailed)]
)
async def test_an_image_that_cannot_be_made_ready_is_no_launch(
    tmp_path: Path, error: Exception, seen: type[Exception]
) -> None:
    def prepare(_: PlannedImage) -> Prepared:
        raise error

    engine = NativeEngine(Settings(data_dir=str(tmp_path)), {}, prepare)
    with pytest.raises(seen):
        await engine.launch(Plan(key=KEY, epoch=1, program="x", image=PlannedImage(digest="0", kind="python")))

    assert await engine.adopt() == []


async def test_a_pushed_program_runs_as_a_process(tmp_path: Path) -> None:
    async with serving(Hall(tmp_path)) as hall:
        path = Path(hall.write("import sys; print(sys.argv[1]); sys.exit(4)", "pushed.py"))
        hall.engine = NativeEngine(hall.settings, {}, lambda image: Prepared(kind=image.kind, path=path))
        image = PlannedImage(digest="0", kind="python", options=ImageOptions(command=("word",)))

        ended = await hall.end(await hall.engine.launch(Plan(key=KEY, epoch=1, program="pushed", image=image)))

        assert ended.exit_code == 4
        assert await hall.read() == b"word\n"
        assert (ended.memory_peak or 0) > 1 << 20
        assert (ended.cpu_seconds or 0) > 0
