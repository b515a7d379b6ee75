"""What is said about a task or a loop beside its function: times, tries, priorities, limits."""

import enum
import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final, Generic, TypeGuard, TypeVar, cast

import msgspec

from runtara.errors import InvalidInput
from runtara.sdk._types import RetryConfig
from runtara.sdk.flow.errors import InvalidOption

__all__ = [
    "LoopResult",
    "OnMax",
    "RetryPolicy",
    "TaskMetadata",
    "checked_priority",
    "checked_tags",
    "parse_duration",
    "runtime_priority",
    "span_of",
    "written_duration",
]

T = TypeVar("T")

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)", re.IGNORECASE)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(value: str | float | timedelta) -> float:
    """Return how many seconds a span of time has: ``"30s"``, ``"1.5h"``, ``"200ms"``, ``"2m"``, a number, a timedelta.

    Raises `InvalidOption`, which is a `ValueError`, for anything else, and for what is less than nothing.
    """
    return span_of(value).total_seconds()


def span_of(duration: str | float | timedelta) -> timedelta:
    """Return a span of time, from what `parse_duration` understands."""
    if isinstance(duration, timedelta):
        span = duration
    elif isinstance(duration, str):
        found = _DURATION.fullmatch(duration.strip())
        if found is None:
            raise InvalidOption(f"a duration of {duration!r} is not understood: write 200ms, 30s, 2m or 1.5h")
        span = timedelta(seconds=float(found[1]) * _SECONDS[found[2].lower()])
    elif _is_number(duration) and 0 <= duration < 1e9:
        span = timedelta(seconds=duration)
    else:
        raise InvalidOption(f"a duration of {duration!r} is not allowed: give seconds, 0 or more, or a text like 30s")
    if span < timedelta(0):
        raise InvalidOption(f"a duration of {duration!r} is not allowed: it is less than nothing")
    return span


def written_duration(span: timedelta) -> str:
    """Return a span of time as `parse_duration` reads it, in the largest unit of which it is one or more."""
    seconds = span.total_seconds()
    unit, length = next((one for one in reversed(_SECONDS.items()) if one[1] <= seconds), ("ms", 0.001))
    return f"{round(seconds / length, 3):.12g}{unit}"


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often a failed task is tried again, and how long to wait before: initial · multiplier^(n-1), capped."""

    max_retries: int = 2
    """Tries after the first one."""
    initial_delay_secs: float = 1.0
    backoff_multiplier: float = 2.0
    max_delay_secs: float = 3600.0
    """No wait is longer."""
    jitter: float = 0.0
    """Each wait is spread by this part of it, up or down."""
    non_retryable: tuple[type[BaseException], ...] = ()
    """These, and `PermanentError`, are not tried again."""

    def __post_init__(self) -> None:
        try:
            self.config  # noqa: B018 - has everything checked
        except InvalidInput as refusal:
            raise InvalidOption(str(refusal)) from None
        if not (_is_number(self.backoff_multiplier) and 1 <= self.backoff_multiplier <= 1_000):
            raise InvalidOption(f"backoff_multiplier of {self.backoff_multiplier!r} is not allowed: use 1 to 1,000")

    @classmethod
    def of(cls, retries: "int | RetryPolicy | None") -> "RetryPolicy | None":
        """Return a policy: an int is a number of retries after 1 s, 2 s, 4 s, and so on."""
        return retries if retries is None or isinstance(retries, RetryPolicy) else cls(retries)

    @property
    def config(self) -> RetryConfig:
        """The same, as durable functions say it."""
        return _config_of(self)


@lru_cache(maxsize=256)
def _config_of(policy: RetryPolicy) -> RetryConfig:
    return RetryConfig(
        max_retries=policy.max_retries,
        delay=policy.initial_delay_secs,
        max_delay=policy.max_delay_secs,
        jitter=policy.jitter,
        factor=policy.backoff_multiplier,
        never_on=policy.non_retryable,
    )


class TaskMetadata(msgspec.Struct, frozen=True):
    """All that a task says about itself; None for what it leaves unsaid."""

    display_name: str | None = None
    description: str | None = None
    timeout_secs: float | None = None
    """How long one try may take."""
    retries: RetryPolicy | None = None
    tags: Sequence[str] | None = None
    version: str | None = None
    """Part of the definition: another version is another definition."""
    priority: int | None = None
    """From 1, critical, to 5, minor; 3, where nothing is said."""

    def __post_init__(self) -> None:
        if self.timeout_secs is not None and not parse_duration(self.timeout_secs):
            raise InvalidOption("a timeout of nothing is not allowed: leave it out for a task that may take any time")
        if self.tags is not None:
            checked_tags(self.tags)
        if self.priority is not None:
            checked_priority(self.priority)

    @property
    def timeout(self) -> timedelta | None:
        """The same as `timeout_secs`, as a span."""
        return None if self.timeout_secs is None else timedelta(seconds=self.timeout_secs)

    @property
    def tries(self) -> RetryConfig:
        """How often it is tried: once, where nothing is said."""
        return _ONCE if self.retries is None else self.retries.config


_ONCE: Final = RetryConfig()


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags, if they are some. Raises `InvalidOption`."""
    kept = tuple(tags)
    if len(kept) > _TAGS_MAX or not all(
        isinstance(cast(object, tag), str) and 0 < len(tag) <= _TAG_MAX_CHARS for tag in kept
    ):
        raise InvalidOption(
            f"tags {kept!r} are not allowed: up to {_TAGS_MAX} texts of up to {_TAG_MAX_CHARS} characters"
        )
    return kept


