"""One command of every operation, and a system in which every operation has an owner that answers it."""

from collections.abc import Callable
from typing import Any

import trio

from runtara import messages
from runtara.actors import Actor, child, hears
from runtara.actors.dispatch import Dispatch
from runtara.errors import NotFound
from runtara.lifecycle import Status
from runtara.messages import Call
from runtara.records import ImageOptions
from runtara.system import INSTANCES, POOL, READER
from tests.actors.stage import NOW, Stage

__all__ = ["EXAMPLES", "HEALTH", "PAYLOAD_MAX", "TREE", "Desk", "host", "running"]

PAYLOAD_MAX = 1_000

NAMED = messages.NamedStart(instance_id="many", start=messages.StartInstance(program="ship"))
NOBODY = messages.InstanceFilter(prefix="nobody")
PLAN = messages.SchedulePlan(start=messages.StartInstance(program="ship"), every_ms=3_600_000)

EXAMPLES: dict[type, Any] = {
    messages.StartInstance: messages.StartInstance(program="ship", input=b"input"),
    messages.ForkInstance: messages.ForkInstance(source="one", input=b"input"),
    messages.StartMany: messages.StartMany(starts=(NAMED,)),
    messages.RegisterInstance: messages.RegisterInstance(attempt_id="attempt"),
    messages.SaveCheckpoint: messages.SaveCheckpoint(checkpoint_id="step", state=b"state"),
    messages.GetCheckpoint: messages.GetCheckpoint(checkpoint_id="step"),
    messages.Sleep: messages.Sleep(checkpoint_id="nap", state=b"state", duration_ms=5),
    messages.Heartbeat: messages.Heartbeat(),
    messages.CompleteInstance: messages.CompleteInstance(output=b"output"),
    messages.FailInstance: messages.FailInstance(error="it broke"),
    messages.SuspendInstance: messages.SuspendInstance(
        wake_at=NOW, awaits=(messages.AwaitedSignal(name="go", place="p"),)
    ),
    messages.RestInstance: messages.RestInstance(
        results=(messages.StepResult(checkpoint_id="result", state=b"state"),),
        subtype="note",
        payload=b"payload",
        checkpoint_id="nap",
        duration_ms=5,
    ),
    messages.FinishInstance: messages.FinishInstance(
        results=(messages.StepResult(checkpoint_id="result", state=b"state"),), output=b"output"
    ),
    messages.RecordEvent: messages.RecordEvent(subtype="note", payload=b"payload"),
    messages.GetStatus: messages.GetStatus(),
    messages.GetInput: messages.GetInput(),
    messages.PollSignals: messages.PollSignals(),
    messages.TakeSignal: messages.TakeSignal(name="go", place="here", timeout_ms=5),
    messages.AcknowledgeSignal: messages.AcknowledgeSignal(signal_id="signal"),
    messages.SendSignal: messages.SendSignal(kind="custom", signal_id="signal", name="go", payload=b"payload"),
    messages.SignalMany: messages.SignalMany(kind="cancel", signal_id="signal", filter=NOBODY),
    messages.RecordRetry: messages.RecordRetry(checkpoint_id="step", attempt=1, error="it broke", retry_after_ms=5),
    messages.ListRetries: messages.ListRetries(checkpoint_id="step"),
    messages.ListCheckpoints: messages.ListCheckpoints(),
    messages.ListEvents: messages.ListEvents(event_type="custom", subtype="note"),
    messages.ListSteps: messages.ListSteps(status="running", step_type="sleep"),
    messages.ListInstances: messages.ListInstances(status=Status.RUNNING),
    messages.CountInstances: messages.CountInstances(),
    messages.GetTenantMetrics: messages.GetTenantMetrics(tenant_id="acme", from_ms=NOW, to_ms=NOW + 1),
    messages.ReadLog: messages.ReadLog(),
    messages.ListNodes: messages.ListNodes(),
    messages.PutSchedule: messages.PutSchedule(name="nightly", plan=PLAN),
    messages.GetSchedule: messages.GetSchedule(name="nightly"),
    messages.ListSchedules: messages.ListSchedules(),
    messages.DeleteSchedule: messages.DeleteSchedule(name="nightly"),
    messages.PauseSchedule: messages.PauseSchedule(name="nightly"),
    messages.ClaimWork: messages.ClaimWork(worker_id="one", slot=0, programs=("pool:ship@1",), tags=("large",)),
    messages.KeepClaims: messages.KeepClaims(worker_id="one", held=("claim",)),
    messages.FinishTask: messages.FinishTask(claim_id="claim", outcome=b"outcome"),
    messages.OfferTask: messages.OfferTask(place="here", program="pool:ship@1", payload=b"payload"),
    messages.WithdrawTask: messages.WithdrawTask(place="there"),
    messages.GetTree: messages.GetTree(),
    messages.GetHealth: messages.GetHealth(),
    messages.PushImage: messages.PushImage(name="report", kind="python", digest="0" * 64, size=7),
    messages.WriteImage: messages.WriteImage(digest="0" * 64, offset=0, data=b"content"),
    messages.ReadImage: messages.ReadImage(image="report@1"),
    messages.GetImage: messages.GetImage(image="report"),
    messages.ListImages: messages.ListImages(),
    messages.ListImageVersions: messages.ListImageVersions(image="report"),
    messages.UseImageVersion: messages.UseImageVersion(image="report@1"),
    messages.DeleteImage: messages.DeleteImage(image="report"),
    messages.RunChore: messages.RunChore(chore="instances", dry_run=True),
    messages.ListKeys: messages.ListKeys(),
    messages.AddKey: messages.AddKey(role="operator", request_id="add"),
    messages.RotateKey: messages.RotateKey(key_id="0123456789ab", request_id="rotate"),
    messages.RevokeKey: messages.RevokeKey(key_id="0123456789ab"),
}
"""One command of every kind that a running instance, to which ``signal`` was sent, answers."""

