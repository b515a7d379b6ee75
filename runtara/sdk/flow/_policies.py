"""What is said about a task or a loop beside its function: times, tries, priorities, limits."""

import enum
import re
from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final, Generic, TypeGuard, TypeVar, cast

import msgspec

from runtara.errors import InvalidInput
from runtara.sdk._types import RetryConfig

__all__ = [
    "LoopResult",
    "OnMax",
    "RetryPolicy",
    "TaskMetadata",
    "checked_priority",
    "checked_tags",
    "parse_duration",
    "runtime_priority",
    "written_duration",
]

T = TypeVar("T")

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)", re.IGNORECASE)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(duration: str | float | timedelta) -> timedelta:
    """Return a span of time: ``"30s"``, ``"1.5h"``, ``"200ms"``, ``"2m"``, seconds, or a timedelta as it is.

    Raises `InvalidInput` for anything else, and for what is less than nothing.
    """
    if isinstance(duration, timedelta):
        span = duration
    elif isinstance(duration, str):
        found = _DURATION.fullmatch(duration.strip())
        if found is None:
            raise InvalidInput(f"a duration of {duration!r} is not understood: write 200ms, 30s, 2m or 1.5h")
        span = timedelta(seconds=float(found[1]) * _SECONDS[found[2].lower()])
    elif _is_number(duration) and 0 <= duration < 1e9:
        span = timedelta(seconds=duration)
    else:
        raise InvalidInput(f"a duration of {duration!r} is not allowed: give seconds, 0 or more, or a text like 30s")
    if span < timedelta(0):
        raise InvalidInput(f"a duration of {duration!r} is not allowed: it is less than nothing")
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
        self.config  # noqa: B018 - has everything checked
        if not (_is_number(self.backoff_multiplier) and 1 <= self.backoff_multiplier <= 1_000):
            raise InvalidInput(f"backoff_multiplier of {self.backoff_multiplier!r} is not allowed: use 1 to 1,000")

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


class TaskMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """All that a task says about itself."""

    timeout: timedelta | None = None
    """How long one try may take."""
    retries: RetryPolicy | None = None
    version: str | None = None
    """Part of the definition: another version is another definition."""
    priority: int = 3
    """From 1, critical, to 5, minor."""
    tags: tuple[str, ...] = ()
    display_name: str = ""
    description: str = ""

    @property
    def tries(self) -> RetryConfig:
        """How often it is tried: once, where nothing is said."""
        return _ONCE if self.retries is None else self.retries.config


_ONCE: Final = RetryConfig()


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags, if they are some. Raises `InvalidInput`."""
    kept = tuple(tags)
    if len(kept) > _TAGS_MAX or not all(
        isinstance(cast(object, tag), str) and 0 < len(tag) <= _TAG_MAX_CHARS for tag in kept
    ):
        raise InvalidInput(
            f"tags {kept!r} are not allowed: up to {_TAGS_MAX} texts of up to {_TAG_MAX_CHARS} characters"
        )
    return kept


_TAGS_MAX: Final = 20
_TAG_MAX_CHARS: Final = 64


def checked_priority(priority: int) -> int:
    """Return a priority, if it is one. Raises `InvalidInput`."""
    if type(cast(object, priority)) is not int or priority not in _PRIORITIES:
        raise InvalidInput(f"priority {priority!r} is not allowed: use 1 (critical) to 5 (minor)")
    return priority


_PRIORITIES: Final = range(1, 6)


def runtime_priority(priority: int) -> int:
    """Return the priority of a workflow or a task as the runtime counts it, where the higher goes first."""
    return _NORMAL - priority


_NORMAL: Final = 3


class OnMax(enum.StrEnum):
    """What becomes of a loop that may have no further iteration."""

    FAIL = "fail"
    EXIT_WITH_LAST = "exit_with_last"


class LoopResult(msgspec.Struct, Generic[T], frozen=True):
    """What the body of a loop returns: a value, and whether it is to be called `again` with it."""

    value: T
    again: bool

    @classmethod
    def Again(cls, value: Any) -> "LoopResult[Any]":  # noqa: N802 - the name that the field uses for it
        """Go on with another iteration, whose input is `value`."""
        return LoopResult(value, again=True)

    @classmethod
    def Done(cls, value: Any) -> "LoopResult[Any]":  # noqa: N802 - likewise
        """Leave the loop; `value` is what it comes to."""
        return LoopResult(value, again=False)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
