"""Options that say which instances of a tenant are meant, for commands that concern many."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from runtara.cli._reach import Door
from runtara.cli._spans import typed_instant
from runtara.lifecycle import Status
from runtara.messages import GetImage, InstanceFilter

__all__ = ["filter_of", "filter_options", "of_many"]

C = TypeVar("C", bound=Callable[..., Any])

_OPTIONS: Final = (
    click.option("--prefix", default="", metavar="TEXT", help="Only those whose id begins so."),
    click.option("--search", default="", metavar="TEXT", help="Only those whose id or program has it somewhere."),
    click.option("--program", metavar="PATH|NAME", help="Only those of this program."),
    click.option("--image", metavar="NAME", help="Only those of any version of this image."),
    click.option("--created-from", type=typed_instant, metavar="INSTANT", help="Only those created then or later."),
    click.option("--created-before", type=typed_instant, metavar="INSTANT", help="Only those created earlier."),
    click.option("--finished-from", type=typed_instant, metavar="INSTANT", help="Only those finished then or later."),
    click.option("--finished-before", type=typed_instant, metavar="INSTANT", help="Only those finished earlier."),
)


def of_many(single: str) -> type[click.Command]:
    """Return the class of a command about many instances: whoever names one is told of that for a `single` one."""

    class OfMany(click.Command):
        allow_extra_args = True

        def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
            rest = super().parse_args(ctx, args)
            if ctx.args:
                raise click.UsageError(
                    f"this is about many instances: for {ctx.args[0]!r} alone there is `runtara {single}`", ctx
                )
            return rest

    return OfMany


def filter_options(command: C) -> C:
    """Add the options; `filter_of` makes a filter of them. That on the status is the command's own."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def filter_of(door: Door, *, status: str | None, image: str | None, **given: Any) -> InstanceFilter:
    """Return the filter that the options mean; an image is looked up by its name or id."""
    image_id = None if image is None else door.call_from_thread(GetImage(image=image)).image_id
    return InstanceFilter(status=None if status is None else Status(status), image_id=image_id, **given)
