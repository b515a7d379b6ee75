"""`@task`: a function that a workflow can have as a node, and what is known of it."""

import functools
import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar, cast, get_type_hints, overload

import msgspec

from runtara.errors import InvalidInput
from runtara.sdk._results import declared_result
from runtara.sdk.flow._policies import RetryPolicy, TaskMetadata, checked_priority, checked_tags, parse_duration

__all__ = ["TaskSpec", "name_of", "task"]

P = ParamSpec("P")
R = TypeVar("R")


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A function as the task of a node."""

    function: Callable[..., Any]
    metadata: TaskMetadata
    is_async: bool
    takes_input: bool
    """Whether it has a parameter for the output of the node before it."""
    input_type: Any
    output_type: Any

    @classmethod
    def of(cls, function: Callable[..., Any]) -> "TaskSpec":
        """Return what is known of a function, decorated or not. Raises `InvalidInput` for what is no task."""
        if isinstance(function, type) or not callable(cast(object, function)):
            raise InvalidInput(f"{function!r} is no task: give a function of one argument")
        first = _first_parameter(function)
        return cls(
            function=function,
            metadata=getattr(function, "_metadata", None) or TaskMetadata(),
            is_async=inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__),
            takes_input=first is not None,
            input_type=Any if first is None else _declared(function, first),
            output_type=declared_result(_unbound(function)),
        )


def name_of(function: Callable[..., Any]) -> str | None:
    """Return the id that a function has as a task, or its name; None for a lambda."""
    given = getattr(function, "_task_id", None)
    name = given or getattr(function, "__name__", type(function).__name__)
    return None if name == "<lambda>" else str(name)


def _first_parameter(function: Callable[..., Any]) -> str | None:
    """Return the name of the one argument that a task takes; None where it takes none."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise InvalidInput(f"{function!r} is no task: its arguments are not known; wrap it in a function") from None
    required = [
        one for one in parameters if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    keyword = [one for one in required if one.kind is one.KEYWORD_ONLY]
    if len(required) > 1 or keyword:
        names = ", ".join(one.name for one in required)
        raise InvalidInput(
            f"task {name_of(function) or function!r} takes {names}: a task has one argument, "
            "the output of the node before it; bind the others with functools.partial"
        )
    positional = [
        one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD, one.VAR_POSITIONAL)
    ]
    return positional[0].name if positional else None


def _declared(function: Callable[..., Any], parameter: str) -> Any:
    try:
        return get_type_hints(_unbound(function)).get(parameter, Any)
    except (NameError, AttributeError, TypeError):
        return Any


def _unbound(function: Callable[..., Any]) -> Callable[..., Any]:
    return function.func if isinstance(function, functools.partial) else function


@overload
def task(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def task(
    name: str | None = None,
    /,
    *,
    timeout: str | float | timedelta | None = None,
    retries: int | RetryPolicy | None = None,
    version: str | None = None,
    priority: int = 3,
    tags: tuple[str, ...] | list[str] = (),
    display_name: str = "",
    description: str = "",
    metadata: TaskMetadata | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def task(function_or_name: Any = None, /, **options: Any) -> Any:
    """Say how a function is run as a task; the function itself stays what it is, and can be called as before.

    `timeout` is how long one try may take (seconds, a timedelta, or a text like ``"30s"``), `retries` how often a
    failed one is repeated (a number, or a `RetryPolicy`). `metadata` stands for all options at once. Raises
    `InvalidInput` for what does not fit.
    """
    if callable(function_or_name):
        return _mark(function_or_name, None, _metadata(**options))
    name, metadata = function_or_name, _metadata(**options)
    if name is not None and (not isinstance(name, str) or not name):
        raise InvalidInput(f"a task cannot be called {name!r}: give a text, or none")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        return _mark(function, name, metadata)

    return decorate


def _mark(function: Callable[P, R], name: str | None, metadata: TaskMetadata) -> Callable[P, R]:
    TaskSpec.of(function)  # refuses what is no task where it is written
    marked: Any = function
    marked._task_id = name or name_of(function)  # noqa: SLF001 - the names by which the field's binding marks tasks
    marked._metadata = metadata  # noqa: SLF001 - likewise
    return function


def _metadata(
    *,
    timeout: str | float | timedelta | None = None,
    retries: int | RetryPolicy | None = None,
    version: str | None = None,
    priority: int = 3,
    tags: tuple[str, ...] | list[str] = (),
    display_name: str = "",
    description: str = "",
    metadata: TaskMetadata | None = None,
) -> TaskMetadata:
    if metadata is not None:
        return metadata
    span = None if timeout is None else parse_duration(timeout)
    if span is not None and not span:
        raise InvalidInput("a timeout of nothing is not allowed: leave it out for a task that may take any time")
    kept = checked_tags(tags)
    return TaskMetadata(
        timeout=span,
        retries=RetryPolicy.of(retries),
        version=version,
        priority=checked_priority(priority),
        tags=kept,
        display_name=display_name,
        description=description,
    )
