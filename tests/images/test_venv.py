"""A project gets a virtual environment that knows its final place before it is moved there."""

import os
import subprocess
from pathlib import Path

import pytest

from runtara.errors import InvalidInput
from runtara.images._venv import make_venv, needs_venv, script_of
from tests.images.projects import OFFLINE, wheel


def fill(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_only_a_project_that_says_what_it_needs_gets_one(tmp_path: Path) -> None:
    assert not needs_venv(fill(tmp_path / "a", main__py=""))
    assert needs_venv(fill(tmp_path / "b", requirements__txt=""))
    assert needs_venv(fill(tmp_path / "c", pyproject__toml=""))


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("", None),
        ("[project.scripts]\nrun = 'a:b'", "run"),
        ("[project.scripts]\nrun = 'a:b'\ngo = 'a:c'", None),
        ("[project.scripts]\n'../run' = 'a:b'", None),
    ],
)
def test_the_one_program_of_a_project_is_found(text: str, script: str | None, tmp_path: Path) -> None:
    assert script_of(tmp_path) is None
    assert script_of(fill(tmp_path, pyproject__toml=text)) == script


@pytest.mark.parametrize("text", ["[", "project = 3", "[project]\nscripts = 3", "a = " + "[" * 50_000], ids=len)
def test_a_project_file_that_cannot_be_read_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"pyproject\.toml cannot be read"):
        script_of(fill(tmp_path, pyproject__toml=text))


@pytest.mark.slow
def test_what_was_installed_runs_at_its_final_place(tmp_path: Path) -> None:
    project = fill(tmp_path / "project", requirements__txt="greeting\n")
    name, content = wheel("greeting")
    (project / name).parent.mkdir()
    (project / name).write_bytes(content)
    (tmp_path / "scratch").mkdir()

    make_venv(
        project,
        tmp_path / "scratch" / "venv",
        tmp_path / "venv",
        environment={"PATH": os.environ["PATH"]} | OFFLINE,
        timeout_s=100,
    )
    (tmp_path / "scratch" / "venv").rename(tmp_path / "venv")

    said = subprocess.run([tmp_path / "venv" / "bin" / "greeting"], capture_output=True, text=True, check=True).stdout
    assert said == "hello from greeting\n"
    compiled = list((tmp_path / "venv").rglob("greeting.*.pyc"))
    assert len(compiled) == 1
    assert str(tmp_path / "venv" / "lib").encode() in compiled[0].read_bytes()


@pytest.mark.slow
def test_what_cannot_be_installed_is_told_with_the_installers_words(tmp_path: Path) -> None:
    project = fill(tmp_path / "project", requirements__txt="no-such-package-anywhere\n")

    with pytest.raises(
        InvalidInput, match=r"installing what the project needs has failed; it said: (?s:.*)no-such-package"
    ):
        make_venv(
            project,
            tmp_path / "venv",
            tmp_path / "final",
            environment={"PATH": os.environ["PATH"]} | OFFLINE,
            timeout_s=100,
        )
