"""`@durable`: a function whose result is kept, so that a replay returns it instead of running the function again.

The result is saved as a checkpoint under the step's name: the function's qualified name, a key made from its arguments,
the durable function that called it, and its place among equal calls there. Loops, nesting, recursion and two functions
of one name therefore never meet in one checkpoint. A key of the author's own (`key=`) is an identity: calls with the
same key, in one scope, are one step. Equal calls at the same time have no order of their own: give them keys.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar, cast, overload

import msgspec

from runtara.errors import InvalidInput
from runtara.sdk import _flows as flows
from runtara.sdk._base import SdkBase
from runtara.sdk._bodies import try_async, try_blocking
from runtara.sdk._drive import drive, drive_blocking
from runtara.sdk._results import UNFIT, Codec, declared_result
from runtara.sdk._scopes import Scope
from runtara.sdk._steps import run_step
from runtara.sdk._types import RetryConfig, RetryStrategy
from runtara.sdk.aio import AsyncRuntaraSdk
from runtara.sdk.context import sdk
from runtara.sdk.sync import RuntaraSdk

__all__ = ["durable"]

P = ParamSpec("P")
R = TypeVar("R")


class _Body:
    """The wish to have the function run once; the reply is an `Outcome`."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope


_PLAIN: Final = re.compile(r"[\w .:@+-]*")
"""Keys that are written as they are; others are quoted."""


