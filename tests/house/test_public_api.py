"""What programs use of the SDK is documented and typed to the last argument, and type checkers see it so."""

import ast
import inspect
import itertools
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runtara.sdk import AsyncRuntaraSdk, RetryConfig, RuntaraSdk, embedded, management
from tests.house.source import PACKAGE, ROOT
from tests.house.test_documentation import PAGES, programs

MODULES = ["runtara.sdk", "runtara.sdk.embedded", "runtara.sdk.management", "runtara.sdk.testing"]
TWINS = [
    (RuntaraSdk, AsyncRuntaraSdk),
    (embedded.Embedded, embedded.AsyncEmbedded),
    (management.Management, management.TrioManagement),
    (management.Management, management.AsyncioManagement),
    (management.Rows, management.AsyncRows),
    (management.Stream, management.AsyncStream),
]


STRICT = ["--config-file=", "--strict", "--scripts-are-modules", "--follow-imports=silent"]
"""As a user would have it: nothing of our own configuration, and nothing but strict."""


def published() -> Iterator[tuple[str, Any]]:
    """Every name that programs import, and what it is."""
    for module in map(import_module, MODULES):
        for name in module.__all__:
            yield f"{module.__name__}.{name}", getattr(module, name)


def functions_of(value: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    """A function itself, or the public methods and properties of a class of ours."""
    if inspect.isfunction(value):
        yield "", inspect.unwrap(value)
    for kind in value.__mro__ if isinstance(value, type) else ():
        for name, member in vars(kind).items() if kind.__module__.split(".")[0] == "runtara" else ():
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if inspect.isfunction(function) and not name.startswith("_"):
                yield f".{name}", inspect.unwrap(function)


FUNCTIONS = {f"{name}{part}": function for name, value in published() for part, function in functions_of(value)}


def test_the_functions_are_found() -> None:
    assert {"runtara.sdk.durable", "runtara.sdk.RuntaraSdk.checkpoint"} <= set(FUNCTIONS)
    assert "runtara.sdk.RuntaraSdk.instance_id" in FUNCTIONS
    assert "runtara.sdk.AsyncRuntaraSdk.embedded" in FUNCTIONS


def test_everything_published_has_a_docstring() -> None:
    own = {name: inspect.getdoc(value) for name, value in [*published(), *FUNCTIONS.items()]}

    assert [name for name, text in own.items() if not text] == []


def test_every_field_that_programs_see_says_what_it_is() -> None:
    found = dict(published())
    structs = [value for value in found.values() if isinstance(value, type) and issubclass(value, msgspec.Struct)]
    structs = [struct for struct in structs if not struct.__module__.startswith("runtara.sdk.testing")]

    assert RetryConfig in structs
    assert [f"{struct.__name__}.{name}" for struct in structs for name in fields_without_docs(struct)] == []


def fields_without_docs(struct: type) -> list[str]:
    """The fields in the body of a class that have no docstring below them."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(struct))).body
    assert isinstance(definition, ast.ClassDef)
    return [
        ast.unparse(field.target)
        for field, below in itertools.pairwise([*definition.body, ast.Pass()])
        if isinstance(field, ast.AnnAssign)
        and not (isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant))
    ]


def test_every_argument_and_result_has_a_type() -> None:
    assert [name for name, function in FUNCTIONS.items() if untyped(function)] == []


def untyped(function: Callable[..., Any]) -> list[str]:
    """The arguments without an annotation; `return` where the result has none."""
    arguments = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    return [name for name in [*arguments, "return"] if name not in function.__annotations__]


def test_a_function_without_types_would_be_found_out() -> None:
    assert untyped(lambda first: first) == ["first", "return"]


@pytest.mark.parametrize(("blocking", "awaiting"), TWINS, ids=lambda twin: twin.__name__)
def test_both_faces_have_the_same_calls_with_the_same_arguments(blocking: type, awaiting: type) -> None:
    there, here = dict(functions_of(blocking)), dict(functions_of(awaiting))

    assert list(there) == list(here)
    for name, function in there.items():
        assert str(inspect.signature(function).parameters) == str(inspect.signature(here[name]).parameters), name


def test_type_checkers_are_told_that_the_package_has_types() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert (PACKAGE / "py.typed").is_file()
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["runtara"]


@pytest.mark.slow
def test_strict_type_checkers_accept_every_documented_program_and_see_what_is_promised(tmp_path: Path) -> None:
    documented = [program for page in PAGES for program in programs(page) if "runtara.sdk" in program.code]
    for program in documented:
        (tmp_path / f"{program.page.stem}_{program.line}.py").write_text(program.code, encoding="utf-8")
    checked = [str(ROOT / "tests" / "house" / "consumer.py"), *map(str, sorted(tmp_path.glob("*.py")))]

    done = subprocess.run(
        [sys.executable, "-m", "mypy", *STRICT, f"--cache-dir={tmp_path / 'cache'}", *checked],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert f"no issues found in {len(checked)} source files" in done.stdout
