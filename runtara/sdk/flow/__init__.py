"""Workflows: graphs of tasks that are written down once, and run so that nothing that was done is done again."""

from runtara.sdk.flow._codecs import JSON, MSGPACK, Codec, JsonCodec, MsgpackCodec
from runtara.sdk.flow._policies import LoopResult, OnMax, RetryPolicy, TaskMetadata, parse_duration
from runtara.sdk.flow._tasks import task
from runtara.sdk.flow.backend import (
    Backend,
    InMemoryBackend,
    PostgresBackend,
    RemoteBackend,
    SqliteBackend,
    SystemBackend,
)
from runtara.sdk.flow.builder import BranchBuilder, Flow, ForkBuilder
from runtara.sdk.flow.client import (
    WorkflowClient,
    cancel_workflow,
    pause_workflow,
    resume_workflow,
    run_durable_workflow,
    run_workflow,
    send_signal,
    unpause_workflow,
)
from runtara.sdk.flow.context import TaskExecutionContext, get_task_context
from runtara.sdk.flow.engines import DurableEngine, WorkflowEngine
from runtara.sdk.flow.errors import (
    BackendError,
    BranchKeyNotFound,
    BuildError,
    BuildErrors,
    CodecError,
    DefinitionMismatch,
    InstanceAlreadyExistsError,
    InvalidOption,
    MaxIterationsExceeded,
    TaskError,
    TaskTimedOut,
    WorkflowError,
)
from runtara.sdk.flow.graph import Graph, GraphBranch, GraphNode
from runtara.sdk.flow.launched import run_program
from runtara.sdk.flow.runner import CheckpointingRunner, ConflictPolicy, InProcessRunner
from runtara.sdk.flow.status import Answer, TaskFailure, WorkflowStatus
from runtara.sdk.flow.tracing import init_tracing, shutdown_tracing
from runtara.sdk.flow.worker import PooledWorker, Worker, WorkerHandle
from runtara.sdk.flow.workflow import Migration, NodeInfo, Workflow, WorkflowContext

__all__ = [
    "JSON",
    "MSGPACK",
    "Answer",
    "Backend",
    "BackendError",
    "BranchBuilder",
    "BranchKeyNotFound",
    "BuildError",
    "BuildErrors",
    "CheckpointingRunner",
    "Codec",
    "CodecError",
    "ConflictPolicy",
    "DefinitionMismatch",
    "DurableEngine",
    "Flow",
    "ForkBuilder",
    "Graph",
    "GraphBranch",
    "GraphNode",
    "InMemoryBackend",
    "InProcessRunner",
    "InstanceAlreadyExistsError",
    "InvalidOption",
    "JsonCodec",
    "LoopResult",
    "MaxIterationsExceeded",
    "Migration",
    "MsgpackCodec",
    "NodeInfo",
    "OnMax",
    "PooledWorker",
    "PostgresBackend",
    "RemoteBackend",
    "RetryPolicy",
    "SqliteBackend",
    "SystemBackend",
    "TaskError",
    "TaskExecutionContext",
    "TaskFailure",
    "TaskMetadata",
    "TaskTimedOut",
    "Worker",
    "WorkerHandle",
    "Workflow",
    "WorkflowClient",
    "WorkflowContext",
    "WorkflowEngine",
    "WorkflowError",
    "WorkflowStatus",
    "cancel_workflow",
    "get_task_context",
    "init_tracing",
    "parse_duration",
    "pause_workflow",
    "resume_workflow",
    "run_durable_workflow",
    "run_program",
    "run_workflow",
    "send_signal",
    "shutdown_tracing",
    "task",
    "unpause_workflow",
]
