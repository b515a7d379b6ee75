"""Which SDK is meant by code that was not given one: the one in use here, else the one registered for the process."""

from collections.abc import Iterator
from contextlib import contextmanager

from runtara.errors import ConfigError, InvalidInput, InvalidState
from runtara.sdk._base import SdkBase, registered_sdk, sdk_in_use

__all__ = ["check_registration", "register_sdk", "sdk", "stop_heartbeat", "try_sdk", "use_sdk"]


def register_sdk(sdk: SdkBase) -> None:
    """Make `sdk` the one that durable functions use wherever no other is in use, until it is closed.

    Harmless when repeated. Raises `InvalidState` if another one is registered, and `InvalidInput` for what is no SDK.
    """
    check_registration(sdk)
    registered_sdk[:] = [sdk]


def check_registration(sdk: SdkBase) -> None:
    """Raise what `register_sdk` would refuse this SDK with."""
    if not isinstance(sdk, SdkBase):
        raise InvalidInput(f"{type(sdk).__name__} is no SDK: register a RuntaraSdk or an AsyncRuntaraSdk")
    for other in registered_sdk:
        if other is not sdk:
            raise InvalidState(
                f"the SDK of instance {other.instance_id} is registered already: close it first, "
                "or use this one by its block (`with sdk:`), which comes before the registered one"
            )


@contextmanager
def use_sdk(sdk: SdkBase) -> Iterator[None]:
    """Make `sdk` the one that durable functions use inside the block, in this task or thread."""
    token = sdk_in_use.set(sdk)
    try:
        yield
    finally:
        sdk_in_use.reset(token)


def try_sdk() -> SdkBase | None:
    """Return the SDK in use, or None."""
    in_use = sdk_in_use.get()
    return in_use if in_use is not None else next(iter(registered_sdk), None)


def sdk() -> SdkBase:
    """Return the SDK in use. Raises `ConfigError` if there is none."""
    found = try_sdk()
    if found is None:
        raise ConfigError("no SDK is in use here: enter one (`with system.sdk(...)`), or call register_sdk()")
    return found


def stop_heartbeat() -> None:
    """Have the SDK in use say no more by itself that the program is alive. Without one in use this does nothing."""
    found = try_sdk()
    if found is not None:
        found.stop_heartbeat()
