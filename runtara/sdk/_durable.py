"""`@durable`: a function whose result is kept, so that a replay returns it instead of running the function again.

The result is saved as a checkpoint under the step's name: the function's qualified name, a key made from its arguments,
the durable function that called it, and its place among equal calls there. Loops, nesting, recursion and two functions
of one name therefore never meet in one checkpoint. A key of the author's own (`key=`) is an identity: calls with the
same key, in one scope, are one step. Equal calls at the same time have no order of their own: give them keys.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import typing
from collections.abc import Callable
from contextvars import ContextVar
from itertools import count
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar, overload

import msgspec

from runtara import messages
from runtara.errors import InvalidInput, RetriesExhausted, Retry, RuntaraError
from runtara.ids import CHECKPOINT_ID_MAX_BYTES
from runtara.sdk import _flows as flows
from runtara.sdk._base import SdkBase
from runtara.sdk._drive import drive, drive_blocking
from runtara.sdk._types import RetryConfig, RetryStrategy, Signal
from runtara.sdk.aio import AsyncRuntaraSdk
from runtara.sdk.context import sdk
from runtara.sdk.sync import RuntaraSdk

__all__ = ["PermanentError", "durable"]

P = ParamSpec("P")
R = TypeVar("R")


class PermanentError(Exception):
    """Raise it, or a subclass, from a durable function when trying again would not help."""


class _Body:
    """The wish to have the function run; the reply is an `_Outcome`."""


class _Outcome(NamedTuple):
    value: Any = None
    error: Exception | None = None


_BODY: Final = _Body()

_UNFIT: Final = (TypeError, ValueError, RecursionError, msgspec.MsgspecError)
"""What JSON raises where a value does not fit into it, or into the declared type."""


class _Scope:
    """The durable function that is running, and how often each step was called in it."""

    def __init__(self, owner: SdkBase, path: str) -> None:
        self.owner = owner
        self.path = path
        self._calls: dict[str, count[int]] = {}

    def step(self, name: str, *, counted: bool) -> str:
        """Return the checkpoint id of a call: the same one in every replay; a `counted` one has it for itself."""
        calls = next(self._calls.setdefault(name, count(1))) if counted else 1  # safe among threads
        step = f"{self.path}{name}#{calls}" if calls > 1 else f"{self.path}{name}"
        if len(step.encode()) <= CHECKPOINT_ID_MAX_BYTES:
            return step
        return f"durable::{hashlib.blake2b(step.encode(), digest_size=32).hexdigest()}"


_PLAIN: Final = re.compile(r"[\w .:@+-]*")
"""Keys that are written as they are; others are quoted."""

_PROGRAM: Final = "durable::"
"""The path of steps that the program itself calls."""

_scope: ContextVar[_Scope | None] = ContextVar("durable_scope", default=None)


def _current_scope(owner: SdkBase) -> _Scope:
    """Return the scope that a step is called in: a durable function's, or the program's own."""
    scope = _scope.get()
    if scope is not None and scope.owner is owner:
        return scope
    found: _Scope = owner.program_scope(lambda: _Scope(owner, _PROGRAM))
    return found


class _Step:
    """A decorated function: how its calls are named, tried again, and their results kept."""

    def __init__(
        self, function: Callable[..., Any], config: RetryConfig, key: str | Callable[..., object] | None
    ) -> None:
        self.function = function
        self._config = config
        self._key = key
        self._signature = inspect.signature(function)
        self._name = f"{function.__module__}.{function.__qualname__}"

    def begin(self, owner: SdkBase, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, flows.Flow[Any]]:
        """Return the checkpoint id of a call and the flow that runs the call."""
        scope = _current_scope(owner)
        step = scope.step(f"{self._name}({self._key_of(args, kwargs)})", counted=self._key is None)
        # What only this attempt can have saved, under a name that it gives out once, need not be looked for.
        is_new = scope.path == _PROGRAM and self._key is None and not owner.is_resumed
        return step, self._flow(owner, step, self._decoder, is_new=is_new)

    def _key_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if self._key is not None:
            text = str(self._key(*args, **kwargs)) if callable(self._key) else self._formatted(self._key, args, kwargs)
            return text if _PLAIN.fullmatch(text) else repr(text)  # no key looks like the name of another step
        bound = self._bind(args, kwargs)
        if not bound.arguments:
            return ""
        try:
            encoded = msgspec.json.encode(bound.arguments, order="sorted")
        except _UNFIT as error:
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

    def _flow(self, owner: SdkBase, step: str, decoder: msgspec.json.Decoder[Any], *, is_new: bool) -> flows.Flow[Any]:
        """Return the kept result, or have the function run until it has one, and keep it."""
        if not is_new:
            found: messages.CheckpointFound = yield messages.GetCheckpoint(checkpoint_id=step)
            if found.found:
                return _stored(step, decoder, found.state)
        failures = yield from self._earlier_failures(owner, step)
        while True:
            yield from owner.look_for_signals()
            outcome: _Outcome = yield _BODY
            if outcome.error is None:
                return (yield from _keep(step, decoder, outcome.value))
            failures += 1
            yield from self._after_failure(owner, step, failures, outcome.error)

    def _earlier_failures(self, owner: SdkBase, step: str) -> flows.Flow[int]:
        """Return how often the step failed in earlier attempts; wait out the time before its next try."""
        if not self._config.max_retries or not owner.is_resumed:
            return 0
        found: messages.RetriesFound = yield messages.ListRetries(checkpoint_id=step)
        if not found.retries:
            return 0
        last = found.retries[-1]
        if last.attempt > self._config.max_retries:
            raise RetriesExhausted(f"{step} failed {last.attempt} times, the last time with {last.error}")
        left = ((last.retry_at or 0) - owner.now_ms()) / 1000
        yield from owner.pause(min(left, self._config.max_delay))  # no longer, should the clock have been set back
        return last.attempt

    def _after_failure(self, owner: SdkBase, step: str, failures: int, error: Exception) -> flows.Flow[None]:
        """Count the failure, and wait before the next try; or raise it, if there is none."""
        config = self._config
        if not config.max_retries or _is_permanent(error) or not isinstance(error, config.retry_on):
            raise error
        delay = config.delay_for_attempt(failures, owner.random)
        yield messages.RecordRetry(
            checkpoint_id=step,
            attempt=failures,
            error=repr(error).encode(errors="backslashreplace").decode()[:2048],
            retry_after_ms=int(delay.total_seconds() * 1000),
        )
        if failures > config.max_retries:
            raise error
        yield from owner.pause(delay.total_seconds())

    @functools.cached_property
    def _decoder(self) -> msgspec.json.Decoder[Any]:
        """Reads results as the declared type, which is found when the step is first called."""
        try:
            declared = typing.get_type_hints(self.function).get("return", Any)
        except (NameError, AttributeError):  # an annotation that only type checkers can resolve
            declared = Any
        try:
            return msgspec.json.Decoder(declared)
        except TypeError as error:
            raise InvalidInput(f"{self._name} returns {declared}, which cannot be read from JSON: {error}") from None


def _is_permanent(error: Exception) -> bool:
    """Whether trying again would not help: the function says so, or the runtime, as when the instance is cancelled."""
    return isinstance(error, PermanentError) or (isinstance(error, RuntaraError) and error.retry is Retry.NEVER)


def _keep(step: str, decoder: msgspec.json.Decoder[Any], value: Any) -> flows.Flow[Any]:
    """Save a result; return what a replay will return, so that both see the same (a tuple may have become a list)."""
    try:
        state = msgspec.json.encode(value)
        kept = decoder.decode(state)
    except _UNFIT as error:
        raise InvalidInput(
            f"the result of {step} cannot be stored ({error}): return what JSON can express, of the declared type"
        ) from None
    saved: messages.CheckpointSaved = yield messages.SaveCheckpoint(checkpoint_id=step, state=state)
    flows.raise_for(Signal.of(saved.signal))
    return _stored(step, decoder, saved.state) if saved.found else kept


def _stored(step: str, decoder: msgspec.json.Decoder[Any], state: bytes | None) -> Any:
    try:
        return decoder.decode(state or b"")
    except _UNFIT as error:
        raise InvalidInput(
            f"the stored result of {step} is not what the function returns any more ({error}): "
            "keep reading the old form, or give the step a new name"
        ) from None


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
    retry_on: tuple[type[BaseException], ...] = (Exception,),
    key: str | Callable[..., object] | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def durable(
    function: Callable[..., Any] | None = None,
    /,
    *,
    key: str | Callable[..., object] | None = None,
    max_retries: int = 3,
    **retry: Any,
) -> Any:
    """Make a function durable: its result is kept, and a replay returns it without running the function.

    Works on plain functions with the sync SDK and on async functions with the async SDK. A failure is tried again up to
    `max_retries` times, after `delay` seconds and then twice as long each time up to `max_delay`, spread by ±`jitter`;
    the count and the waiting survive a crash. `retry_on` limits which exceptions are tried again; `PermanentError`
    never is, and neither is what the runtime refuses for good. `key` is the identity of the call where its arguments
    should not be: a function of the arguments, or a format of their names, as in ``key="{order_id}"``.

    Calling it raises what the function raises in the end; `InstanceCancelled`, `InstancePaused` or `InstanceShutdown`
    if such a signal came; `InvalidInput` if the result cannot be stored as JSON; `RetriesExhausted` in a replay of a
    step whose tries were used up before a crash.
    """
    config = RetryConfig(max_retries=max_retries, **retry)
    if function is None:
        return lambda function: _wrap(_Step(function, config, key))
    return _wrap(_Step(function, config, key))


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
    name, flow = step.begin(owner, args, kwargs)

    async def perform(wish: Any) -> Any:
        if wish is not _BODY:
            return await owner.perform(wish)
        outer = _scope.set(_Scope(owner, f"{name}/"))  # a new one: a second try finds what the first has saved
        try:
            return _Outcome(await step.function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - the flow decides what an error means
            return _Outcome(error=error)
        finally:
            _scope.reset(outer)

    return await drive(flow, perform)


def _call_blocking(step: _Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    owner = sdk()
    if not isinstance(owner, RuntaraSdk):
        raise InvalidInput(
            f"{step.function.__qualname__} is sync and needs the sync SDK: this program uses the async one"
        )
    name, flow = step.begin(owner, args, kwargs)

    def perform(wish: Any) -> Any:
        if wish is not _BODY:
            return owner.perform(wish)
        outer = _scope.set(_Scope(owner, f"{name}/"))  # a new one: a second try finds what the first has saved
        try:
            return _Outcome(step.function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - the flow decides what an error means
            return _Outcome(error=error)
        finally:
            _scope.reset(outer)

    return drive_blocking(flow, perform)
