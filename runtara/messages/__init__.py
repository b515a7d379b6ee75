"""What the actors say to each other and what the doors carry: commands, and what is answered, one module per noun.

Every command is a frozen, tagged struct and names its reply type: ``await ref.ask(GetStatus())`` is typed as
`InstanceInfo`. New fields have defaults and nothing is renamed, so that two versions can talk. Who asks (tenant,
instance, epoch) is not part of a command: the session knows it and puts it into the `Call`.
"""

import msgspec

from runtara.ids import InstanceKey
from runtara.messages._host import (
    CrashInstance,
    DeclareSilent,
    EnforceSignals,
    ExitInstance,
    RecordUsage,
    SaveCheckpoints,
    TimeOutInstance,
    WakeInstance,
)
from runtara.messages._images import (
    DeleteImage,
    GetImage,
    ImageDeleted,
    ImageInfo,
    ImagePushed,
    ImageRead,
    ImagesFound,
    ImageWritten,
    ListImages,
    ListImageVersions,
    PushImage,
    ReadImage,
    UseImageVersion,
    WriteImage,
)
from runtara.messages._instances import (
    AcknowledgeSignal,
    AwaitedSignal,
    CompleteInstance,
    FailInstance,
    FinishInstance,
    GetCheckpoint,
    GetInput,
    GetStatus,
    Heartbeat,
    PollSignals,
    RecordEvent,
    RecordRetry,
    RegisterInstance,
    RestInstance,
    SaveCheckpoint,
    SendSignal,
    SignalKind,
    Sleep,
    StepResult,
    SuspendInstance,
    TakeSignal,
)
from runtara.messages._keys import (
    AddKey,
    KeyMade,
    KeyRevoked,
    KeysFound,
    ListKeys,
    RevokeKey,
    Role,
    RotateKey,
    TenantKey,
)
from runtara.messages._many import (
    ManySignaled,
    ManyStarted,
    NamedStart,
    SignalMany,
    SignalOutcome,
    StartMany,
    StartOutcome,
)
from runtara.messages._pool import (
    ClaimsKept,
    ClaimWork,
    FinishTask,
    KeepClaims,
    LeadClaim,
    OfferTask,
    TaskClaim,
    TaskFinished,
    TaskOffered,
    TaskWithdrawn,
    WithdrawTask,
    WorkClaimed,
)
from runtara.messages._queries import (
    CountInstances,
    GetHealth,
    GetTenantMetrics,
    GetTree,
    Granularity,
    InstanceFilter,
    InstanceOrder,
    ListCheckpoints,
    ListEvents,
    ListInstances,
    ListNodes,
    ListRetries,
    ListSteps,
    ReadLog,
)
from runtara.messages._replies import (
    Acknowledged,
    CheckpointFound,
    CheckpointInfo,
    CheckpointPage,
    CheckpointSaved,
    EventPage,
    HealthFound,
    ImagePage,
    ImageVersionPage,
    InputFound,
    InstanceInfo,
    InstancePage,
    InstanceRegistered,
    InstancesCounted,
    InstanceStarted,
    InstanceSummary,
    InstanceWoken,
    KeptStep,
    LogRead,
    MetricsBucket,
    NodeInfo,
    NodesFound,
    Replay,
    RetriesFound,
    SchedulePage,
    SignalAccepted,
    SignalsPending,
    SignalTaken,
    SleepStarted,
    Step,
    StepPage,
    StepStatus,
    TenantMetrics,
    TreeFound,
)
from runtara.messages._requests import R_co, Request
from runtara.messages._schedules import (
    CatchUp,
    DeleteSchedule,
    GetSchedule,
    ListSchedules,
    PauseSchedule,
    PutSchedule,
    ScheduleDeleted,
    ScheduleInfo,
    SchedulePlan,
    SchedulesFound,
    ScheduleSummary,
)
from runtara.messages._starts import ForkInstance, StartInstance
from runtara.messages._upkeep import Chore, ChoreDone, RunChore

