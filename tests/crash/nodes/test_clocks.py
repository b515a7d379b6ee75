"""Nodes whose clocks disagree: the database's time counts, for all of them."""

import time
from pathlib import Path

from runtara.messages import StartInstance
from tests.crash.nodes.fleet import LONG_MS, Fleet
from tests.requirements import require

HOUR_MS = 3_600_000

PROGRAM = """import time
from runtara.sdk import RuntaraSdk
with RuntaraSdk.from_env() as sdk:
    now = str(time.time()).encode()
    began = sdk.checkpoint("began", now).existing_state or now
    sdk.sleep(1.0, "nap")
    sdk.completed(str(time.time() - float(began)).encode())
"""


def test_a_node_whose_clock_is_an_hour_ahead_neither_wakes_early_nor_lies_about_the_time(fleet: Fleet) -> None:
    faked = Path(require("faketime", "to give a server a clock that is an hour wrong"))
    library = next(faked.parents[1].glob("lib/**/faketime/libfaketime.so.1"))
    (one,) = fleet.start(1, RUNTARA_NODE_LEASE_MS=LONG_MS)
    faked_clock = {"LD_PRELOAD": str(library), "FAKETIME": "+1h", "DONT_FAKE_MONOTONIC": "1"}
    (two,) = fleet.start(1, RUNTARA_NODE_LEASE_MS=LONG_MS, **faked_clock)
    (fleet.site.path / "programs" / "nap.py").write_text(PROGRAM)
    names = [f"nap-{number}" for number in range(4)]

    for name in names:
        fleet.manager(two).beside(name).call_from_thread(StartInstance(program="nap.py"))

    fleet.await_completed(one, names)
    found = [fleet.status(one, name) for name in names]
    now_ms = time.time() * 1000
    # Clocks count whole milliseconds, and ours lags behind the database's by the way there and back.
    assert all(float(info.output or b"0") >= 0.99 for info in found)
    assert all(abs(info.created_at - now_ms) < HOUR_MS / 2 for info in found)
    assert all(abs((info.finished_at or 0) - now_ms) < HOUR_MS / 2 for info in found)
    assert all((info.finished_at or 0) >= info.created_at for info in found)
    assert b"ready" in two.log.read_bytes()


def test_the_clock_of_the_faked_node_really_is_wrong(fleet: Fleet) -> None:
    faked = Path(require("faketime", "to give a server a clock that is an hour wrong"))
    library = next(faked.parents[1].glob("lib/**/faketime/libfaketime.so.1"))

    before = time.gmtime()

    (node,) = fleet.start(1, LD_PRELOAD=str(library), FAKETIME="+1h", DONT_FAKE_MONOTONIC="1")

    stamp = node.log.read_text().split()[1].rstrip("Z")
    hours = {(instant.tm_hour + 1) % 24 for instant in (before, time.gmtime())}
    assert int(stamp.partition(":")[0]) in hours, stamp
