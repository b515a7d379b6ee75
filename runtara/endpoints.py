"""Every operation that a door offers: one row per command; doors, clients, docs and tests derive from it.

All of them are idempotent: sent again with the same ids (and `request` numbers), they change nothing more and get the
answer that was lost; a start and a signal say (`created`) that they had arrived before. That lets a client resend.
"""

from typing import Final, Literal

import msgspec

from runtara import messages

__all__ = ["ENDPOINTS", "Endpoint", "Owner"]

Owner = Literal["instance", "many", "reader", "runner", "images", "schedules", "upkeep", "system"]
"""Who answers: the instance's own actor, whoever asks many of these, a reader of the store, the runner of programs, the
registry of images, the actor that keeps to schedules, the upkeep of the host, or the system as a whole."""


class Endpoint(msgspec.Struct, frozen=True):
    """One operation. `caller` is who may ask: the program itself, or whoever manages its tenant."""

    command: type
    reply: type
    owner: Owner
    caller: Literal["program", "manager", "both"]


def _row(command: type, reply: type, owner: Owner, caller: Literal["program", "manager", "both"]) -> Endpoint:
    return Endpoint(command, reply, owner, caller)


_ROWS: Final = (
    _row(messages.StartInstance, messages.InstanceStarted, "instance", "manager"),
    _row(messages.ForkInstance, messages.InstanceStarted, "instance", "manager"),
    _row(messages.StartMany, messages.ManyStarted, "many", "manager"),
    _row(messages.RegisterInstance, messages.InstanceRegistered, "instance", "program"),
    _row(messages.SaveCheckpoint, messages.CheckpointSaved, "instance", "program"),
    _row(messages.GetCheckpoint, messages.CheckpointFound, "instance", "both"),
    _row(messages.Sleep, messages.SleepStarted, "instance", "program"),
    _row(messages.Heartbeat, messages.Acknowledged, "instance", "program"),
    _row(messages.CompleteInstance, messages.Acknowledged, "instance", "program"),
    _row(messages.FailInstance, messages.Acknowledged, "instance", "program"),
    _row(messages.SuspendInstance, messages.Acknowledged, "instance", "program"),
    _row(messages.RecordEvent, messages.Acknowledged, "instance", "program"),
    _row(messages.GetStatus, messages.InstanceInfo, "instance", "both"),
    _row(messages.GetInput, messages.InputFound, "instance", "both"),
    _row(messages.PollSignals, messages.SignalsPending, "instance", "program"),
    _row(messages.TakeSignal, messages.SignalTaken, "instance", "program"),
    _row(messages.AcknowledgeSignal, messages.Acknowledged, "instance", "program"),
    _row(messages.SendSignal, messages.SignalAccepted, "instance", "manager"),
    _row(messages.SignalMany, messages.ManySignaled, "many", "manager"),
    _row(messages.RecordRetry, messages.Acknowledged, "instance", "program"),
    _row(messages.ListRetries, messages.RetriesFound, "reader", "both"),
    _row(messages.ListCheckpoints, messages.CheckpointPage, "reader", "both"),
    _row(messages.ListEvents, messages.EventPage, "reader", "both"),
    _row(messages.ListInstances, messages.InstancePage, "reader", "manager"),
    _row(messages.ReadLog, messages.LogRead, "runner", "manager"),
    _row(messages.PushImage, messages.ImagePushed, "images", "manager"),
    _row(messages.WriteImage, messages.ImageWritten, "images", "manager"),
    _row(messages.ReadImage, messages.ImageRead, "images", "manager"),
    _row(messages.GetImage, messages.ImageInfo, "images", "manager"),
    _row(messages.ListImages, messages.ImagesFound, "images", "manager"),
    _row(messages.ListImageVersions, messages.ImagesFound, "images", "manager"),
    _row(messages.UseImageVersion, messages.ImageInfo, "images", "manager"),
    _row(messages.DeleteImage, messages.ImageDeleted, "images", "manager"),
    _row(messages.PutSchedule, messages.ScheduleInfo, "schedules", "manager"),
    _row(messages.GetSchedule, messages.ScheduleInfo, "schedules", "manager"),
    _row(messages.ListSchedules, messages.SchedulesFound, "schedules", "manager"),
    _row(messages.DeleteSchedule, messages.ScheduleDeleted, "schedules", "manager"),
    _row(messages.PauseSchedule, messages.ScheduleInfo, "schedules", "manager"),
    _row(messages.RunChore, messages.ChoreDone, "upkeep", "manager"),
    _row(messages.ListNodes, messages.NodesFound, "reader", "manager"),
    _row(messages.GetTree, messages.TreeFound, "system", "manager"),
    _row(messages.GetHealth, messages.HealthFound, "system", "both"),
)

ENDPOINTS: Final[dict[type, Endpoint]] = {row.command: row for row in _ROWS}
"""Command type to its row. What is not here (wake-ups, crash reports) is only said between actors."""
