"""What the calls of a management client do that takes more than one command, once for all faces."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from typing import Any, Final, Literal

from msgspec.structs import replace

from runtara import messages
from runtara.errors import DeadlineExceeded, InvalidState
from runtara.ids import new_id
from runtara.lifecycle import FINAL, Status
from runtara.sdk._flows import RECHECK, Flow
from runtara.sdk._wishes import Emit, ask, await_push, now
from runtara.transport import Door

__all__ = [
    "LOOK_EVERY",
    "LogStream",
    "Many",
    "follow_events",
    "follow_log",
    "follow_status",
    "id_of_retry",
    "instance_filter",
    "read_log",
    "retry",
    "run",
    "send",
    "signal_many",
    "start_many",
    "stop",
    "wait_until_ended",
]

PATIENCE: Final = 30.0
"""Seconds after which a wait gives up on a server that does not answer, where it may last longer."""
BRIEF: Final = 1.0
"""Seconds that an answer may take at least, however little time is left."""
LOOK_EVERY: Final = 2.0
"""Seconds after which a follower looks for what is not pushed: events that the program itself has written."""
LOG_WAIT_MS: Final = 20_000
"""How long a server holds a question for more of a log, before it is asked again."""
PAGE: Final = 1_000
"""Most instances that one command concerns."""
PART_BYTES: Final = 4 * 1024 * 1024
"""Bytes of input after which a command takes no further start."""

LogStream = Literal["stdout", "stderr"]
Many = Literal["cancel", "pause", "resume"]

_RETRIED: Final = re.compile(r"(.+)\.r([1-9][0-9]{0,8})", re.DOTALL)


# One instance ---------------------------------------------------------------------------------------------------------


def wait_until_ended(door: Door, timeout: float | None) -> Flow[messages.InstanceInfo]:
    """Look how the instance of a door stands whenever something happens to it, until it has ended. Closes the door."""
    try:
        until = inf if timeout is None else (yield from now()) + timeout
        while True:
            since, left = door.session.pushes, until - (yield from now())
            info = yield from ask(door, messages.GetStatus(), max(BRIEF, min(left, PATIENCE)))
            if info.status in FINAL:
                return info
            left = until - (yield from now())
            if left <= 0:
                raise DeadlineExceeded(f"instance {info.instance_id} has not ended in time: it is {info.status}")
            yield from await_push(door, min(left, RECHECK), since)
    finally:
        door.close()


def run(door: Door, start: messages.StartInstance, timeout: float | None) -> Flow[messages.InstanceInfo]:
    """Start the instance of a door, and wait until it has ended. Closes the door."""
    try:
        yield from ask(door, start)
        return (yield from wait_until_ended(door, timeout))
    finally:
        door.close()


def stop(door: Door, grace_ms: int | None, timeout: float | None) -> Flow[messages.InstanceInfo]:
    """Cancel the instance of a door, and wait until it has ended. Closes the door."""
    try:
        yield from send(door, "cancel", grace_ms=grace_ms)
        return (yield from wait_until_ended(door, timeout))
    finally:
        door.close()


def send(
    door: Door,
    kind: messages.SignalKind,
    *,
    name: str | None = None,
    payload: bytes = b"",
    grace_ms: int | None = None,
    signal_id: str | None = None,
) -> Flow[messages.SignalAccepted]:
    """Send a signal to the instance of a door."""
    signal_id = signal_id or new_id()
    command = messages.SendSignal(kind=kind, signal_id=signal_id, name=name, payload=payload, grace_ms=grace_ms)
    return (yield from ask(door, command))


def retry(door: Door, beside: Callable[[str], Door]) -> Flow[messages.InstanceStarted]:
    """Fork the instance of a door, which has failed or was cancelled, under the next id of its retries."""
    source = door.session.key.instance_id
    status = (yield from ask(door, messages.GetStatus())).status
    if status not in (Status.FAILED, Status.CANCELLED):
        raise InvalidState(
            f"instance {source!r} is {status}: only one that has failed or was cancelled is retried; "
            "to go on from any other, fork it"
        )
    return (yield from ask(beside(id_of_retry(source)), messages.ForkInstance(source=source)))


def id_of_retry(instance_id: str) -> str:
    """Return the id under which an instance is retried."""
    found = _RETRIED.fullmatch(instance_id)
    return f"{found[1]}.r{int(found[2]) + 1}" if found else f"{instance_id}.r1"


# What comes, one by one -----------------------------------------------------------------------------------------------


def follow_status(door: Door) -> Flow[None]:
    """Emit how the instance of a door stands, now and whenever that has changed, until it has ended."""
    try:
        before = None
        while True:
            since = door.session.pushes
            info = yield from ask(door, messages.GetStatus())
            if info != before:
                yield Emit(info)
            if info.status in FINAL:
                return
            before = info
            yield from await_push(door, RECHECK, since)
    finally:
        door.close()


def follow_events(door: Door, command: messages.ListEvents) -> Flow[None]:
    """Emit the events of the instance of a door as they come, until it has ended and all of them are told."""
    try:
        told = 0
        while True:
            since = door.session.pushes
            ended = (yield from ask(door, messages.GetStatus())).status in FINAL
            page = yield from ask(door, command)
            for event in page.events:
                if event.seq > told:
                    told = event.seq
                    yield Emit(event)
            if page.cursor is not None:
                command = replace(command, cursor=page.cursor)
            elif ended:
                return
            else:
                yield from await_push(door, LOOK_EVERY, since)
    finally:
        door.close()


def follow_log(door: Door, stream: LogStream, offset: int) -> Flow[None]:
    """Emit what the program of a door's instance writes, as it comes, until the instance has ended."""
    yield from ask(door, messages.GetStatus())  # one that is unknown has no log, but is to be refused
    node, ended = "", False
    while not ended:
        command = messages.ReadLog(stream=stream, offset=offset, wait_ms=LOG_WAIT_MS, node=node)
        piece = yield from ask(door, command, PATIENCE + LOG_WAIT_MS / 1000)
        if piece.data:
            yield Emit(piece.data)
        offset, node, ended = piece.offset + len(piece.data), piece.node, piece.ended


