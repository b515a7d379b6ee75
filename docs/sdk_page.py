"""The page on the SDK: every name that a program uses, with its signature and its docstring."""

import ast
import enum
import inspect
import itertools
import textwrap
import typing
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import msgspec
from parts import default, docs_below, head, inline, struct_section, table, unit

from runtara import sdk
from runtara.errors import RuntaraError
from runtara.sdk import embedded, flow, management, testing

__all__ = ["sdk_page"]

_AWAITED = {
    sdk.AsyncRuntaraSdk: sdk.RuntaraSdk,
    embedded.AsyncEmbedded: embedded.Embedded,
    management.TrioManagement: management.Management,
    management.AsyncioManagement: management.Management,
    management.AsyncRows: management.Rows,
    management.AsyncStream: management.Stream,
}
"""Classes of the async face, each with its twin: what differs is told, the rest is said once."""

_FIRST = ["RuntaraSdk", "AsyncRuntaraSdk", "SdkConfig", "open", "Embedded", "AsyncEmbedded", "Management"]
"""What most programs begin with; the rest follows by name."""

_HIDDEN = "clock hand_in look_for_signals now_ms of open_beside open_door park_after pause perform random runtime scope"
_INTERNAL = set(_HIDDEN.split())
"""Names without an underscore that are there for the SDK's own modules, not for programs; managers have none."""


def sdk_page() -> Iterator[str]:
    """Every public name of `runtara.sdk` and of its public modules."""
    yield from head("SDK", "the docstrings in runtara/sdk")
    yield "What a program imports from `runtara.sdk`. Spans are seconds, or a `timedelta` where the signature says so,"
    yield "and milliseconds where the name ends in `_ms`; instants are `datetime` with a time zone where you give them,"
    yield "and milliseconds since 1970 UTC (`…_at`) where you get them; states, inputs, outputs and payloads are bytes."
    yield "Every call may raise a class of [the error table](errors.md): `Unreachable` where there is no server,"
    yield "`Fenced` where a newer attempt has taken over, `InvalidState` where the instance has ended, `TooLarge` for a"
    yield "payload over its limit."
    yield from _module(sdk)
    yield from _module(embedded)
    yield from _module(management)
    yield from _module(flow)
    yield from _module(testing)


def _module(module: ModuleType) -> Iterator[str]:
    yield f"\n## {module.__name__}\n"
    yield _text(module)
    found = {name: getattr(module, name) for name in sorted(module.__all__, key=_rank)}
    values = {name: value for name, value in found.items() if not inspect.ismodule(value)}
    errors = {name: value for name, value in values.items() if _is_error(value)}
    functions = {name: value for name, value in values.items() if inspect.isfunction(value)}
    if functions:
        yield "\n### Functions"
    for name, function in functions.items():
        yield from _function(name, function)
    for name, value in values.items():
        if inspect.isclass(value) and name not in errors:
            yield from _class(name, value)
    if errors:
        yield "\n### Exceptions\n"
        yield from table("Name | Code | Meaning", (_error_row(name, error) for name, error in errors.items()))


def _rank(name: str) -> tuple[int, str]:
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST)), name


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _error_row(name: str, error: type) -> str:
    code = f"`{error.code.wire}`" if issubclass(error, RuntaraError) and error is not RuntaraError else ""
    called = "" if error.__name__ == name else f"Another name of `{error.__name__}`. "
    return f"`{name}` | {code} | {called}{inline(inspect.getdoc(error) or '')}"


# Functions and classes -----------------------------------------------------------------------------------------------


def _function(name: str, function: Callable[..., Any]) -> Iterator[str]:
    forms = typing.get_overloads(function) or [function]
    yield "\n```py\n" + "\n".join(_signature(form, name) for form in forms) + "\n```\n"
    yield _text(function)


def _class(name: str, cls: type) -> Iterator[str]:
    if issubclass(cls, enum.Enum):
        yield from _enumeration(name, cls)
    elif issubclass(cls, sdk.SdkConfig):
        yield from _configuration(cls)
    elif issubclass(cls, msgspec.Struct):
        yield from struct_section(cls)
        yield from _members(cls)
    elif cls in _AWAITED:
        yield from _awaited(cls, _AWAITED[cls])
    else:
        yield f"\n### {name}\n"
        yield _text(cls)
        yield from _members(cls)


def _enumeration(name: str, cls: type[enum.Enum]) -> Iterator[str]:
    meanings = docs_below(cls)
    yield f"\n### {name}\n"
    yield _text(cls) + "\n"
    for member in cls:
        yield f"- `{member.name}` (`{member.value!r}`) {inline(meanings.get(member.name, ''))}".rstrip()


