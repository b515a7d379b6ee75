"""Instances as a blocking program manages them. Its twin is `_async_instances`."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from runtara import messages
from runtara.ids import new_id
from runtara.lifecycle import Status
from runtara.records import Event, Retry
from runtara.sdk._drive import drive_blocking
from runtara.sdk._flows import Flow
from runtara.sdk._wishes import Stream, ask, perform_blocking
from runtara.sdk.management import _flows as flows
from runtara.sdk.management import _rows as lists
from runtara.sdk.management._base import ManagementBase
from runtara.sdk.management._flows import LogStream, Many
from runtara.sdk.management._rows import Rows
from runtara.sdk.management._values import (
    Span,
    bytes_of,
    check_completed,
    ms_of,
    new_start,
    output_of,
    seconds_of,
    value_of,
)

__all__ = ["Instances"]

T = TypeVar("T")


class Instances(ManagementBase):
    """What may be done with instances. A part of `Management`."""

    # Start

    def start(
        self,
        program: str,
        input: Any = None,
        *,
        instance_id: str | None = None,
        image: bool = False,
        env: Mapping[str, str] | None = None,
        timeout: Span | None = None,
        resources: Mapping[str, float] | None = None,
        priority: int = 0,
        start_at: datetime | None = None,
        replace: bool = False,
    ) -> messages.InstanceStarted:
        """Start a program; the same start under the same id again starts nothing new.

        `program` is a path on the server's machine, or with `image` the name of an image (`report`, or `report@3` for
        one of its versions). `input` goes as JSON, bytes as they are. `timeout` is how long all attempts together may
        run. Among those that wait for a place, a higher `priority` goes first. With `replace`, whatever has the id is
        stopped and forgotten, whatever its status, and a new instance begins. Raises `NotFound` for a program that is
        not known, and `AlreadyExists` for an id that was started with something else.
        """
        start = new_start(
            program,
            input,
            image=image,
            env=env,
            timeout=timeout,
            resources=resources,
            priority=priority,
            start_at=start_at,
            replace=replace,
        )
        return self._run(ask(self._beside(instance_id or new_id()), start))

    def run(
        self,
        program: str,
        input: Any = None,
        *,
        instance_id: str | None = None,
        image: bool = False,
        env: Mapping[str, str] | None = None,
        timeout: Span | None = None,
        resources: Mapping[str, float] | None = None,
        priority: int = 0,
        wait: Span | None = None,
    ) -> messages.InstanceInfo:
        """Start a program like `start`, and wait until it has ended, `wait` seconds at most.

        See `wait_for_completion` for what is returned, and raised.
        """
        start = new_start(program, input, image=image, env=env, timeout=timeout, resources=resources, priority=priority)
        return self._run(flows.run(self._watching(instance_id or new_id()), start, seconds_of(wait, "wait")))

    def start_many(self, starts: Mapping[str, messages.StartInstance]) -> tuple[messages.StartOutcome, ...]:
        """Start many instances, by their ids (see `new_start`); return what became of each.

        What is refused of one does not concern the others. Sent again, it starts those that are missing.
        """
        return self._run(flows.start_many(self._door, starts))

    def fork(
        self, source: str, instance_id: str | None = None, *, checkpoint_id: str | None = None, input: Any = None
    ) -> messages.InstanceStarted:
        """Start an instance that goes on from where `source` was, with its checkpoints up to `checkpoint_id`.

        With another `input`, if one is given. The source is not changed. The same fork again starts nothing new.
        """
        content = None if input is None else bytes_of(input, "input")
        command = messages.ForkInstance(source=source, checkpoint_id=checkpoint_id, input=content)
        return self._run(ask(self._beside(instance_id or new_id()), command))

    def retry(self, instance_id: str) -> messages.InstanceStarted:
        """Go on from the last checkpoint of an instance that has failed or was cancelled, as another one.

        It is called like the old one with `.r1` behind, that for `.r1` with `.r2`, and so on; retrying the same again
        starts nothing new. Raises `InvalidState` for an instance that has not failed.
        """
        return self._run(flows.retry(self._beside(instance_id), self._beside))

    # Look

    def status(self, instance_id: str) -> messages.InstanceInfo:
        """Return how an instance stands. Raises `InstanceNotFound` for one that is not the tenant's."""
        return self._run(ask(self._beside(instance_id), messages.GetStatus()))

    def wait_for_completion(self, instance_id: str, timeout: Span | None = None) -> messages.InstanceInfo:
        """Wait until an instance has ended, well or badly, and return how; one that rests has not ended.

        The server says when something happens: nothing is polled. Raises `DeadlineExceeded` after `timeout` (seconds),
        which leaves the instance as it is, `InstanceNotFound`, and `Unreachable` where the server is away for long.
        """
        return self._run(flows.wait_until_ended(self._watching(instance_id), seconds_of(timeout, "timeout")))

    def watch(self, instance_id: str) -> Stream[messages.InstanceInfo]:
        """Return how an instance stands, now and then whenever that has changed, until it has ended."""
        return Stream(flows.follow_status(self._watching(instance_id)))

    def input(self, instance_id: str, type: Any = Any) -> Any:
        """Return what an instance was started with, as a value of a type that its JSON says; None for nothing."""
        return value_of(self.input_bytes(instance_id), type, f"the input of instance {instance_id}")

    def input_bytes(self, instance_id: str) -> bytes | None:
        """Return what an instance was started with, byte for byte, or None."""
        return self._run(ask(self._beside(instance_id), messages.GetInput())).input

    def output(self, instance_id: str, type: Any = Any) -> Any:
        """Return the output of an instance that has completed, as a value of a type that its JSON says.

        Raises `InvalidState` for one that has not completed, `InstanceCancelled` for one that was cancelled, and
        `InvalidInput` for an output that is no such JSON.
        """
        return output_of(self.status(instance_id), type)

    def output_bytes(self, instance_id: str) -> bytes:
        """Return the output of an instance that has completed, byte for byte. Raises like `output`."""
        info = self.status(instance_id)
        check_completed(info)
        return info.output or b""

    def list_instances(
        self,
        *,
        status: Status | None = None,
        program: str | None = None,
        image: str | None = None,
        prefix: str = "",
        search: str = "",
        created_from: datetime | None = None,
        created_before: datetime | None = None,
        finished_from: datetime | None = None,
        finished_before: datetime | None = None,
        order: messages.InstanceOrder = "id",
        limit: int = 100,
    ) -> Rows[messages.InstanceSummary, messages.InstancePage]:
        """Return the instances that all of this is true of, in order, read in pages of `limit`.

        `image` is the name or id of an image, `prefix` what the id begins with, and `search` what it or the program has
        somewhere in it. With a minus, as in `-created`, the last one comes first.
        """
        wanted = partial(
            self._filter,
            status=status,
            program=program,
            image=image,
            prefix=prefix,
            search=search,
            created_from=created_from,
            created_before=created_before,
            finished_from=finished_from,
            finished_before=finished_before,
        )
        return Rows(lists.instances(self._door, wanted, messages.ListInstances(order=order, limit=limit)), "instances")

    def count_instances(self) -> dict[Status, int]:
        """Return how many instances stand where; statuses without any are left out."""
        return self._run(ask(self._door, messages.CountInstances())).counts

    def list_checkpoints(
        self, instance_id: str, *, limit: int = 100
    ) -> Rows[messages.CheckpointInfo, messages.CheckpointPage]:
        """Return the checkpoints of an instance without their states, the oldest first."""
        return Rows(lists.of_instance(self._beside(instance_id), messages.ListCheckpoints(limit=limit)), "checkpoints")

    def checkpoint(self, instance_id: str, checkpoint_id: str) -> bytes | None:
        """Return the state that an instance has saved under an id, or None. An empty state is not None."""
        found = self._run(ask(self._beside(instance_id), messages.GetCheckpoint(checkpoint_id=checkpoint_id)))
        return found.state if found.found else None

    def list_events(
        self, instance_id: str, *, type: str | None = None, subtype: str | None = None, limit: int = 100
    ) -> Rows[Event, messages.EventPage]:
        """Return what has happened to an instance, the oldest first; of one type or subtype only, if one is given."""
        command = messages.ListEvents(event_type=type, subtype=subtype, limit=limit)
        return Rows(lists.of_instance(self._beside(instance_id), command), "events")

    def follow_events(self, instance_id: str, *, type: str | None = None, subtype: str | None = None) -> Stream[Event]:
        """Return what has happened to an instance, and then what happens, until it has ended."""
        command = messages.ListEvents(event_type=type, subtype=subtype, limit=1000)
        return Stream(flows.follow_events(self._watching(instance_id), command))

    def list_steps(
        self,
        instance_id: str,
        *,
        status: messages.StepStatus | None = None,
        type: str | None = None,
        limit: int = 100,
    ) -> Rows[messages.Step, messages.StepPage]:
        """Return what an instance has done, by when it began: checkpoints, sleeps, waits, failed tries, own steps."""
        command = messages.ListSteps(status=status, step_type=type, limit=limit)
        return Rows(lists.of_instance(self._beside(instance_id), command), "steps")

    def retries(self, instance_id: str, checkpoint_id: str) -> tuple[Retry, ...]:
        """Return the failed tries of a step, the oldest first."""
        return self._run(ask(self._beside(instance_id), messages.ListRetries(checkpoint_id=checkpoint_id))).retries

    def log(self, instance_id: str, stream: LogStream = "stdout", *, offset: int = 0) -> bytes:
        """Return what a launched program has written so far, from a byte on; `-100` are the last hundred."""
        return self._run(flows.read_log(self._beside(instance_id), stream, offset))

    def follow_log(self, instance_id: str, stream: LogStream = "stdout", *, offset: int = 0) -> Stream[bytes]:
        """Return what a launched program has written, and then what it writes, until the instance has ended."""
        return Stream(flows.follow_log(self._beside(instance_id), stream, offset))

    # Tell

    def signal(
        self, instance_id: str, name: str, payload: Any = b"", *, signal_id: str | None = None
    ) -> messages.SignalAccepted:
        """Send a signal with a name, for which the program waits; the payload goes as JSON, bytes as they are.

        The same `signal_id` sent twice is one signal. Raises `InvalidState` for an instance that has ended.
        """
        content = bytes_of(payload, "payload")
        return self._run(
            flows.send(self._beside(instance_id), "custom", name=name, payload=content, signal_id=signal_id)
        )

    def cancel(self, instance_id: str, *, grace: Span | None = None) -> messages.SignalAccepted:
        """Cancel an instance: its program may clean up for `grace` seconds, or the server's own measure."""
        return self._run(flows.send(self._beside(instance_id), "cancel", grace_ms=ms_of(grace, "grace")))

    def stop(
        self, instance_id: str, *, grace: Span | None = None, timeout: Span | None = None
    ) -> messages.InstanceInfo:
        """Cancel an instance and wait, for `timeout` seconds at most, until it has ended; return how."""
        grace_ms, seconds = ms_of(grace, "grace"), seconds_of(timeout, "timeout")
        return self._run(flows.stop(self._watching(instance_id), grace_ms, seconds))

    def pause(self, instance_id: str) -> messages.SignalAccepted:
        """Have an instance rest until it is resumed."""
        return self._run(flows.send(self._beside(instance_id), "pause"))

    def resume(self, instance_id: str) -> messages.SignalAccepted:
        """Have an instance that rests go on now."""
        return self._run(flows.send(self._beside(instance_id), "resume"))

    def shut_down(self, instance_id: str, *, grace: Span | None = None) -> messages.SignalAccepted:
        """Have the program of an instance make room: it ends, and is launched again."""
        return self._run(flows.send(self._beside(instance_id), "shutdown", grace_ms=ms_of(grace, "grace")))

    def signal_many(
        self,
        kind: Many,
        *,
        status: Status | None = None,
        program: str | None = None,
        image: str | None = None,
        prefix: str = "",
        search: str = "",
        created_from: datetime | None = None,
        created_before: datetime | None = None,
        grace: Span | None = None,
    ) -> tuple[messages.SignalOutcome, ...]:
        """Cancel, pause or resume all instances that are not finished and that all of this is true of.

        Without any of it, that are all of the tenant. Returns what became of each.
        """
        wanted = self._filter(
            status=status,
            program=program,
            image=image,
            prefix=prefix,
            search=search,
            created_from=created_from,
            created_before=created_before,
        )
        return self._run(flows.signal_many(self._door, kind, wanted, ms_of(grace, "grace")))

    def _run(self, flow: Flow[T]) -> T:
        return drive_blocking(flow, perform_blocking)
