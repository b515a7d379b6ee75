"""What goes into instances and comes out of them, as Python values: JSON, or the bytes themselves."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from runtara.clock import span_ms
from runtara.decoders import decode_json
from runtara.errors import InstanceCancelled, InvalidInput, InvalidState
from runtara.lifecycle import Status
from runtara.messages import InstanceInfo, SchedulePlan, StartInstance, TreeFound
from runtara.sdk._flows import instant_ms
from runtara.sdk._results import UNFIT, Codec, encode

if TYPE_CHECKING:
    from runtara.actors import ActorInfo

__all__ = [
    "Span",
    "bytes_of",
    "check_completed",
    "instant_of",
    "ms_of",
    "new_plan",
    "new_start",
    "output_of",
    "seconds_of",
    "tree_of",
    "value_of",
]

Span = float | timedelta
"""Seconds, or a `timedelta`."""


def new_start(
    program: str,
    input: Any = None,
    *,
    image: bool = False,
    env: Mapping[str, str] | None = None,
    timeout: Span | None = None,
    resources: Mapping[str, float] | None = None,
    priority: int = 0,
    start_at: datetime | None = None,
    replace: bool = False,
) -> StartInstance:
    """Return the description of an instance, as `start_many` takes it.

    `program` is a path on the server's machine, or with `image` the name of an image. `input` goes as JSON, bytes as
    they are; without one, the program has none. `timeout` is how long all attempts together may run. With `replace`, it
    comes into the place of whatever has its id. Raises `InvalidInput` for an input that JSON cannot express.
    """
    return StartInstance(
        program=program,
        image=image,
        input=None if input is None else bytes_of(input, "input"),
        env=dict(env or {}),
        timeout_ms=ms_of(timeout, "timeout"),
        resources=dict(resources or {}),
        priority=priority,
        start_at=instant_of(start_at),
        replace=replace,
    )


def new_plan(
    start: StartInstance,
    *,
    every: Span | None,
    until: datetime | None,
    **plan: Any,  # fields that are the plan's own
) -> SchedulePlan:
    """Return when a schedule starts what."""
    return SchedulePlan(start=start, every_ms=ms_of(every, "every"), until=instant_of(until), **plan)


def tree_of(found: TreeFound) -> "ActorInfo":
    """Return what every actor is doing, as the answer to `GetTree` says it."""
    from runtara.actors import ActorInfo  # takes a while, and only those who look at it need wait for it

    return decode_json(found.tree, ActorInfo)


def bytes_of(value: Any, what: str) -> bytes:
    """Return bytes as they are, and anything else as JSON. Raises `InvalidInput` for what JSON cannot express."""
    if isinstance(value, bytes):
        return value
    try:
        return encode(value)
    except UNFIT as error:
        raise InvalidInput(f"{what} cannot be expressed in JSON ({error}): give bytes instead") from None


def value_of(data: bytes | None, type: Any, what: str) -> Any:
    """Return the value of a type that JSON says; None for nothing. Raises `InvalidInput` for what is no such JSON."""
    if not data:
        return None
    codec = Codec(type, f"{what} is to be read as")
    try:
        return codec.read(data, "it")
    except InvalidInput as error:
        raise InvalidInput(f"{what} is not JSON of the type that was asked for: read its bytes instead") from error


def output_of(info: InstanceInfo, type: Any = Any) -> Any:
    """Return the output of an instance that has completed, as the value of a type that its JSON says.

    Raises `InvalidState` for one that has not completed, `InstanceCancelled` for one that was cancelled, and
    `InvalidInput` for an output that is no such JSON.
    """
    check_completed(info)
    return value_of(info.output, type, f"the output of instance {info.instance_id}")


def check_completed(info: InstanceInfo) -> None:
    """Raise what keeps an instance from having an output."""
    if info.status is Status.CANCELLED:
        raise InstanceCancelled(f"instance {info.instance_id} was cancelled, and has no output")
    if info.status is not Status.COMPLETED:
        why = f": {info.error}" if info.error else ""
        raise InvalidState(f"instance {info.instance_id} has no output, it is {info.status}{why}")


def seconds_of(span: Span | None, what: str) -> float | None:
    """Return a span in seconds. Raises `InvalidInput` for one that is no span."""
    return None if span is None else span_ms(_seconds(span), what) / 1000


def ms_of(span: Span | None, what: str) -> int | None:
    """Return a span in milliseconds, rounded up. Raises `InvalidInput` for one that is no span."""
    return None if span is None else span_ms(_seconds(span), what)


def _seconds(span: Span) -> float:
    return span.total_seconds() if isinstance(span, timedelta) else span


def instant_of(instant: datetime | None) -> int | None:
    """Return an instant in milliseconds since 1970 UTC. Raises `InvalidInput` for one without a time zone."""
    return None if instant is None else instant_ms(instant)
