"""Functions fit on a screen, and modules can be read in one go."""

import ast

import pytest

from tests.house.source import ROOT, modules, parse

FUNCTION_LINES = 40
MODULE_LINES = 400


@pytest.mark.parametrize("module", modules())
def test_functions_fit_on_a_screen(module: str) -> None:
    long = [
        f"{node.name} (line {node.lineno}): {lines} lines"
        for node in ast.walk(parse(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]

    assert not long, f"more than {FUNCTION_LINES} lines in {module}: {'; '.join(long)}"


@pytest.mark.parametrize("module", modules())
def test_modules_can_be_read_in_one_go(module: str) -> None:
    lines = len((ROOT / module).read_text(encoding="utf-8").splitlines())

    assert lines <= MODULE_LINES, f"{module} has {lines} lines: at most {MODULE_LINES}"
