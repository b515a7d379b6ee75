"""What is said about a program that is to be started."""

from pathlib import Path
from typing import Any

import pytest

from runtara.cli._program_options import Wanted, wanted
from runtara.errors import InvalidInput
from runtara.ids import check_id


def asked(program: str = "p.py", **options: Any) -> Wanted:
    given: dict[str, Any] = {"input_": None, "instance_id": None, "env": (), "timeout": None}
    return wanted(program, **given | options)


def test_a_program_is_named_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link.py").symlink_to("elsewhere.py")
    monkeypatch.chdir(tmp_path)

    assert asked("jobs/../link.py").command.program == str(tmp_path / "link.py")


def test_the_id_is_chosen_before_anything_is_sent() -> None:
    first, second = asked(), asked()

    assert check_id(first.instance_id, "id") != second.instance_id
    assert asked(instance_id="mine").instance_id == "mine"


def test_input_is_json_or_comes_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"\xff not json")

    assert asked(input_='{"a": [1]}').command.input == b'{"a": [1]}'
    assert asked(input_=f"@{tmp_path / 'raw'}").command.input == b"\xff not json"
    assert asked().command.input is None


def test_environment_and_timeout_are_taken_over() -> None:
    command = asked(env=("A=1", "B=x=y", "C="), timeout=1.5).command

    assert command.env == {"A": "1", "B": "x=y", "C": ""}
    assert command.timeout_ms == 1500


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"input_": "{a: 1}"}, "input is not JSON"),
        ({"input_": ""}, "input is not JSON"),
        ({"env": ("A",)}, "NAME=VALUE"),
        ({"env": ("=1",)}, "NAME=VALUE"),
        ({"timeout": -1.0}, "timeout of -1.0 s"),
        ({"timeout": float("nan")}, "timeout of nan s"),
        ({"instance_id": "a/b"}, "instance id"),
        ({"instance_id": ""}, "instance id is empty"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        asked(**options)


def test_one_that_only_names_program_and_id_says_no_more() -> None:
    assert not asked(instance_id="mine").says_more
    assert asked(instance_id="mine", input_="1").says_more
    assert asked(timeout=1.0).says_more


def test_needs_are_numbers_by_name() -> None:
    assert asked(resources=("cpu=2", "memory=1e9", "nvidia.com/gpu=1")).command.resources == {
        "cpu": 2.0,
        "memory": 1e9,
        "nvidia.com/gpu": 1.0,
    }
    with pytest.raises(InvalidInput, match="NAME=AMOUNT"):
        asked(resources=("cpu",))


def test_the_reference_of_an_image_is_taken_as_it_stands() -> None:
    assert asked("registry.example/jobs/report:1", image=True).command.program == "registry.example/jobs/report:1"
