"""`runtara image`."""

import json
from pathlib import Path

import pytest
from msgspec.structs import fields

from runtara.cli import _images
from runtara.errors import Code
from runtara.messages import ImageInfo
from runtara.records import ImageOptions
from tests.cli.terminal import Server, Terminal


def script(folder: Path, text: str = "echo hello") -> str:
    path = folder / "job"
    path.write_text(f"#!/bin/sh\n{text}\n")
    return str(path)


def lines(server: Server, *arguments: str) -> list[str]:
    done = server("image", *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_an_image_is_pushed_listed_rolled_back_pulled_and_deleted(server: Server, tmp_path: Path) -> None:
    first = lines(server, "push", "round", script(tmp_path), "--description", "says hello")
    second = lines(server, "push", "round", script(tmp_path, "echo bye"))
    versions = lines(server, "versions", "round")
    used = lines(server, "use", "round@1")
    listed = [line.split()[:4] for line in lines(server, "list")]
    pulled = lines(server, "pull", "round@2", str(tmp_path / "back"))
    deleted = lines(server, "delete", "round")

    assert (first, second, used, pulled, deleted) == (["round@1"], ["round@2"], ["round@1"], ["round@2"], [])
    assert [line.split()[:3] for line in versions] == [
        ["IMAGE", "VERSION", "CURRENT"],
        ["round", "2", "yes"],
        ["round", "1", "no"],
    ]
    assert ["round", "1", "yes", "executable"] in listed
    assert (tmp_path / "back").read_text() == "#!/bin/sh\necho bye\n"
    assert server("image", "show", "round").exit_code == Code.NOT_FOUND.exit_code


OPTIONS = """--command sh --command -c --env COLOUR=red --cpus 1.5 --memory 1048576 --pids 7 --fuel 9 --network none
    --timeout 5 --at-a-time 3"""


def test_all_that_is_said_of_an_image_is_shown(server: Server, tmp_path: Path) -> None:
    said = ["--kind", "executable", "--metadata", '{"team": 7}', "--defaults", '{"size": 1}', *OPTIONS.split()]

    pushed = json.loads(server("image", "push", "all", script(tmp_path), "--json", *said).stdout)
    shown = json.loads(server("image", "show", "all", "--json").stdout)
    text = "\n".join(lines(server, "show", "all@1"))

    assert pushed == shown
    assert set(shown) >= {field.name for field in fields(ImageInfo)}
    assert shown["options"] == {
        "command": ["sh", "-c"],
        "env": {"COLOUR": "red"},
        "cpus": 1.5,
        "memory_bytes": 1048576,
        "pids": 7,
        "fuel": 9,
        "network": "none",
        "timeout_ms": 5000,
        "max_concurrent": 3,
    }
    for part in ('{"team":7}', '{"size":1}', "sh -c", "COLOUR=red", "1.5", shown["digest"], shown["image_id"]):
        assert part in text


def test_what_nothing_is_said_of_is_shown_as_that(server: Server, tmp_path: Path) -> None:
    lines(server, "push", "plain", script(tmp_path))

    shown = dict(line.split(maxsplit=1) for line in lines(server, "show", "plain") if len(line.split()) > 1)

    assert (shown["command"], shown["environment"]) == ("its own", "none")


def test_an_instance_of_an_image_gets_its_defaults(server: Server, tmp_path: Path) -> None:
    path = script(tmp_path, 'cat "$RUNTARA_INPUT_FILE" > "$RUNTARA_OUTPUT_FILE"')
    (tmp_path / "defaults.json").write_text('{"size": 1}')
    lines(server, "push", "echo", path, "--defaults", f"@{tmp_path / 'defaults.json'}")

    done = server("start", "--image", "echo", "--input", '{"colour": "red"}', "--wait")

    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"colour": "red", "size": 1}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["push", "a b", "JOB"], "image 'a b' is not allowed"),
        (["push", "a@2", "JOB"], "cannot be pushed: give it a name without @"),
        (["push", "a", "JOB", "--kind", "wasm"], "no image of the kind wasm"),
        (["push", "a", "JOB", "--metadata", "[1]"], "metadata must be a JSON object"),
        (["push", "a", "JOB", "--defaults", "{"], "defaults is not JSON"),
        (["push", "a", "JOB", "--cpus", "0"], "cpus 0.0 is not allowed"),
        (["push", "a", "JOB", "--env", "RUNTARA_X=1"], "reserved"),
        (["push", "a", "TEXT"], "is no folder, script, zip"),
        (["pull", "there", "JOB"], "job cannot be written: "),
        (["use", "there"], "names no version"),
        (["delete", "there@1"], "an image is deleted with all of them"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], said: str, server: Server, tmp_path: Path) -> None:
    places = {"JOB": script(tmp_path), "TEXT": str(tmp_path / "text")}
    (tmp_path / "text").write_text("hello")
    lines(server, "push", "there", places["JOB"])

    done = server("image", *(places.get(word, word) for word in arguments))

    assert done.exit_code == Code.INVALID_INPUT.exit_code
    assert said in done.stderr


@pytest.mark.parametrize("arguments", [["push", "a", "/missing"], ["push", "a"], ["push", "a", ".", "--kind", "tar"]])
def test_what_cannot_be_typed_so_is_a_mistake_of_the_command_line(arguments: list[str], server: Server) -> None:
    assert server("image", *arguments).exit_code == 2


@pytest.mark.parametrize("arguments", [["show", "x"], ["versions", "x"], ["use", "x@1"], ["pull", "x", "/tmp/x-y"]])
def test_what_is_not_there_is_said_to_be_so(arguments: list[str], server: Server) -> None:
    done = server("image", *arguments)

    assert (done.exit_code, "there is no image 'x'" in done.stderr) == (Code.NOT_FOUND.exit_code, True)


def test_a_list_that_is_not_complete_says_so(server: Server, tmp_path: Path) -> None:
    for name in ("page-a", "page-b"):
        lines(server, "push", name, script(tmp_path), "--tenant", "paged")

    done = server("image", "list", "--limit", "1", "--tenant", "paged")
    every = json.loads(server("image", "list", "--limit", "1", "--all", "--json", "--tenant", "paged").stdout)

    assert "there are more" in done.stderr
    assert [row["name"] for row in every["images"]] == ["page-a", "page-b"]


def test_a_system_that_keeps_no_images_says_so(terminal: Terminal, tmp_path: Path) -> None:
    done = terminal("image", "push", "a", script(tmp_path))

    assert (done.exit_code, "it keeps no images" in done.stderr) == (Code.NOT_FOUND.exit_code, True)


def test_every_option_of_an_image_is_shown() -> None:
    assert {column.field for column in _images._OPTIONS.columns} == {field.name for field in fields(ImageOptions)}