__all__ = [
    "AcknowledgeSignal",
    "Acknowledged",
    "AddKey",
    "AwaitedSignal",
    "Call",
    "CatchUp",
    "CheckpointFound",
    "CheckpointInfo",
    "CheckpointPage",
    "CheckpointSaved",
    "Chore",
    "ChoreDone",
    "ClaimWork",
    "ClaimsKept",
    "Command",
    "CompleteInstance",
    "CountInstances",
    "CrashInstance",
    "DeclareSilent",
    "DeleteImage",
    "DeleteSchedule",
    "EnforceSignals",
    "EventPage",
    "ExitInstance",
    "FailInstance",
    "FinishInstance",
    "FinishTask",
    "ForkInstance",
    "GetCheckpoint",
    "GetHealth",
    "GetImage",
    "GetInput",
    "GetSchedule",
    "GetStatus",
    "GetTenantMetrics",
    "GetTree",
    "Granularity",
    "HealthFound",
    "Heartbeat",
    "ImageDeleted",
    "ImageInfo",
    "ImagePage",
    "ImagePushed",
    "ImageRead",
    "ImageVersionPage",
    "ImageWritten",
    "ImagesFound",
    "InputFound",
    "InstanceFilter",
    "InstanceInfo",
    "InstanceOrder",
    "InstancePage",
    "InstanceRegistered",
    "InstanceStarted",
    "InstanceSummary",
    "InstanceWoken",
    "InstancesCounted",
    "KeepClaims",
    "KeptStep",
    "KeyMade",
    "KeyRevoked",
    "KeysFound",
    "LeadClaim",
    "ListCheckpoints",
    "ListEvents",
    "ListImageVersions",
    "ListImages",
    "ListInstances",
    "ListKeys",
    "ListNodes",
    "ListRetries",
    "ListSchedules",
    "ListSteps",
    "LogRead",
    "ManySignaled",
    "ManyStarted",
    "MetricsBucket",
    "NamedStart",
    "NodeInfo",
    "NodesFound",
    "OfferTask",
    "PauseSchedule",
    "PollSignals",
    "PushImage",
    "PutSchedule",
    "R_co",
    "ReadImage",
    "ReadLog",
    "RecordEvent",
    "RecordRetry",
    "RecordUsage",
    "RegisterInstance",
    "Replay",
    "Request",
    "RestInstance",
    "RetriesFound",
    "RevokeKey",
    "Role",
    "RotateKey",
    "RunChore",
    "SaveCheckpoint",
    "SaveCheckpoints",
    "ScheduleDeleted",
    "ScheduleInfo",
    "SchedulePage",
    "SchedulePlan",
    "ScheduleSummary",
    "SchedulesFound",
    "SendSignal",
    "SignalAccepted",
    "SignalKind",
    "SignalMany",
    "SignalOutcome",
    "SignalTaken",
    "SignalsPending",
    "Sleep",
    "SleepStarted",
    "StartInstance",
    "StartMany",
    "StartOutcome",
    "Step",
    "StepPage",
    "StepResult",
    "StepStatus",
    "SuspendInstance",
    "TakeSignal",
    "TaskClaim",
    "TaskFinished",
    "TaskOffered",
    "TaskWithdrawn",
    "TenantKey",
    "TenantMetrics",
    "TimeOutInstance",
    "TreeFound",
    "UseImageVersion",
    "WakeInstance",
    "WithdrawTask",
    "WorkClaimed",
    "WriteImage",
]

Command = (
    StartInstance
    | ForkInstance
    | StartMany
    | RegisterInstance
    | SaveCheckpoint
    | GetCheckpoint
    | Sleep
    | Heartbeat
    | CompleteInstance
    | FailInstance
    | FinishInstance
    | SuspendInstance
    | RestInstance
    | RecordEvent
    | GetStatus
    | GetInput
    | PollSignals
    | TakeSignal
    | AcknowledgeSignal
    | SendSignal
    | SignalMany
    | RecordRetry
    | ListRetries
    | ListCheckpoints
    | ListEvents
    | ListSteps
    | ListInstances
    | CountInstances
    | GetTenantMetrics
    | ReadLog
    | ListNodes
    | GetTree
    | GetHealth
    | PushImage
    | WriteImage
    | ReadImage
    | GetImage
    | ListImages
    | ListImageVersions
    | UseImageVersion
    | DeleteImage
    | ClaimWork
    | KeepClaims
    | FinishTask
    | OfferTask
    | WithdrawTask
    | PutSchedule
    | GetSchedule
    | ListSchedules
    | DeleteSchedule
    | PauseSchedule
    | RunChore
    | ListKeys
    | AddKey
    | RotateKey
    | RevokeKey
    | WakeInstance
    | DeclareSilent
    | CrashInstance
    | ExitInstance
    | TimeOutInstance
    | EnforceSignals
    | RecordUsage
    | SaveCheckpoints
)


class Call(msgspec.Struct, frozen=True, gc=False):
    """A command and who sends it. `epoch` is None where no attempt speaks (management, scheduler)."""

    key: InstanceKey
    command: Command
    epoch: int | None = None
    passed_on: bool = False
    """Whether another node has passed it on; then it is not passed on again."""
    trace: str | None = None
    """The ``traceparent`` that it is a part of, where it is traced."""
