"""Every operation that a door offers: one row per command; doors, clients, docs and tests derive from it.

All of them are idempotent: sent again with the same ids (and `request` numbers), they change nothing more and get the
answer that was lost; a start and a signal say (`created`) that they had arrived before. That lets a client resend.
"""

from typing import Final, Literal, get_args, get_origin

import msgspec

from runtara import messages
from runtara.messages import Role

__all__ = ["ENDPOINTS", "ROLES", "Endpoint", "Owner", "Right", "Role"]

Owner = Literal["instance", "many", "reader", "runner", "pool", "images", "schedules", "upkeep", "keys", "system"]
"""Who answers: the instance's own actor, whoever asks many of these, a reader of the store, the runner of programs, the
pool of workers, the registry of images, the actor that keeps to schedules, the upkeep of the host, the keeper of keys,
or the system as a whole."""

Right = Literal["read", "read-images", "push", "operate", "administer"]
"""What an operation asks of a tenant key: to look, to look at images, to push them, to change instances, to run the
host."""

ROLES: Final[dict[Role, frozenset[Right]]] = {
    "admin": frozenset({"read", "read-images", "push", "operate", "administer"}),
    "operator": frozenset({"read", "read-images", "operate"}),
    "read-only": frozenset({"read", "read-images"}),
    "image-push": frozenset({"read-images", "push"}),
}
"""What the keys of a tenant are good for."""

_Caller = Literal["program", "manager", "both", "worker"]


class Endpoint(msgspec.Struct, frozen=True):
    """One operation. `caller` is who may ask: the program itself, whoever manages its tenant, or a worker of his.

    A worker comes with a key of the tenant, like a manager; people have no use for what it asks.
    """

    command: type
    reply: type
    owner: Owner
    caller: _Caller
    right: Right
    """What a key of the tenant must be good for."""
    verb: str
    path: str
    """Where HTTP offers it. Names in braces are fields of the command; ``instance_id``, where the command has no such
    field, is the instance that it is about. What is no part of the path is in the query of a GET, or else the body."""


def _row(command: type, owner: Owner, caller: _Caller, right: Right, place: str) -> Endpoint:
    verb, _, path = place.partition(" ")
    return Endpoint(command, _reply_of(command), owner, caller, right, verb, f"/api/v1{path}")


def _reply_of(command: type) -> type:
    """Return the reply that a command names in its own definition, as `Request[Reply]`."""
    bases = command.__orig_bases__  # type: ignore[attr-defined]  # every generic type has it
    reply: type = next(get_args(base)[0] for base in bases if get_origin(base) is messages.Request)
    return reply