SCHEDULE = messages.ScheduleInfo(name="nightly", plan=PLAN, next_at=NOW, created_at=NOW, updated_at=NOW)
TREE = messages.TreeFound(b"{}")
HEALTH = messages.HealthFound(version="1", uptime_ms=1, draining=False)
ANSWERS: dict[type, Callable[[], object]] = {messages.GetTree: lambda: TREE, messages.GetHealth: lambda: HEALTH}


IMAGE = messages.ImageInfo(
    image_id="1" * 32,
    name="report",
    version=1,
    current=True,
    kind="python",
    digest="0" * 64,
    size=7,
    pushed_at=NOW,
    description="",
    metadata=b"{}",
    defaults=None,
    options=ImageOptions(),
)
TENANT_KEY = messages.TenantKey(key_id="0123456789ab", tenant_id="acme", role="operator", created_at=NOW)
OF_IMAGES: dict[type, object] = {
    messages.StartInstance: messages.InstanceStarted(instance_id="one", status=Status.PENDING, created=True),
    messages.PushImage: messages.ImagePushed(offset=0),
    messages.WriteImage: messages.ImageWritten(offset=7),
    messages.ReadImage: messages.ImageRead(data=b"content", size=7),
    messages.GetImage: IMAGE,
    messages.ListImages: messages.ImagesFound(images=(IMAGE,)),
    messages.ListImageVersions: messages.ImagesFound(images=(IMAGE,)),
    messages.UseImageVersion: IMAGE,
    messages.DeleteImage: messages.ImageDeleted(image_id="1" * 32),
    messages.StartMany: messages.ManyStarted(outcomes=(messages.StartOutcome(instance_id="many"),)),
    messages.SignalMany: messages.ManySignaled(outcomes=()),
    messages.PutSchedule: SCHEDULE,
    messages.GetSchedule: SCHEDULE,
    messages.ListSchedules: messages.SchedulesFound(schedules=()),
    messages.DeleteSchedule: messages.ScheduleDeleted(name="nightly", deleted=True),
    messages.PauseSchedule: SCHEDULE,
    messages.RunChore: messages.ChoreDone(chore="instances", dry_run=True, removed=0),
    messages.ListKeys: messages.KeysFound(keys=()),
    messages.AddKey: messages.KeyMade(secret="rtk_made", key=TENANT_KEY),
    messages.RotateKey: messages.KeyMade(secret="rtk_made", key=TENANT_KEY),
    messages.RevokeKey: messages.KeyRevoked(key_id="0123456789ab", revoked=True),
}
"""What is answered about images, chores, schedules, keys and many instances."""


class Desk(Actor):
    """Answers about all that, and keeps what it was asked last."""

    asked: Call | None = None

    @hears(Call)
    def answer(self, call: Call) -> object:
        Desk.asked = call
        return OF_IMAGES[type(call.command)]


class LogKeeper(Actor):
    """Answers with whose log it was asked for, and for which attempt."""

    @hears(Call)
    async def read(self, call: Call) -> messages.LogRead:
        assert isinstance(call.command, messages.ReadLog)
        if call.command.wait_ms:
            await trio.sleep(call.command.wait_ms / 1000)
        return messages.LogRead(data=f"{call.key} {call.epoch}".encode(), offset=0, ended=True)


def check_program(program: str) -> None:
    if program.startswith("missing"):
        raise NotFound(f"there is no program {program!a}")


async def host(stage: Stage) -> Stage:
    """The same stage with all that only a host has."""
    await stage.system.start_child("root", child("logs", LogKeeper))
    await stage.system.start_child("root", child("desk", Desk))
    dispatch = Dispatch(
        stage.system,
        instances=INSTANCES,
        reader=READER,
        payload_max_bytes=PAYLOAD_MAX,
        runner="root/logs",
        pool=POOL,
        many="root/desk",
        schedules="root/desk",
        images="root/desk",
        upkeep="root/desk",
        keys="root/desk",
        answers=ANSWERS,
        check_program=check_program,
    )
    return Stage(stage.system, dispatch, stage.clock, stage.store)


async def running(stage: Stage, name: str = "one") -> None:
    """Register an instance as attempt 1, and send it a signal."""
    await stage.ask(name, EXAMPLES[messages.RegisterInstance])
    await stage.ask(name, EXAMPLES[messages.SendSignal])
