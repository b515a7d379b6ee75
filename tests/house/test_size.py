"""Functions fit on a screen, and modules can be read in one go."""

import ast

from tests.house.source import ROOT, modules, parse

FUNCTION_LINES = 40
MODULE_LINES = 400


def test_functions_fit_on_a_screen() -> None:
    long = [
        f"{node.name} at {module}:{node.lineno} has {lines} lines"
        for module in modules()
        for node in ast.walk(parse(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]

    assert not long, "\n".join([f"at most {FUNCTION_LINES}:", *long])


def test_modules_can_be_read_in_one_go() -> None:
    lines = {module: len((ROOT / module).read_text(encoding="utf-8").splitlines()) for module in modules()}

    long = [f"{module} has {count} lines" for module, count in lines.items() if count > MODULE_LINES]
    assert not long, "\n".join([f"at most {MODULE_LINES}:", *long])
