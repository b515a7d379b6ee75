"""Which SDK is meant by code that was not given one: the one in use here, else the one registered for the process."""

from collections.abc import Iterator
from contextlib import contextmanager

from runtara.errors import ConfigError
from runtara.sdk._base import SdkBase, sdk_in_use

__all__ = ["register_sdk", "sdk", "try_sdk", "use_sdk"]

_registered: list[SdkBase] = []


def register_sdk(sdk: SdkBase) -> None:
    """Make `sdk` the one that durable functions use wherever no other is in use. Replaces an earlier one."""
    _registered[:] = [sdk]


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
    return in_use if in_use is not None else next(iter(_registered), None)


def sdk() -> SdkBase:
    """Return the SDK in use. Raises `ConfigError` if there is none."""
    found = try_sdk()
    if found is None:
        raise ConfigError("no SDK is in use here: enter one (`with system.sdk(...)`), or call register_sdk()")
    return found