_TAGS_MAX: Final = 20
_TAG_MAX_CHARS: Final = 64


def checked_priority(priority: int) -> int:
    """Return a priority, if it is one. Raises `InvalidOption`."""
    if type(cast(object, priority)) is not int or priority not in _PRIORITIES:
        raise InvalidOption(f"priority must be between 1 (critical) and 5 (minor), not {priority!r}")
    return priority


_PRIORITIES: Final = range(1, 6)


def runtime_priority(priority: int | None) -> int:
    """Return the priority of a workflow or a task as the runtime counts it, where the higher goes first."""
    return 0 if priority is None else _NORMAL - priority


_NORMAL: Final = 3


class OnMax(enum.StrEnum):
    """What becomes of a loop that may have no further iteration."""

    FAIL = "fail"
    EXIT_WITH_LAST = "exit_with_last"


class LoopResult(Generic[T]):
    """What the body of a loop returns: a value, and whether the body is to be called again with it.

    Made by `LoopResult.again(value)` and `LoopResult.done(value)`.
    """

    __slots__ = ("_tag", "_value")

    def __init__(self, tag: str, value: T) -> None:
        if tag not in _TAGS:
            raise InvalidOption(f"a result of a loop is one of {', '.join(_TAGS)}, not {tag!r}")
        self._tag: Final = tag
        self._value: Final = value

    @classmethod
    def again(cls, value: Any) -> "LoopResult[Any]":
        """Go on with another iteration, whose input is `value`."""
        return LoopResult(_AGAIN, value)

    @classmethod
    def done(cls, value: Any) -> "LoopResult[Any]":
        """Leave the loop; `value` is what it comes to."""
        return LoopResult(_DONE, value)

    @classmethod
    def Again(cls, value: Any) -> "LoopResult[Any]":  # noqa: N802 - the name in the field's core
        """Do the same as `again`."""
        return cls.again(value)

    @classmethod
    def Done(cls, value: Any) -> "LoopResult[Any]":  # noqa: N802 - likewise
        """Do the same as `done`."""
        return cls.done(value)

    @classmethod
    def of(cls, returned: Any) -> "LoopResult[Any] | None":
        """Return what a body has returned, if it is one of these, or what `to_dict` makes of one; None else."""
        if isinstance(returned, LoopResult):
            return returned
        if isinstance(returned, dict) and returned.keys() == {"_loop", "value"} and returned["_loop"] in _TAGS:
            return LoopResult(returned["_loop"], returned["value"])
        return None

    @property
    def is_again(self) -> bool:
        """Whether the body is to be called again."""
        return self._tag == _AGAIN

    @property
    def is_done(self) -> bool:
        """Whether the loop is left."""
        return self._tag == _DONE

    @property
    def value(self) -> T:
        """The next input of the body, or what the loop comes to."""
        return self._value

    def to_dict(self) -> dict[str, Any]:
        """Return the same as plain values, which a body may return as well: ``{"_loop": "done", "value": 3}``."""
        return {"_loop": self._tag, "value": self._value}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LoopResult) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self._tag, self._value))

    def __repr__(self) -> str:
        return f"LoopResult.{self._tag}({self._value!r})"


_AGAIN: Final = "again"
_DONE: Final = "done"
_TAGS: Final = (_AGAIN, _DONE)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
