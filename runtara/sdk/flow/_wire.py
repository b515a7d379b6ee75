"""What who leads an instance and who helps say to each other about one try of a task. The runtime carries it unread."""

from typing import Any, Final

import msgspec

from runtara.decoders import decode_msgpack
from runtara.errors import ERRORS, Internal, RuntaraError
from runtara.sdk._bodies import Outcome
from runtara.sdk._steps import PermanentError
from runtara.sdk._types import RetryConfig
from runtara.sdk._words import hint_of, words_of
from runtara.sdk.flow._failures import name_of_class
from runtara.sdk.flow.errors import TaskTimedOut

__all__ = ["MARGIN", "Try", "read_outcome", "read_try", "write_outcome", "write_try"]


MARGIN: Final = 30.0
"""Seconds that an answer of the runtime may take beyond the time that it is to wait."""


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """One try of a task: all that a helper has to know beside the workflow."""

    place: str
    """Where in the workflow."""
    value: bytes
    """The input, as the workflow's codec makes it."""
    step: str
    """The checkpoint that its result will be; what the task keeps itself is kept below it."""
    attempt: int
    """Number of the try, from 1."""
    epoch: int
    """Of who leads: what the task asks of the runtime is asked under it."""
    of_loop: bool = False


class _Error(msgspec.Struct, frozen=True, kw_only=True):
    """An error without its traceback."""

    module: str
    name: str
    text: str
    code: str | None = None
    """Of an error of the runtime, which is the same error on the other side."""
    is_permanent: bool = False
    """Whether trying again does not help, as the task's own policy has it."""
    is_over: bool = False
    """Whether the try took too long."""
    retry_after: float | None = None
    """In how many seconds trying again may help, where the error says so."""


class _Outcome(msgspec.Struct, frozen=True):
    """What came of a try: one of both."""

    value: bytes | None = None
    error: _Error | None = None


def write_try(one: Try) -> bytes:
    """Return a try as bytes."""
    return msgspec.msgpack.encode(one)


def read_try(payload: bytes) -> Try:
    """Return the try that was written. Raises `msgspec.MsgspecError` for anything else."""
    return decode_msgpack(payload, Try)


def write_outcome(outcome: Outcome, config: RetryConfig) -> bytes:
    """Return as bytes what came of a try; `config` says which errors are worth another one."""
    error = outcome.error
    kept = _Outcome(value=outcome.value) if error is None else _Outcome(error=_written(error, config))
    return msgspec.msgpack.encode(kept)


def read_outcome(data: bytes, place: str) -> Outcome:
    """Return what came of a try elsewhere. Its error has the class name and the words of the one that was raised."""
    kept = decode_msgpack(data, _Outcome)
    return Outcome(kept.value) if kept.error is None else Outcome(error=_read(kept.error, place))


def _written(error: Exception, config: RetryConfig) -> _Error:
    kind = type(error)
    hint = config.delay_after(error, 1).total_seconds() if hint_of(error) is not None else None
    return _Error(
        module=kind.__module__,
        name=kind.__qualname__,
        text=words_of(error)[:_TEXT_MAX],
        code=error.code.wire if isinstance(error, RuntaraError) else None,
        is_permanent=isinstance(error, (PermanentError, *config.never_on)),
        is_over=isinstance(error, TaskTimedOut),
        retry_after=hint,
    )


_TEXT_MAX: Final = 4_096


def _read(error: _Error, place: str) -> Exception:
    if error.is_over:
        return TaskTimedOut(error.text, task_id=place, error_type=name_of_class(TaskTimedOut))
    if error.code is not None:
        return _BY_WIRE.get(error.code, Internal)(error.text)
    members: dict[str, Any] = {"__module__": error.module, "__qualname__": error.name}
    if error.retry_after is not None:
        members["retry_after"] = error.retry_after
    bases = (PermanentError if error.is_permanent else Exception,)
    raised: Exception = type(error.name.rpartition(".")[2], bases, members)(error.text)
    return raised


_BY_WIRE: Final = {code.wire: kind for code, kind in ERRORS.items()}