class _Step:
    """A decorated function: how its calls are named, tried again, and their results kept."""

    def __init__(
        self,
        function: Callable[..., Any],
        config: RetryConfig,
        key: str | Callable[..., object] | None,
        timeout: float | None,
    ) -> None:
        self.function = function
        self.timeout = timeout
        self._config = config
        self._key = key
        self._signature = inspect.signature(function)
        self._name = f"{function.__module__}.{function.__qualname__}"

    def begin(self, owner: SdkBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> flows.Flow[Any]:
        """Return the flow that runs a call."""
        scope = owner.scope
        step = scope.step(f"{self._name}({self._key_of(args, kwargs)})", counted=self._key is None)
        # What only this attempt can have saved, under a name that it gives out once, need not be looked for.
        is_new = scope.is_program and self._key is None and not owner.is_resumed
        # A new scope for every try: a second one finds what the first has saved.
        return run_step(owner, step, self._config, self._codec, lambda _: _Body(scope.inside(step)), is_new=is_new)

    def _key_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if self._key is not None:
            text = str(self._key(*args, **kwargs)) if callable(self._key) else self._formatted(self._key, args, kwargs)
            return text if _PLAIN.fullmatch(text) else repr(text)  # no key looks like the name of another step
        bound = self._bind(args, kwargs)
        if not bound.arguments:
            return ""
        try:
            encoded = msgspec.json.encode(bound.arguments, order="sorted")
        except UNFIT as error:
            raise InvalidInput(f"the arguments of {self._name} cannot name a checkpoint ({error}): give key=") from None
        return hashlib.blake2b(encoded, digest_size=12).hexdigest()

    def _formatted(self, key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        try:
            return key.format(**self._bind(args, kwargs).arguments)
        except (LookupError, AttributeError, ValueError) as error:
            raise InvalidInput(f"key {key!r} does not fit the arguments of {self._name}: {error!r}") from None

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound

    @functools.cached_property
    def _codec(self) -> Codec:
        """Keeps results as the declared type, which is found when the step is first called."""
        return Codec(declared_result(self.function), f"{self._name} returns")


@overload
def durable(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def durable(
    *,
    max_retries: int = 3,
    strategy: RetryStrategy = RetryStrategy.EXPONENTIAL_BACKOFF,
    delay: float = 1.0,
    max_delay: float = 60.0,
    jitter: float = 0.1,
    max_retry_after: float = 3600.0,
    retry_on: tuple[type[BaseException], ...] = (Exception,),
    timeout: float | None = None,
    key: str | Callable[..., object] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def durable(
    function: Callable[..., Any] | None = None,
    /,
    *,
    key: str | Callable[..., object] | None = None,
    timeout: float | None = None,
    max_retries: int = 3,
    **retry: Any,
) -> Any:
    """Make a function durable: its result is kept, and a replay returns it without running the function.

    Works on plain functions with the sync SDK and on async functions with the async SDK. A failure is tried again up to
    `max_retries` times, after `delay` seconds and then twice as long each time up to `max_delay`, spread by ±`jitter`;
    the count and the waiting survive a crash. An exception with a `retry_after` (`RetryLater`, for one) says itself how
    long to wait, up to `max_retry_after` seconds. `retry_on` limits which exceptions are tried again; `PermanentError`
    never is, and neither is what the runtime refuses for good. `key` is the identity of the call where its arguments
    should not be: a function of the arguments, or a format of their names, as in ``key="{order_id}"``.

    A try that takes longer than `timeout` seconds fails with `TimeoutError`: an async function is cancelled; a plain
    one runs on a thread of its own, which Python cannot stop: it is left to itself, and refused what it asks of the SDK
    from then on. A try that is interrupted, be it by a crash or by parking, has the whole time when it begins anew.

    Calling it raises what the function raises in the end; `InstanceCancelled`, `InstancePaused` or `InstanceShutdown`
    if such a signal came; `InvalidInput` if the result cannot be stored as JSON; `RetriesExhausted` in a replay of a
    step whose tries were used up before a crash.
    """
    _check(timeout, key)
    _check_names(retry)
    config = RetryConfig(max_retries=max_retries, **retry)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if isinstance(function, type) or not callable(cast(object, function)):
            raise InvalidInput(f"{function!r} cannot be durable: decorate a function; options have names")
        return _wrap(_Step(function, config, key, timeout))

    return decorate if function is None else decorate(function)


def _check_names(options: Mapping[str, object]) -> None:
    for name in options.keys() - _OPTIONS:
        close = difflib.get_close_matches(name, sorted(_OPTIONS), n=1)
        raise TypeError(f"durable() has no option {name!r}" + (f": did you mean {close[0]}?" if close else ""))


_OPTIONS: Final = frozenset({"key", "timeout", *RetryConfig.__struct_fields__})


def _check(timeout: object, key: object) -> None:
    if timeout is not None and not (type(timeout) in (int, float) and 0 < timeout < 1e9):  # type: ignore[operator]  # numbers
        raise InvalidInput(f"timeout of {timeout!r} is not allowed: give seconds, more than 0")
    if not (key is None or isinstance(key, str) or callable(key)):
        raise InvalidInput(f"key of {key!r} is not allowed: give a format of the arguments, or a function of them")


def _wrap(step: _Step) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(step.function):

        @functools.wraps(step.function)
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            return await _call(step, args, kwargs)

        return wrapped

    @functools.wraps(step.function)
    def wrapped_blocking(*args: Any, **kwargs: Any) -> Any:
        return _call_blocking(step, args, kwargs)

    return wrapped_blocking


async def _call(step: _Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    owner = sdk()
    if not isinstance(owner, AsyncRuntaraSdk):
        raise InvalidInput(
            f"{step.function.__qualname__} is async and needs the async SDK: this program uses the sync one"
        )
    call = partial(step.function, *args, **kwargs)

    async def perform(wish: Any) -> Any:
        if wish.__class__ is _Body:
            return await try_async(wish.scope, call, step.timeout)
        return await owner.perform(wish)

    return await drive(step.begin(owner, args, kwargs), perform)


def _call_blocking(step: _Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    owner = sdk()
    if not isinstance(owner, RuntaraSdk):
        raise InvalidInput(
            f"{step.function.__qualname__} is sync and needs the sync SDK: this program uses the async one"
        )
    call = partial(step.function, *args, **kwargs)

    def perform(wish: Any) -> Any:
        if wish.__class__ is _Body:
            return try_blocking(wish.scope, call, step.timeout)
        return owner.perform(wish)

    return drive_blocking(step.begin(owner, args, kwargs), perform)