_ROWS: Final = (
    _row(messages.StartInstance, "instance", "manager", "operate", "POST /instances"),
    _row(messages.ForkInstance, "instance", "manager", "operate", "POST /instances/{source}/forks"),
    _row(messages.StartMany, "many", "manager", "operate", "POST /bulk/starts"),
    _row(messages.RegisterInstance, "instance", "program", "operate", "POST /instances/{instance_id}/register"),
    _row(messages.SaveCheckpoint, "instance", "program", "operate", "POST /instances/{instance_id}/checkpoint"),
    _row(
        messages.GetCheckpoint, "instance", "both", "read", "GET /instances/{instance_id}/checkpoints/{checkpoint_id}"
    ),
    _row(messages.Sleep, "instance", "program", "operate", "POST /instances/{instance_id}/sleep"),
    _row(messages.Heartbeat, "instance", "program", "operate", "POST /instances/{instance_id}/heartbeat"),
    _row(messages.CompleteInstance, "instance", "program", "operate", "POST /instances/{instance_id}/completed"),
    _row(messages.FailInstance, "instance", "program", "operate", "POST /instances/{instance_id}/failed"),
    _row(messages.SuspendInstance, "instance", "program", "operate", "POST /instances/{instance_id}/suspended"),
    _row(messages.RestInstance, "instance", "program", "operate", "POST /instances/{instance_id}/resting"),
    _row(messages.FinishInstance, "instance", "program", "operate", "POST /instances/{instance_id}/finished"),
    _row(messages.RecordEvent, "instance", "program", "operate", "POST /instances/{instance_id}/events"),
    _row(messages.GetStatus, "instance", "both", "read", "GET /instances/{instance_id}"),
    _row(messages.GetInput, "instance", "both", "read", "GET /instances/{instance_id}/input"),
    _row(messages.PollSignals, "instance", "program", "operate", "GET /instances/{instance_id}/signals"),
    _row(messages.TakeSignal, "instance", "program", "operate", "POST /instances/{instance_id}/signals/take"),
    _row(messages.AcknowledgeSignal, "instance", "program", "operate", "POST /instances/{instance_id}/signals/ack"),
    _row(messages.SendSignal, "instance", "manager", "operate", "POST /instances/{instance_id}/signals"),
    _row(messages.SignalMany, "many", "manager", "operate", "POST /bulk/signals"),
    _row(messages.RecordRetry, "instance", "program", "operate", "POST /instances/{instance_id}/retry"),
    _row(messages.ListRetries, "reader", "both", "read", "GET /instances/{instance_id}/retries"),
    _row(messages.ListCheckpoints, "reader", "both", "read", "GET /instances/{instance_id}/checkpoints"),
    _row(messages.ListEvents, "reader", "both", "read", "GET /instances/{instance_id}/events"),
    _row(messages.ListSteps, "reader", "both", "read", "GET /instances/{instance_id}/steps"),
    _row(messages.ListInstances, "reader", "manager", "read", "GET /instances"),
    _row(messages.CountInstances, "reader", "manager", "read", "GET /instances-by-status"),
    _row(messages.GetTenantMetrics, "reader", "manager", "read", "GET /tenants/{tenant_id}/metrics"),
    _row(messages.ReadLog, "runner", "manager", "read", "GET /instances/{instance_id}/log"),
    _row(messages.ClaimWork, "pool", "worker", "operate", "POST /pool/claims"),
    _row(messages.KeepClaims, "pool", "worker", "operate", "POST /pool/keep"),
    _row(messages.FinishTask, "pool", "worker", "operate", "POST /pool/finish"),
    _row(messages.OfferTask, "pool", "program", "operate", "POST /instances/{instance_id}/tasks"),
    _row(messages.WithdrawTask, "pool", "program", "operate", "POST /instances/{instance_id}/tasks/withdraw"),
    _row(messages.PushImage, "images", "manager", "push", "POST /images"),
    _row(messages.WriteImage, "images", "manager", "push", "POST /images/parts"),
    _row(messages.ReadImage, "images", "manager", "read-images", "GET /images/{image}/content"),
    _row(messages.GetImage, "images", "manager", "read-images", "GET /images/{image}"),
    _row(messages.ListImages, "images", "manager", "read-images", "GET /images"),
    _row(messages.ListImageVersions, "images", "manager", "read-images", "GET /images/{image}/versions"),
    _row(messages.UseImageVersion, "images", "manager", "push", "POST /images/{image}/use"),
    _row(messages.DeleteImage, "images", "manager", "push", "DELETE /images/{image}"),
    _row(messages.PutSchedule, "schedules", "manager", "operate", "PUT /schedules/{name}"),
    _row(messages.GetSchedule, "schedules", "manager", "read", "GET /schedules/{name}"),
    _row(messages.ListSchedules, "schedules", "manager", "read", "GET /schedules"),
    _row(messages.DeleteSchedule, "schedules", "manager", "operate", "DELETE /schedules/{name}"),
    _row(messages.PauseSchedule, "schedules", "manager", "operate", "POST /schedules/{name}/pause"),
    _row(messages.RunChore, "upkeep", "manager", "administer", "POST /chores/{chore}"),
    _row(messages.ListKeys, "keys", "manager", "administer", "GET /keys"),
    _row(messages.AddKey, "keys", "manager", "administer", "POST /keys"),
    _row(messages.RotateKey, "keys", "manager", "administer", "POST /keys/{key_id}/rotate"),
    _row(messages.RevokeKey, "keys", "manager", "administer", "DELETE /keys/{key_id}"),
    _row(messages.ListNodes, "reader", "manager", "read", "GET /nodes"),
    _row(messages.GetTree, "system", "manager", "read", "GET /tree"),
    _row(messages.GetHealth, "system", "both", "read", "GET /health"),
)

ENDPOINTS: Final[dict[type, Endpoint]] = {row.command: row for row in _ROWS}
"""Command type to its row. What is not here (wake-ups, crash reports) is only said between actors."""
