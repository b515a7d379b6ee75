"""Every library has one door.

The table is ruff's ``banned-api`` in pyproject.toml: a name, and in its message the one place that may use it. Ruff
opens a door for everything banned at once; here each name is held to its own door.
"""

import ast
import re
import tomllib

from tests.house.source import ROOT, dotted_uses, modules, parse

_BANNED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]["flake8-tidy-imports"][
    "banned-api"
]


def door(message: str) -> str | None:
    """The path that a message names as the one door; None for what is banned everywhere."""
    found = re.search(r"door: (?:the folder )?(runtara/[\w/.]+)", message)
    return found and found[1]


DOORS = {name: door(row["msg"]) for name, row in _BANNED.items()}


def test_the_table_names_the_doors_of_the_design() -> None:
    assert DOORS["pykka"] == "runtara/actors/_blocking.py"
    assert DOORS["asyncio"] == "runtara/threads.py"
    assert DOORS["os.environ"] == "runtara/settings"
    assert DOORS["time.time_ns"] == "runtara/clock.py"
    assert DOORS["sqlite3"] == "runtara/store"


def test_every_library_is_used_through_its_own_door() -> None:
    libraries = {name.partition(".")[0] for name in DOORS}

    wrong = [
        f"{module}:{line} uses {used} ({_BANNED[name]['msg']})"
        for module in modules()
        for used, line in dotted_uses(parse(module))
        if used.partition(".")[0] in libraries
        for name, place in DOORS.items()
        if f"{used}.".startswith(f"{name}.") and not (place and f"{module}/".startswith(f"{place}/"))
    ]

    assert not wrong, "\n".join(wrong)


def test_a_type_is_met_through_its_door_also_where_msgspec_is_told_it_beside_the_bytes() -> None:
    wrong = [
        f"{module}:{node.lineno} names a type: use runtara/decoders.py"
        for module in modules()
        if module != "runtara/decoders.py"
        for node in ast.walk(parse(module))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"msgspec.json.decode", "msgspec.msgpack.decode"}
        and any(keyword.arg == "type" for keyword in node.keywords)
    ]

    assert not wrong, "\n".join(wrong)
