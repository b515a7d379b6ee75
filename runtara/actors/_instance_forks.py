"""Decisions about forks: instances that begin with what another one of their tenant has found so far.

The source is read, never changed, and whatever happens to it meanwhile does no harm: what a fork takes over (program,
input, environment, time limit, priority) never changes, and the store copies the rest together with the new row, or
nothing at all, where another instance has come into the source's place. What is copied is not known here; so the fork
is read anew before anything else is decided about it.
"""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from runtara.actors._instance_case import ORIGIN, Case, Decision, Need, Source, unknown_instance
from runtara.actors._instance_events import Arm, Fork, InstanceCreated
from runtara.actors._instance_state import InstanceState, new_row
from runtara.errors import AlreadyExists, NotFound, StoreCorrupt
from runtara.ids import InstanceKey
from runtara.messages import Call, ForkInstance, InstanceStarted
from runtara.records import Snapshot

__all__ = ["create_by_fork", "fork_instance", "needs_of_fork"]


def needs_of_fork(state: InstanceState, command: ForkInstance) -> tuple[Need, ...]:
    """A new instance is made from its source; one that exists is asked where it comes from."""
    return (Need("source", command.source),) if state.instance is None else (ORIGIN, Need("input"))


def create_by_fork(call: Call, command: ForkInstance, now: int, found: Mapping[Need, object]) -> Decision:
    """The fork waits for its first launch, due at once; one of a program that registers by itself waits for that."""
    source, snapshot = _source_of(call.key, command, found)
    row = snapshot.instance
    wake_at = None if row.program is None else now
    fork = replace(
        new_row(call.key, now),
        epoch=row.epoch,  # its attempts go on counting: to a program, the first is that of a new instance
        program=row.program,
        wake_at=wake_at,
        timeout_ms=row.timeout_ms,
        priority=row.priority,
        checkpoint_id=_last_checkpoint(snapshot, command),
    )
    content = source.input if command.input is None else command.input
    created = InstanceCreated(fork, content, source.env, _asked(command), source_created_at=row.created_at)
    reply = InstanceStarted(instance_id=fork.instance_id, status=fork.status, created=True)
    return Decision((created,), reply, () if wake_at is None else (Arm(wake_at),))


def fork_instance(case: Case, command: ForkInstance) -> Decision:
    """The same fork twice is one instance, whatever became of it."""
    if not _is_same_fork(case, command):
        raise AlreadyExists(
            f"instance {case.row.instance_id!r} exists and is another one than this fork of {command.source!r}: "
            "use another id, or the same source, checkpoint and input"
        )
    return Decision((), InstanceStarted(instance_id=case.row.instance_id, status=case.row.status, created=False))


def _asked(command: ForkInstance) -> Fork:
    return Fork(command.source, command.checkpoint_id, command.input is not None)


def _is_same_fork(case: Case, command: ForkInstance) -> bool:
    origin = case.read(ORIGIN)
    same_input = command.input is None or command.input == case.read_payload("input")
    return origin == msgspec.json.encode(_asked(command)) and same_input


def _source_of(key: InstanceKey, command: ForkInstance, found: Mapping[Need, object]) -> tuple[Source, Snapshot]:
    source = found[Need("source", command.source)]
    if not isinstance(source, Source):
        raise unknown_instance(InstanceKey(key.tenant_id, command.source))
    if not isinstance(source.snapshot, Snapshot):
        raise StoreCorrupt(f"instance {command.source!r} cannot be read: verify the store")
    return source, source.snapshot


def _last_checkpoint(snapshot: Snapshot, command: ForkInstance) -> str | None:
    ids, wanted = snapshot.checkpoint_ids, command.checkpoint_id
    if wanted is None:
        return ids[-1] if ids else None
    if wanted not in ids:
        raise NotFound(
            f"instance {command.source!r} has no checkpoint {wanted!r}: look which it has, or fork it from its last one"
        )
    return wanted
