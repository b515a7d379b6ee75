"""`runtara steps`."""

import json

from runtara.errors import Code
from tests.cli.terminal import Terminal


def test_what_an_instance_has_done_is_listed(terminal: Terminal) -> None:
    terminal("start", "/programs/greet.py", "--id", "g", "--wait")
    lines = terminal.lines("steps", "g")
    one = terminal("steps", "g", "--limit", "1", "--json")
    none = json.loads(terminal("steps", "g", "--type", "sleep", "--status", "running", "--json").stdout)

    assert [line.split()[3:5] for line in lines[1:]] == [["checkpoint", "begun"], ["checkpoint", "greeted"]]
    assert len(json.loads(one.stdout)["steps"]) == 1
    assert none["steps"] == []
    assert terminal("steps", "x").exit_code == Code.INSTANCE_NOT_FOUND.exit_code
