"""The SDK: durable programs in Python.

Names are imported when they are first used, so that `import runtara.sdk` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtara.errors import (
        Fenced,
        InstanceCancelled,
        InstancePaused,
        InstanceShutdown,
        RetriesExhausted,
        RuntaraError,
    )
    from runtara.errors import RuntaraError as SdkError
    from runtara.sdk import embedded
    from runtara.sdk._durable import PermanentError, durable
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
    from runtara.sdk.context import register_sdk, sdk, try_sdk, use_sdk
    from runtara.sdk.sync import RuntaraSdk

__all__ = [
    "AsyncRuntaraSdk",
    "CheckpointResult",
    "CustomSignal",
    "Fenced",
    "InstanceCancelled",
    "InstancePaused",
    "InstanceShutdown",
    "InstanceStatus",
    "PermanentError",
    "RetriesExhausted",
    "RetryConfig",
    "RetryStrategy",
    "RuntaraError",
    "RuntaraSdk",
    "SdkError",
    "Signal",
    "SignalType",
    "StatusResponse",
    "durable",
    "embedded",
    "register_sdk",
    "sdk",
    "try_sdk",
    "use_sdk",
]

_HOMES = {
    "runtara.sdk._durable": "PermanentError durable",
    "runtara.errors": (
        "Fenced InstanceCancelled InstancePaused InstanceShutdown RetriesExhausted RuntaraError SdkError"
    ),
    "runtara.sdk._types": (
        "CheckpointResult CustomSignal InstanceStatus RetryConfig RetryStrategy Signal SignalType StatusResponse"
    ),
    "runtara.sdk.aio": "AsyncRuntaraSdk",
    "runtara.sdk.context": "register_sdk sdk try_sdk use_sdk",
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
