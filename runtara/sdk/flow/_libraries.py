"""Which event loop an async task is written for: as its worker or runner was told, or as its own code says."""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, CoroutineType, FunctionType, ModuleType
from typing import Any, Final, NamedTuple

from runtara.threads import Library

__all__ = ["Loops", "library_of", "library_of_coroutine"]

_LIBRARIES: Final[tuple[Library, ...]] = ("trio", "asyncio")


class Loops(NamedTuple):
    """Chooses the event loop of each async task."""

    given: Library | None = None
    """For all of them."""
    unsaid: Library = "trio"
    """For those whose own code does not say."""

    def of(self, said: Library | None) -> Library:
        """Return the one for a task whose own code says this."""
        return self.given or said or self.unsaid


def library_of(function: Callable[..., Any]) -> Library | None:
    """Return the event loop that an async function is written for: the one of whose module its code has a name.

    None for a function that names neither, or both: only what it calls may know.
    """
    plain = _plain(function)
    if plain is None:
        return None
    return _only(_named(plain))


def library_of_coroutine(coroutine: "CoroutineType[Any, Any, Any]") -> Library | None:
    """Return the same of an async function that was called, and has not begun."""
    frame = coroutine.cr_frame
    return None if frame is None else _only(_known_in(coroutine.cr_code, frame.f_globals))


def _only(names: Iterable[tuple[str, Any]]) -> Library | None:
    found = {_library(name, value) for name, value in names} - {None}
    return found.pop() if len(found) == 1 else None


def _plain(function: Callable[..., Any]) -> FunctionType | None:
    """Return the function that runs in the end: behind wrappers, as the method that it is, or as what is called."""
    function = inspect.unwrap(function)
    while isinstance(function, functools.partial):
        function = inspect.unwrap(function.func)
    if not inspect.isroutine(function):
        function = type(function).__call__
    function = getattr(function, "__func__", function)
    return function if isinstance(function, FunctionType) else None


def _named(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Return all names in the code of a function, with what they stand for as far as that is known outside of it."""
    known = dict(function.__globals__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            known[name] = cell.cell_contents
        except ValueError:  # not bound yet
            continue
    yield from _known_in(function.__code__, known)


def _known_in(whole: CodeType, known: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for code in _codes(whole):
        for name in (*code.co_names, *code.co_freevars):
            yield name, known.get(name)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _library(name: str, value: Any) -> Library | None:
    module = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    root = name if value is None else str(module).partition(".")[0]  # a name without a value may be imported inside
    return next((library for library in _LIBRARIES if root == library), None)
