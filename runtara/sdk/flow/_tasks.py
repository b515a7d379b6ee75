"""`@task`: a function that a workflow can have as a node, and what is known of it."""

import functools
import inspect
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final, ParamSpec, TypeVar, cast, get_type_hints, overload

import msgspec

from runtara.sdk.flow._libraries import library_of
from runtara.sdk.flow._policies import RetryPolicy, TaskMetadata, parse_duration
from runtara.sdk.flow.errors import InvalidOption
from runtara.threads import Library

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
    library: Library | None
    """The event loop that it is written for, as far as its own code says so."""

    @classmethod
    def of(cls, function: Callable[..., Any]) -> "TaskSpec":
        """Return what is known of a function, decorated or not. Raises `InvalidInput` for what is no task."""
        if not callable(cast(object, function)):
            raise InvalidOption(f"{function!r} is no task: give a function of one argument")
        return cls._of(function, _first_parameter(function))

    @classmethod
    def marked(cls, function: Callable[..., Any]) -> "TaskSpec":
        """Return the same of a function where it is written, which may be in a class: its `self` is no argument yet."""
        return cls._of(function, _first_parameter(function, of_class=_is_in_class(function)))

    @classmethod
    def _of(cls, function: Callable[..., Any], first: str | None) -> "TaskSpec":
        is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
        return cls(
            function=function,
            metadata=getattr(function, "_metadata", None) or TaskMetadata(),
            is_async=is_async,
            takes_input=first is not None,
            input_type=Any if first is None else _declared(function, first),
            output_type=function if isinstance(function, type) else _declared(function, "return"),
            library=library_of(function) if is_async else None,
        )


def name_of(function: Callable[..., Any]) -> str | None:
    """Return the id that a function has as a task, or its name; None for a lambda, and for what has no name."""
    given = getattr(function, "_task_id", None)
    name = given or getattr(function, "__name__", "<lambda>")
    return None if name == "<lambda>" else str(name)


_ANYTHING: Final = "value"
"""What the one argument of a built-in function or type is called where nothing is known of it."""


def _is_in_class(function: Callable[..., Any]) -> bool:
    """Whether a function is written in a class, as one of its methods; a static one has no `self`."""
    outer = getattr(function, "__qualname__", "").split(".")[-2:-1]
    return inspect.isfunction(function) and outer not in ([], ["<locals>"])


def _first_parameter(function: Callable[..., Any], *, of_class: bool = False) -> str | None:
    """Return the name of the one argument that a task takes; None where it takes none."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return _ANYTHING  # as of `max`, and of much else that is written in C
    required = [
        one for one in parameters if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    if of_class and len(required) > 1 and required[0] is parameters[0]:
        parameters, required = parameters[1:], required[1:]
    keyword = [one for one in required if one.kind is one.KEYWORD_ONLY]
    if len(required) > 1 or keyword:
        names = ", ".join(one.name for one in required)
        raise InvalidOption(
            f"task {name_of(function) or function!r} takes {names}: a task has one argument, "
            "the output of the node before it; bind the others with functools.partial"
        )
    positional = [
        one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD, one.VAR_POSITIONAL)
    ]
    return positional[0].name if positional else None


def _declared(function: Callable[..., Any], name: str) -> Any:
    """Return the type of a parameter, or of what is returned; `Any` where that is not said, or only to checkers."""
    try:
        return get_type_hints(_annotated(function)).get(name, Any)
    except (NameError, AttributeError, TypeError):
        return Any


def _annotated(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what the types are written at: the function that is bound, or the method that makes or calls an object."""
    if isinstance(function, functools.partial):
        return _annotated(function.func)
    if isinstance(function, type):
        return cast(Callable[..., Any], function.__dict__.get("__init__", function))
    return function if inspect.isroutine(function) else type(function).__call__


@overload
def task(func: Callable[P, R]) -> Callable[P, R]: ...
@overload
def task(
    func: str | None = None,
    *,
    name: str | None = None,
    timeout: str | float | timedelta | None = None,
    timeout_secs: float | None = None,
    retries: int | RetryPolicy | None = None,
    tags: Sequence[str] | None = None,
    description: str | None = None,
    priority: int | None = None,
    version: str | None = None,
    display_name: str | None = None,
    metadata: TaskMetadata | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def task(func: Any = None, *, name: str | None = None, **options: Any) -> Any:
    """Say how a function is run as a task; the function itself stays what it is, and can be called as before.

    A text in front is its `name`. `timeout` is how long one try may take (seconds, a timedelta, or a text like
    ``"30s"``; `timeout_secs` says the same as a number), `retries` how often a failed one is repeated (a number, or a
    `RetryPolicy`). `metadata` stands for all options at once. Raises `InvalidOption` for what does not fit.
    """
    metadata = _metadata(**options)
    if callable(func):
        return _mark(func, name, metadata)
    given = name if func is None else func
    if given is not None and (not isinstance(given, str) or not given):
        raise InvalidOption(f"a task cannot be called {given!r}: give a text, or none")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        return _mark(function, given, metadata)

    return decorate


def _mark(function: Callable[P, R], name: str | None, metadata: TaskMetadata) -> Callable[P, R]:
    spec = TaskSpec.marked(function)  # refuses what is no task where it is written
    marked: Any = function
    try:
        marked._task_id = name or getattr(function, "__name__", None)  # noqa: SLF001 - as the field's binding marks tasks
    except (TypeError, AttributeError):
        raise InvalidOption(f"{function!r} cannot be marked as a task: wrap it in a function") from None
    marked._metadata = metadata  # noqa: SLF001 - likewise
    marked._input_type = None if spec.input_type is Any else spec.input_type  # noqa: SLF001 - likewise
    marked._output_type = None if spec.output_type is Any else spec.output_type  # noqa: SLF001 - likewise
    return function


def _metadata(
    *,
    timeout: str | float | timedelta | None = None,
    timeout_secs: float | None = None,
    retries: int | RetryPolicy | None = None,
    tags: Sequence[str] | None = None,
    description: str | None = None,
    priority: int | None = None,
    version: str | None = None,
    display_name: str | None = None,
    metadata: TaskMetadata | None = None,
) -> TaskMetadata:
    if metadata is not None:
        return metadata
    return TaskMetadata(
        display_name=display_name,
        description=description,
        timeout_secs=timeout_secs if timeout is None else parse_duration(timeout),
        retries=RetryPolicy.of(retries),
        tags=None if tags is None else list(tags),
        version=version,
        priority=priority,
    )
