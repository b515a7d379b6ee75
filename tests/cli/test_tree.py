"""`runtara tree`."""

import json
from pathlib import Path

import pytest

from runtara.errors import Code
from tests.cli.terminal import Terminal, type_command


def test_the_tree_of_the_server_is_drawn_with_every_actor(terminal: Terminal) -> None:
    first, *lines = terminal.lines("tree")

    assert first.startswith("root")
    for name in ("writer", "region", "sessions", "scheduler", "heartbeat"):
        assert any(name in line for line in lines)


def test_the_tree_is_printed_as_json(terminal: Terminal) -> None:
    tree = json.loads(terminal("tree", "--json").stdout)

    assert tree["path"] == "root"
    assert {child["path"] for child in tree["children"]} >= {"root/store", "root/instances", "root/timers"}


def test_a_system_of_its_own_needs_no_server() -> None:
    done = type_command("tree", "--embedded", "--url", "memory://", "--json")

    assert json.loads(done.stdout)["path"] == "root"


def test_the_data_folder_is_where_it_was_asked_for(tmp_path: Path) -> None:
    assert type_command("tree", "--embedded", "--data-dir", str(tmp_path / "a")).exit_code == 0
    assert type_command("tree", "--embedded", RUNTARA_DATA_DIR=str(tmp_path / "b")).exit_code == 0

    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert (tmp_path / "a" / "runtara.db").is_file()


@pytest.mark.parametrize(
    ("content", "code"), [(b"this is no database" * 1000, Code.STORE_CORRUPT)], ids=["store-corrupt"]
)
def test_a_store_that_cannot_be_opened_is_one_line_too(tmp_path: Path, content: bytes, code: Code) -> None:
    (tmp_path / "runtara.db").write_bytes(content)

    done = type_command("tree", "--embedded", "--data-dir", str(tmp_path))

    assert done.exit_code == code.exit_code
    assert done.stderr.startswith("runtara: ")
    assert done.stderr.endswith(f"[{code.wire}]\n")
    assert done.stderr.count("\n") == 1
