"""The error table and the exception classes are one thing seen from two sides."""

import ast
from collections import Counter
from collections.abc import Iterator

import pytest

from runtara import errors
from runtara.errors import ERRORS, Code, RuntaraError
from tests.house.source import ROOT, modules

UNPROVOKED = {
    "Internal": "raised where a bug surfaces; a test that could provoke it would be a bug report",
}
"""Error classes that no test provokes, each with the reason."""

INSIDE = {
    "InvalidOption": "an InvalidInput that is a ValueError as well, as the binding whose names workflows follow has it",
    "_NoBackend": "likewise a TypeError, as that binding raises for another thing than a backend",
    "LeaseLost": "tells the store's own actors to begin anew; to everybody else the store is unavailable",
}
"""Error classes that share the row of their base, each with the reason."""


def subclasses(cls: type[RuntaraError]) -> Iterator[type[RuntaraError]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from subclasses(sub)


@pytest.mark.parametrize("code", Code, ids=lambda code: code.name)
def test_every_row_has_exactly_one_class_with_its_name(code: Code) -> None:
    owners = [cls.__name__ for cls in subclasses(RuntaraError) if "code" in vars(cls) and cls.code is code]

    assert owners == [code.name.title().replace("_", "")]
    assert ERRORS[code].__name__ == owners[0]
    assert owners[0] in errors.__all__


def test_every_class_has_a_row_of_its_own() -> None:
    without = {cls.__name__ for cls in subclasses(RuntaraError) if "code" not in vars(cls)}

    assert without <= INSIDE.keys()


def test_wire_codes_are_unique_and_spelled_like_their_rows() -> None:
    assert [code.wire for code in Code] == [code.name.lower().replace("_", "-") for code in Code]
    assert max(Counter(code.wire for code in Code).values()) == 1


def test_no_row_is_an_alias_of_another() -> None:
    assert [name for name, code in Code.__members__.items() if code.name != name] == []


def named(module: str) -> set[str]:
    """Every name that a module uses."""
    nodes = list(ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))))
    return {node.id for node in nodes if isinstance(node, ast.Name)} | {
        node.attr for node in nodes if isinstance(node, ast.Attribute)
    }


def test_a_test_provokes_every_error() -> None:
    missing = {cls.__name__ for cls in ERRORS.values()} - UNPROVOKED.keys()

    for module in modules(ROOT / "tests"):
        text = (ROOT / module).read_text(encoding="utf-8")
        if not module.startswith("tests/house/") and any(name in text for name in missing):
            missing -= named(module)

    assert not missing, f"no test outside tests/house mentions {', '.join(sorted(missing))}"
