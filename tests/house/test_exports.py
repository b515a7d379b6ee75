"""What a module publishes is said in its ``__all__``, and nobody reaches past it.

That the lists are sorted is held by ruff (RUF022).
"""

import ast
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from tests.house.source import ROOT, modules, parse

WITHOUT = {"__main__.py": "it is run, not imported"}
"""File names that need no ``__all__``, with the reason."""


def exports(module: str) -> list[str] | None:
    """The literal ``__all__`` of a module; None where it has none."""
    for node in parse(module).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return list(ast.literal_eval(node.value))  # type: ignore[attr-defined]  # both kinds have a value
    return None


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


@pytest.mark.parametrize("module", [name for name in modules() if PurePosixPath(name).name not in WITHOUT])
def test_every_module_says_what_it_publishes(module: str) -> None:
    published = exports(module)

    assert published is not None, f"{module} has no __all__"
    assert [name for name, count in Counter(published).items() if count > 1] == []


@pytest.mark.parametrize("module", [name for name in modules() if exports(name)])
def test_every_published_name_exists(module: str) -> None:
    dotted = module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    loaded = importlib.import_module(dotted)

    assert [name for name in exports(module) or [] if not hasattr(loaded, name)] == []


@pytest.mark.parametrize("module", modules())
def test_only_published_names_are_imported(module: str) -> None:
    past = [
        f"line {line}: {name} from {dotted}"
        for dotted, name, line in imports_of_ours(module)
        if (source := file_of(dotted)) and name not in (exports(source) or [])
    ]

    assert not past, f"{module} imports what is not in the other's __all__: {'; '.join(past)}"


@pytest.mark.parametrize("module", modules())
def test_private_modules_are_not_imported_from_outside_their_folder(module: str) -> None:
    outside = {
        dotted
        for dotted in imported_modules(module)
        if (source := file_of(dotted)) and re.match(r"_[^_]", PurePosixPath(source).name)
        if PurePosixPath(source).parent not in PurePosixPath(module).parents
    }

    assert not outside, f"{module} reaches into another folder's private modules: {sorted(outside)}"
