"""What a module publishes is said in its ``__all__``, and nobody reaches past it.

That the lists are sorted is held by ruff (RUF022).
"""

import ast
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import PurePosixPath

from tests.house.source import ROOT, modules, parse

WITHOUT = {"__main__.py": "it is run, not imported"}
"""File names that need no ``__all__``, with the reason."""


@cache
def exports(module: str) -> list[str] | None:
    """The literal ``__all__`` of a module; None where it has none."""
    for node in parse(module).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return list(ast.literal_eval(node.value))  # type: ignore[attr-defined]  # both kinds have a value
    return None


@cache
def file_of(dotted: str) -> str | None:
    """The file of ``runtara.some.module``; None where the name is no module of ours."""
    path = dotted.replace(".", "/")
    return next((name for name in (f"{path}.py", f"{path}/__init__.py") if (ROOT / name).is_file()), None)


def imports_of_ours(module: str) -> Iterator[tuple[str, str, int]]:
    """Each ``from runtara.x import name``: the module, the name and the line; modules themselves are left out."""
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "runtara":
            for alias in node.names:
                if file_of(f"{node.module}.{alias.name}") is None:
                    yield node.module or "", alias.name, node.lineno


def imported_modules(module: str) -> Iterator[str]:
    """The dotted name of everything imported, names inside modules included."""
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_module_says_what_it_publishes() -> None:
    asked = [name for name in modules() if PurePosixPath(name).name not in WITHOUT]

    without = [name for name in asked if exports(name) is None]
    assert not without, f"these have no __all__: {', '.join(without)}"
    twice = {name: [one for one, count in Counter(exports(name)).items() if count > 1] for name in asked}
    assert {name: found for name, found in twice.items() if found} == {}


def test_every_published_name_exists() -> None:
    missing = []
    for module in modules():
        if published := exports(module):
            dotted = module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            loaded = importlib.import_module(dotted)
            missing += [f"{name} in {module}" for name in published if not hasattr(loaded, name)]

    assert not missing, "\n".join(missing)


def test_only_published_names_are_imported() -> None:
    past = [
        f"{module}:{line} imports {name} from {dotted}, whose __all__ does not have it"
        for module in modules()
        for dotted, name, line in imports_of_ours(module)
        if (source := file_of(dotted)) and name not in (exports(source) or [])
    ]

    assert not past, "\n".join(past)


def test_private_modules_are_not_imported_from_outside_their_folder() -> None:
    outside = [
        f"{module} reaches into another folder for {dotted}"
        for module in modules()
        for dotted in imported_modules(module)
        if (source := file_of(dotted)) and re.match(r"_[^_]", PurePosixPath(source).name)
        if PurePosixPath(source).parent not in PurePosixPath(module).parents
    ]

    assert not outside, "\n".join(outside)