def read_log(door: Door, stream: LogStream, offset: int) -> Flow[bytes]:
    """Return what the program of a door's instance has written until now."""
    yield from ask(door, messages.GetStatus())
    node, parts = "", list[bytes]()
    while True:
        piece = yield from ask(door, messages.ReadLog(stream=stream, offset=offset, node=node))
        if not piece.data:
            return b"".join(parts)
        parts.append(piece.data)
        offset, node = piece.offset + len(piece.data), piece.node


# Many instances -------------------------------------------------------------------------------------------------------


def instance_filter(door: Door, image: str | None, **wanted: Any) -> Flow[messages.InstanceFilter]:
    """Return the filter that has these fields; an image is named by its name or id, and looked up."""
    image_id = None
    if image is not None:
        image_id = (yield from ask(door, messages.GetImage(image=image))).image_id
    return messages.InstanceFilter(image_id=image_id, **wanted)


def signal_many(
    door: Door, kind: Many, wanted: Flow[messages.InstanceFilter], grace_ms: int | None
) -> Flow[tuple[messages.SignalOutcome, ...]]:
    """Send a signal to all instances that a filter lets through."""
    filter = yield from wanted
    command = messages.SignalMany(kind=kind, signal_id=new_id(), filter=filter, grace_ms=grace_ms, limit=PAGE)
    outcomes = list[messages.SignalOutcome]()
    while True:
        done = yield from ask(door, command)
        outcomes += done.outcomes
        if done.cursor is None:
            return tuple(outcomes)
        command = replace(command, cursor=done.cursor)


def start_many(door: Door, starts: Mapping[str, messages.StartInstance]) -> Flow[tuple[messages.StartOutcome, ...]]:
    """Start instances, each under its id, with as few commands as that takes."""
    outcomes = list[messages.StartOutcome]()
    for part in _parts(starts.items()):
        outcomes += (yield from ask(door, messages.StartMany(starts=part))).outcomes
    return tuple(outcomes)


def _parts(starts: Iterable[tuple[str, messages.StartInstance]]) -> Iterator[tuple[messages.NamedStart, ...]]:
    part, size = list[messages.NamedStart](), 0
    for instance_id, start in starts:
        bytes_more = len(start.input or b"")
        if part and (len(part) == PAGE or size + bytes_more > PART_BYTES):
            yield tuple(part)
            part, size = [], 0
        part.append(messages.NamedStart(instance_id=instance_id, start=start))
        size += bytes_more
    if part:
        yield tuple(part)
