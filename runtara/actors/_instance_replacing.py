"""Decisions about instances that are put in the place of others with their ids, because somebody says so.

Pure functions of a `Case` and a command. Whatever becomes of the old instance is no change of it: it is gone, with its
history, in the commit in which the new one begins. The new one's epoch is higher than any of the old one's, so an
attempt of that which still speaks is fenced like any other; and it is stopped, where this host has launched it.
"""

import msgspec
from msgspec.structs import replace

from runtara.actors._instance_case import ORIGIN, Case, Decision
from runtara.actors._instance_departures import stop
from runtara.actors._instance_events import (
    DISARM,
    UNTRACK,
    AttemptRegistered,
    Effect,
    InstanceCreated,
    InstanceReplaced,
    Replacement,
    Track,
)
from runtara.decoders import decode_json
from runtara.errors import InvalidInput
from runtara.messages import InstanceRegistered, RegisterInstance
from runtara.records import Instance

__all__ = ["is_of_the_old_one", "replace_by_register", "replace_by_start", "was_replaced_by"]


def was_replaced_by(case: Case, request_id: str | None) -> bool:
    """Whether the instance is the very one that this request has put there: its answer was lost, and it comes again."""
    replacement = _replacement(case)
    return replacement is not None and replacement.request_id == request_id


def is_of_the_old_one(case: Case, epoch: int) -> bool:
    """Whether an attempt was one of the instance in whose place this one has come."""
    replacement = _replacement(case)
    return replacement is not None and replacement.epoch is not None and epoch <= replacement.epoch


def _replacement(case: Case) -> Replacement | None:
    origin = case.read(ORIGIN)
    if not isinstance(origin, bytes):
        return None
    try:
        return decode_json(origin, Replacement)
    except msgspec.MsgspecError:
        return None  # it is that of a fork


def replace_by_start(case: Case, created: Decision, request_id: str | None) -> Decision:
    """Let the instance that `created` brings into being come into the place of this one, to wait for its launch."""
    (event,) = created.events
    assert isinstance(event, InstanceCreated), "a start creates, and no more"
    # As long as a process of the old one may be there, whoever looks anew must know of it.
    row = replace(_successor(case, event.instance), claimed_epoch=case.row.claimed_epoch)
    replaced = _replaced(case, replace(event, instance=row), request_id)
    return Decision((replaced,), created.reply, (*_effects_of_end(case), *created.effects))


def replace_by_register(case: Case, row: Instance, command: RegisterInstance) -> Decision:
    """Let the attempt that registers be the first one of a new instance, of which `row` is the row."""
    if case.epoch is not None:
        case.require_owner()
        raise InvalidInput(
            f"attempt {case.epoch} of instance {case.row.instance_id!r} goes on with it: only a new program replaces it"
        )
    row = _successor(case, row)
    events = (
        _replaced(case, InstanceCreated(row), command.attempt_id),
        AttemptRegistered(command.attempt_id, row.epoch, case.now),
    )
    reply = InstanceRegistered(epoch=row.epoch, resumed=False)
    return Decision(events, reply, (*_effects_of_end(case), Track(row.epoch)))


def _successor(case: Case, row: Instance) -> Instance:
    """Return the row of a new instance, numbered on from the old one; no two of one id begin in the same moment."""
    old = case.row
    return replace(row, version=old.version, epoch=old.epoch + 1, created_at=max(row.created_at, old.created_at + 1))


def _replaced(case: Case, created: InstanceCreated, request_id: str | None) -> InstanceReplaced:
    replacement = Replacement(request_id or "", case.row.status, case.row.epoch)
    return InstanceReplaced(replace(created, replacement=replacement))


def _effects_of_end(case: Case) -> tuple[Effect, ...]:
    """Return what sees to it that nothing is done for the old instance any more."""
    return (UNTRACK, *((DISARM,) if case.armed else ()), *stop(case, "ask"))
