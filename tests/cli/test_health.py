"""`runtara health`."""

import json

from runtara import __version__
from tests.cli.terminal import Terminal


def test_a_server_that_serves_says_so(terminal: Terminal) -> None:
    lines = terminal.lines("health")
    found = json.loads(terminal("health", "--json").stdout)

    assert [line.split()[0] for line in lines] == ["version", "serves", "goes"]
    assert lines[2].split()[-1] == "no"
    assert (found["version"], found["draining"]) == (__version__, False)
