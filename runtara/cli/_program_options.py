"""What `start` and `run` say about a program: which one, with what input, under which id, in what environment."""

import json
import os
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click
import msgspec

from runtara.cli._payloads import is_elsewhere, read_payload
from runtara.clock import span_ms
from runtara.errors import InvalidInput
from runtara.ids import check_id, new_id
from runtara.messages import StartInstance

__all__ = ["Wanted", "program_options", "read_input", "variables", "wanted"]

C = TypeVar("C", bound=Callable[..., Any])


class Wanted(msgspec.Struct, frozen=True):
    """An instance that is to be started."""

    instance_id: str
    command: StartInstance

    @property
    def says_more(self) -> bool:
        """Whether more is said than which program under which id."""
        return self.command != StartInstance(program=self.command.program)


def program_options(command: C) -> C:
    """Add the argument PROGRAM and the options that describe an instance; `wanted` turns them into one."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS: Final = (
    click.argument("program", type=click.Path()),
    click.option(
        "--input",
        "input_",
        metavar="JSON|@FILE|-",
        help="What the program is given: JSON as it stands here, the bytes of a file, or those of standard input.",
    ),
    click.option("--id", "instance_id", metavar="ID", help="Id of the instance; by default a new one."),
    click.option(
        "--env", "env", metavar="NAME=VALUE", multiple=True, help="A variable for the program; may be repeated."
    ),
    click.option(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="How long it may run, all attempts together; rests do not count.",
    ),
    click.option(
        "--resource",
        "resources",
        metavar="NAME=AMOUNT",
        multiple=True,
        help="What each attempt needs, where the host places by it: cpu=2, memory=1e9 (bytes); may be repeated.",
    ),
    click.option(
        "--priority",
        type=click.IntRange(-100, 100),
        metavar="N",
        default=0,
        show_default=True,
        help="Of those of the tenant that wait for a place, a higher one goes first: from -100 to 100.",
    ),
    click.option(
        "--image",
        is_flag=True,
        help="PROGRAM is an image, not a path: one that was pushed, or what a cluster fetches by its reference.",
    ),
)


def wanted(
    program: str,
    *,
    input_: str | None,
    instance_id: str | None,
    env: Sequence[str],
    timeout: float | None,
    resources: Sequence[str] = (),
    priority: int = 0,
    image: bool = False,
) -> Wanted:
    """Return what the options ask for. Raises `InvalidInput`.

    The id is chosen here if nowhere else, so that a start that is sent again starts nothing twice.
    """
    path = os.path.abspath(program)  # noqa: PTH100 - links are followed by the host, which checks where they lead
    command = StartInstance(
        program=program if image else path,
        image=image,
        input=None if input_ is None else read_input(input_),
        env=variables(env),
        timeout_ms=None if timeout is None else span_ms(timeout, "timeout"),
        resources=dict(_amount(text) for text in resources),
        priority=priority,
    )
    return Wanted(new_id() if instance_id is None else check_id(instance_id, "instance id"), command)


def read_input(text: str) -> bytes:
    """Return the input that is meant by JSON, @FILE or -. Raises `InvalidInput`."""
    data = read_payload(text, "input")
    if not is_elsewhere(text):
        try:
            json.loads(text)
        except ValueError as error:
            raise InvalidInput(
                f"input is not JSON ({error}): for other bytes use @FILE, or - for standard input"
            ) from None
    return data


def variables(texts: Sequence[str]) -> dict[str, str]:
    """Return the variables that were given as NAME=VALUE. Raises `InvalidInput`."""
    return dict(_variable(text) for text in texts)


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidInput(f"environment variable {text!r} is not of the form NAME=VALUE")
    return name, value


def _amount(text: str) -> tuple[str, float]:
    name, _, amount = text.partition("=")
    try:
        return name, float(amount)
    except ValueError:
        raise InvalidInput(f"resource {text!r} is not of the form NAME=AMOUNT, as in cpu=2") from None
