"""The SDK: durable programs in Python.

Names are imported when they are first used, so that `import runtara.sdk` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtara.errors import (
        ConfigError,
        DeadlineExceeded,
        Fenced,
        InstanceCancelled,
        InstanceNotFound,
        InstancePaused,
        InstanceShutdown,
        InvalidInput,
        InvalidState,
        NotFound,
        OutcomeUnknown,
        RetriesExhausted,
        RuntaraError,
        StoreUnavailable,
        TooLarge,
        Unauthenticated,
        Unreachable,
        UntrustedServer,
    )
    from runtara.errors import RuntaraError as SdkError
    from runtara.sdk import embedded
    from runtara.sdk._durable import durable
    from runtara.sdk._each import AsyncEach, Each
    from runtara.sdk._endings import Program
    from runtara.sdk._flows import Parked
    from runtara.sdk._steps import PermanentError, RetryLater
    from runtara.sdk._types import (
        CheckpointResult,
        CustomSignal,
        InstanceStatus,
        RetryConfig,
        RetryStrategy,
        Signal,
        SignalType,
        StatusResponse,
    )
    from runtara.sdk.aio import AsyncRuntaraSdk
    from runtara.sdk.config import SdkConfig, UnverifiedServerWarning
    from runtara.sdk.context import register_sdk, sdk, stop_heartbeat, try_sdk, use_sdk
    from runtara.sdk.progress import Progress
    from runtara.sdk.sync import RuntaraSdk

__all__ = [
    "AsyncEach",
    "AsyncRuntaraSdk",
    "CheckpointResult",
    "ConfigError",
    "CustomSignal",
    "DeadlineExceeded",
    "Each",
    "Fenced",
    "InstanceCancelled",
    "InstanceNotFound",
    "InstancePaused",
    "InstanceShutdown",
    "InstanceStatus",
    "InvalidInput",
    "InvalidState",
    "NotFound",
    "OutcomeUnknown",
    "Parked",
    "PermanentError",
    "Program",
    "Progress",
    "RetriesExhausted",
    "RetryConfig",
    "RetryLater",
    "RetryStrategy",
    "RuntaraError",
    "RuntaraSdk",
    "SdkConfig",
    "SdkError",
    "Signal",
    "SignalType",
    "StatusResponse",
    "StoreUnavailable",
    "TooLarge",
    "Unauthenticated",
    "Unreachable",
    "UntrustedServer",
    "UnverifiedServerWarning",
    "durable",
    "embedded",
    "register_sdk",
    "sdk",
    "stop_heartbeat",
    "try_sdk",
    "use_sdk",
]

_HOMES = {
    "runtara.sdk._durable": "durable",
    "runtara.sdk._steps": "PermanentError RetryLater",
    "runtara.errors": (
        "ConfigError DeadlineExceeded Fenced InstanceCancelled InstanceNotFound InstancePaused InstanceShutdown "
        "InvalidInput InvalidState NotFound OutcomeUnknown RetriesExhausted RuntaraError SdkError StoreUnavailable "
        "TooLarge Unauthenticated Unreachable UntrustedServer"
    ),
    "runtara.sdk._each": "AsyncEach Each",
    "runtara.sdk._endings": "Program",
    "runtara.sdk._flows": "Parked",
    "runtara.sdk.progress": "Progress",
    "runtara.sdk._types": (
        "CheckpointResult CustomSignal InstanceStatus RetryConfig RetryStrategy Signal SignalType StatusResponse"
    ),
    "runtara.sdk.aio": "AsyncRuntaraSdk",
    "runtara.sdk.config": "SdkConfig UnverifiedServerWarning",
    "runtara.sdk.context": "register_sdk sdk stop_heartbeat try_sdk use_sdk",
    "runtara.sdk.sync": "RuntaraSdk",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}
_RENAMED = {"SdkError": "RuntaraError"}


def __getattr__(name: str) -> Any:
    if name == "embedded":
        return importlib.import_module("runtara.sdk.embedded")
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(home)
    found = globals()[name] = getattr(module, _RENAMED.get(name, name))
    return found
