"""`runtara start-many`, `signal-many` and `cancel`: say the same to many instances, or start many."""

from collections.abc import Iterator
from typing import Any, Final

import click
import msgspec
from msgspec.structs import replace

from runtara.cli._filters import filter_of, filter_options, of_many
from runtara.cli._instances import fetch
from runtara.cli._payloads import read_payload
from runtara.cli._reach import Door, Reach, client_options
from runtara.cli._tables import INSTANCES, Column, Table, json_option, print_json, print_rows
from runtara.clock import span_ms
from runtara.decoders import decode_json
from runtara.errors import InvalidInput
from runtara.ids import new_id
from runtara.lifecycle import FINAL, Status
from runtara.messages import (
    InstanceFilter,
    ListInstances,
    ManySignaled,
    SignalMany,
    SignalOutcome,
    StartInstance,
    StartOutcome,
)
from runtara.sdk.management import Management

__all__ = ["cancel", "signal_many", "start_many"]

_PAGE: Final = 1_000

_COLUMNS: Final = (Column("instance_id", "instance"), Column("status", "status"), Column("error", "refused"))
_SIGNALED: Final = Table(SignalOutcome, _COLUMNS)
_STARTED: Final = Table(StartOutcome, _COLUMNS)

_all_option = click.option(
    "--all", "every", is_flag=True, help="Mean all instances that the other options let through."
)
_status_option = click.option(
    "--status",
    type=click.Choice([status.value for status in Status if status not in FINAL]),
    help="Only those that stand so.",
)
_grace_option = click.option(
    "--grace", type=float, metavar="SECONDS", help="How long each program may take to clean up and end."
)
_dry_run_option = click.option("--dry-run", is_flag=True, help="Only list whom it would concern.")


@click.command(cls=of_many("stop ID"))
@_all_option
@_status_option
@filter_options
@_grace_option
@_dry_run_option
@json_option
@client_options
def cancel(reach: Reach, **options: Any) -> None:  # those above
    """Cancel many instances: all of a tenant that are not finished, or those that the options let through.

    For a single one there is `runtara stop`. The exit code is 1 where an instance could not be cancelled.
    """
    _signal(reach, "cancel", **options)


@click.command("signal-many", cls=of_many("signal ID cancel|pause|resume"))
@click.argument("kind", type=click.Choice(["cancel", "pause", "resume"]))
@_all_option
@_status_option
@filter_options
@_grace_option
@_dry_run_option
@json_option
@client_options
def signal_many(reach: Reach, kind: Any, **options: Any) -> None:  # those above
    """Cancel, pause or resume many instances: all that are not finished, or those that the options let through.

    For a single one there is `runtara signal`. The exit code is 1 where an instance has refused it.
    """
    _signal(reach, kind, **options)


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """A start, as a line of JSON says it."""

    id: str
    program: str
    image: bool = False
    input: msgspec.Raw = msgspec.Raw()
    env: dict[str, str] = {}
    timeout: float | None = None
    resources: dict[str, float] = {}
    priority: int = 0

    @property
    def start(self) -> StartInstance:
        """What is sent to the server."""
        return StartInstance(
            program=self.program,
            image=self.image,
            input=bytes(self.input) or None,
            env=self.env,
            timeout_ms=None if self.timeout is None else span_ms(self.timeout, "timeout"),
            resources=self.resources,
            priority=self.priority,
        )


@click.command("start-many")
@click.argument("file", metavar="@FILE|-")
@json_option
@client_options
def start_many(reach: Reach, file: str, as_json: bool) -> None:
    """Start the instances that a file, or standard input, describes in lines of JSON.

    Each is an object with id and program, and whatever else `runtara start` has an option for: image (true or false),
    input (any JSON), env, timeout (seconds), resources, priority. Done again, it starts those that are missing. The
    exit code is 1 where one was refused.
    """
    starts = {line.id: line.start for line in _lines(read_payload(file, "starts"))}
    with reach.door() as door:
        outcomes = Management(door).start_many(starts)
    if as_json:
        print_json(outcomes)
    else:
        print_rows(_STARTED, outcomes)
    _end(outcomes)


def _lines(data: bytes) -> Iterator[_Line]:
    for number, text in enumerate(data.splitlines(), 1):
        if text.strip():
            try:
                yield decode_json(text, _Line)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise InvalidInput(f"line {number} of the starts is not readable: {error}") from None


def _signal(
    reach: Reach, kind: Any, *, every: bool, grace: float | None, dry_run: bool, as_json: bool, **wanted: Any
) -> None:
    if not every:
        raise click.UsageError("say --all, and narrow it with the other options; for one instance use `runtara stop`.")
    with reach.door() as door:
        meant = filter_of(door, **wanted)
        if dry_run:
            _list(door, meant, as_json)
            return
        grace_ms = None if grace is None else span_ms(grace, "grace")
        command = SignalMany(kind=kind, signal_id=new_id(), filter=meant, grace_ms=grace_ms, limit=_PAGE)
        done: ManySignaled = fetch(door, command, "outcomes", every=True)
    if as_json:
        print_json(done)
    else:
        print_rows(_SIGNALED, done.outcomes)
    _end(done.outcomes)


def _end(outcomes: Any) -> None:
    if any(outcome.error is not None for outcome in outcomes):
        click.get_current_context().exit(1)


def _list(door: Door, wanted: InstanceFilter, as_json: bool) -> None:
    page = fetch(door, ListInstances(limit=_PAGE, filter=wanted), "instances", every=True)
    page = replace(page, instances=tuple(row for row in page.instances if row.status not in FINAL))
    if as_json:
        print_json(page)
    else:
        print_rows(INSTANCES, page.instances)
