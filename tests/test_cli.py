import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runtara import __version__
from runtara.cli import main
from runtara.errors import Code
from tests.house.source import run_python


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(main, arguments)


def test_the_tree_is_drawn_with_every_actor() -> None:
    done = run("tree", "--url", "memory://")

    assert done.exit_code == 0, done.output
    first, *lines = done.stdout.splitlines()
    assert first.startswith("root")
    for name in ("writer", "region", "sessions", "programs", "scheduler", "heartbeat"):
        assert any(name in line for line in lines)


def test_the_tree_is_printed_as_json() -> None:
    done = run("tree", "--url", "memory://", "--json")

    tree = json.loads(done.stdout)
    assert tree["path"] == "root"
    assert {child["path"] for child in tree["children"]} >= {"root/store", "root/instances", "root/timers"}


def test_the_data_folder_is_where_it_was_asked_for(tmp_path: Path) -> None:
    assert run("tree", "--data-dir", str(tmp_path / "a")).exit_code == 0
    assert run("tree", RUNTARA_DATA_DIR=str(tmp_path / "b")).exit_code == 0

    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert (tmp_path / "a" / "runtara.db").is_file()


def test_an_unknown_setting_is_one_line_and_the_exit_code_of_its_row() -> None:
    done = run("tree", "--url", "memory://", RUNTARA_DATADIR="x")

    assert done.exit_code == Code.CONFIG_ERROR.exit_code
    assert done.stdout == ""
    assert done.stderr == ("runtara: unknown setting RUNTARA_DATADIR: did you mean RUNTARA_DATA_DIR? [config-error]\n")


@pytest.mark.parametrize(
    ("content", "code"), [(b"this is no database" * 1000, Code.STORE_CORRUPT)], ids=["store-corrupt"]
)
def test_a_store_that_cannot_be_opened_is_one_line_too(tmp_path: Path, content: bytes, code: Code) -> None:
    (tmp_path / "runtara.db").write_bytes(content)

    done = run("tree", "--data-dir", str(tmp_path))

    assert done.exit_code == code.exit_code
    assert done.stderr.startswith("runtara: ")
    assert done.stderr.endswith(f"[{code.wire}]\n")
    assert done.stderr.count("\n") == 1


def test_a_wrong_option_is_explained() -> None:
    done = run("tree", "--nonsense")

    assert done.exit_code == 2
    assert "--nonsense" in done.stderr


def test_help_names_the_commands_and_version_the_version() -> None:
    assert "tree" in run("--help").stdout
    assert "--data-dir" in run("tree", "--help").stdout
    assert run("--version").stdout == f"runtara, version {__version__}\n"


def test_the_program_is_installed_under_its_name(tmp_path: Path) -> None:
    code = "import sys; from runtara.cli import main; sys.argv = ['runtara', '--version']; main()"

    done = run_python("-c", code, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (0, f"runtara, version {__version__}\n")