def _configuration(cls: type[msgspec.Struct]) -> Iterator[str]:
    meanings = docs_below(cls)
    yield f"\n### {cls.__name__}\n"
    yield _text(cls) + "\n"
    yield from table(
        "Field | Variable | Default | Unit | Meaning",
        (
            f"`{field.name}` | `{field.encode_name}` | {default(field)} | {unit(field) if field.default else ''} "
            f"| {inline(meanings.get(field.name, ''))}"
            for field in msgspec.structs.fields(cls)
        ),
    )
    yield from _members(cls)


def _awaited(cls: type, twin: type) -> Iterator[str]:
    """A class of the async face: only what its twin does not have in the same way, but for the awaiting."""
    yield f"\n### {cls.__name__}\n"
    yield f"{_text(cls)}\n\nIt has what [{twin.__name__}](#{twin.__name__.lower()}) has, and every call that is made"
    yield "there is awaited here, but for these:"
    same = set(_lines(twin))
    yield from _listed(line for line in _lines(cls) if line.removeprefix("async ") not in same or _is_plain_call(line))


def _is_plain_call(line: str) -> bool:
    return "(" in line.partition(":")[0] and not line.startswith("async ")


def _members(cls: type) -> Iterator[str]:
    yield from _listed([*_attributes(cls), *_lines(cls)])


def _attributes(cls: type) -> Iterator[str]:
    """What a class of ours sets in `__init__` and explains there, without the tick they begin with."""
    for kind in cls.__mro__ if cls not in _AWAITED.values() else ():
        if (
            "__init__" not in vars(kind)
            or kind.__module__.split(".")[0] != "runtara"
            or issubclass(kind, msgspec.Struct)
        ):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind.__init__))).body
        assert isinstance(definition, ast.FunctionDef)
        for node, below in itertools.pairwise(definition.body):
            name = _own_name(node)
            if name and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                yield f"{name}`: {inline(str(below.value.value))}"


def _own_name(node: ast.stmt) -> str:
    """The public attribute of `self` that a statement sets."""
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    name = target.attr if isinstance(target, ast.Attribute) else ""
    return "" if name.startswith("_") else name


def _listed(lines: Iterable[str]) -> Iterator[str]:
    found = list(lines)
    if found:
        yield ""
        yield from (f"- `{line}" for line in found)


def _lines(cls: type) -> Iterator[str]:
    """What the public methods and properties of a class are and do, without the tick they begin with."""
    seen: set[str] = set()
    for kind in cls.__mro__:
        for name, value in vars(kind).items() if kind.__module__.split(".")[0] == "runtara" else ():
            function = value.fget if isinstance(value, property) else inspect.unwrap(getattr(value, "__func__", value))
            if name in seen or name.startswith("_") or not inspect.isfunction(function) or _is_internal(kind, name):
                continue
            seen.add(name)
            yield f"{_signature(function, name, is_property=isinstance(value, property))}`: {inline(_doc(function))}"


def _is_internal(kind: type, name: str) -> bool:
    return name in _INTERNAL and not kind.__module__.startswith(management.__name__)


# Words ---------------------------------------------------------------------------------------------------------------


def _doc(thing: object) -> str:
    return inspect.getdoc(thing) or ""


def _text(thing: object) -> str:
    """A docstring with its paragraphs."""
    return "\n\n".join(inline(paragraph) for paragraph in _doc(thing).split("\n\n"))


def _signature(function: Callable[..., Any], name: str, *, is_property: bool = False) -> str:
    """A function's head as it is written, without `self`."""
    definition = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef)
    returns = ast.unparse(definition.returns) if definition.returns else ""
    if is_property:
        return f"{name}: {returns}"
    head = f"{name}({', '.join(_arguments(definition.args))})"
    prefix = "async " if isinstance(definition, ast.AsyncFunctionDef) else ""
    if any("contextmanager" in ast.unparse(decorator) for decorator in definition.decorator_list):
        entered = returns.partition("[")[2].removesuffix("]")
        return f"{prefix}with {head}" + ("" if entered == "None" else f" as {entered}")
    return f"{prefix}{head} -> {returns}"


def _arguments(arguments: ast.arguments) -> Iterator[str]:
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    for place, (argument, value) in enumerate(zip(plain, defaults, strict=True)):
        if place or argument.arg not in ("self", "cls"):
            yield _argument(argument, value)
        if place + 1 == len(arguments.posonlyargs):
            yield "/"
    if arguments.vararg:
        yield f"*{_argument(arguments.vararg)}"
    elif arguments.kwonlyargs:
        yield "*"
    for argument, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _argument(argument, value)
    if arguments.kwarg:
        yield f"**{_argument(arguments.kwarg)}"


def _argument(argument: ast.arg, value: ast.expr | None = None) -> str:
    return ast.unparse(argument) + (f" = {ast.unparse(value)}" if value else "")
