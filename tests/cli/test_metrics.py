"""`runtara metrics`."""

import json

from tests.cli.terminal import Terminal


def test_a_tenant_sees_how_much_it_gets_done(terminal: Terminal) -> None:
    terminal("start", "/programs/greet.py", "--id", "g", "--wait")
    terminal("start", "/programs/fail.py", "--id", "f", "--wait")
    lines = terminal.lines("metrics", "--last", "2h")
    buckets = json.loads(terminal("metrics", "--last", "1d", "--by", "daily", "--json").stdout)["buckets"]

    assert lines[0].split() == ["FROM", "STARTED", "COMPLETED", "FAILED", "CANCELLED", "AVERAGE", "LONGEST"]
    assert len(lines) in (4, 5)
    assert [sum(bucket[name] for bucket in buckets) for name in ("started", "completed", "failed")] == [2, 1, 1]
