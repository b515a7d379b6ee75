"""Options that say which instances are meant."""

import json

import click
import pytest
from click.testing import CliRunner

from runtara.cli import main
from runtara.cli._filters import filter_of, filter_options
from runtara.lifecycle import Status
from runtara.messages import GetImage, InstanceFilter
from tests.cli.terminal import Terminal
from tests.sdk.management.clients import Listening


def test_every_option_narrows_a_list(terminal: Terminal) -> None:
    terminal("start", "/programs/greet.py", "--id", "a-1", "--wait")
    terminal("start", "/programs/fail.py", "--id", "a-2", "--wait")
    terminal("start", "/programs/greet.py", "--id", "b-1", "--wait")

    def listed(*options: str) -> list[str]:
        return [row["instance_id"] for row in json.loads(terminal("ps", "--json", *options).stdout)["instances"]]

    assert listed() == ["a-1", "a-2", "b-1"]
    assert listed("--prefix", "a-") == ["a-1", "a-2"]
    assert listed("--prefix", "a-", "--status", "completed") == ["a-1"]
    assert listed("--program", "/programs/fail.py") == ["a-2"]
    assert listed("--created-from", "2999-01-01") == []
    assert listed("--created-before", "2999-01-01", "--limit", "1", "--all") == ["a-1", "a-2", "b-1"]


def test_an_image_is_meant_by_its_name() -> None:
    wanted: list[InstanceFilter] = []

    @click.command()
    @click.option("--status")
    @filter_options
    def command(**given: str | None) -> None:
        door = Listening(InstanceFilter)
        wanted.append(filter_of(door, **given))  # type: ignore[arg-type]  # all that is used of a door

    done = CliRunner().invoke(command, ["--image", "report", "--status", "failed"], catch_exceptions=False)

    assert (done.exit_code, wanted) == (0, [InstanceFilter(status=Status.FAILED, image_id="a")])


def test_an_image_that_is_unknown_is_refused(terminal: Terminal) -> None:
    with pytest.raises(Exception, match="it was heard"):
        filter_of(Listening(GetImage), status=None, image="report")  # type: ignore[arg-type]  # all that is used of a door


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (["cancel", "order-7"], "runtara stop ID"),
        (["signal-many", "pause", "order-7"], "runtara signal ID cancel|pause|resume"),
        (["watch", "order-7"], "runtara events ID --follow"),
    ],
    ids=lambda part: part[0] if isinstance(part, list) else "",
)
def test_whoever_names_an_instance_where_many_are_meant_is_told_of_the_command_for_one(
    words: list[str], instead: str
) -> None:
    result = CliRunner().invoke(main, words)

    assert result.exit_code == 2
    assert f"for 'order-7' alone there is `{instead}`" in " ".join(result.output.split())
