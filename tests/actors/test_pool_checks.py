from typing import Any

import pytest
from msgspec.structs import replace

from runtara.actors._pool_checks import HELD_MAX, POOL_CHECKS, PROGRAMS_MAX, SLOTS_MAX, TAGS_MAX
from runtara.endpoints import ENDPOINTS
from runtara.errors import InvalidInput, RuntaraError
from runtara.messages import ClaimWork, FinishTask, KeepClaims, OfferTask, WithdrawTask
from tests.actors.operations import EXAMPLES

A = "pool:a@1"
WORKERS = ["", "a b", "x" * 129, None]
WAITS = [-1, 60_001, 1.5, True]
LEASES = [0, 99, 10**18, "long"]
TAGS = [["list"], ("",), ("\n",), ("x",) * (TAGS_MAX + 1), "text"]
PROGRAMS = ["ship", "pool:" + "x" * 5_000, "pool:\n", "", None]
PLACES = ["", "x" * 1_025, "\0", None]

BAD: dict[type, dict[str, list[Any]]] = {
    ClaimWork: {
        "worker_id": WORKERS,
        "slot": [-1, SLOTS_MAX, "0", True],
        "programs": [*((program,) for program in PROGRAMS), [A], (A,) * (PROGRAMS_MAX + 1)],
        "tags": TAGS,
        "lease_ms": LEASES,
        "wait_ms": WAITS,
    },
    KeepClaims: {
        "worker_id": WORKERS,
        "held": [[], ("",), ("x",) * (HELD_MAX + 1)],
        "lease_ms": LEASES,
        "wait_ms": WAITS,
    },
    FinishTask: {"claim_id": PLACES},
    OfferTask: {"place": PLACES, "program": PROGRAMS, "tags": TAGS, "priority": [101, -101, 0.5], "wait_ms": WAITS},
    WithdrawTask: {"place": PLACES, "hand_over": [1, None]},
}


def test_everything_that_workers_may_say_is_checked() -> None:
    assert POOL_CHECKS.keys() == BAD.keys() == {row.command for row in ENDPOINTS.values() if row.owner == "pool"}


@pytest.mark.parametrize(("command", "field"), [(kind, field) for kind, fields in BAD.items() for field in fields])
def test_what_is_wrong_is_refused_and_what_is_right_is_not(command: type, field: str) -> None:
    POOL_CHECKS[command](EXAMPLES[command])
    for bad in BAD[command][field]:
        with pytest.raises(RuntaraError):
            POOL_CHECKS[command](replace(EXAMPLES[command], **{field: bad}))


def test_a_program_that_no_worker_runs_is_named() -> None:
    with pytest.raises(InvalidInput, match="'ship' is run by no worker"):
        POOL_CHECKS[ClaimWork](replace(EXAMPLES[ClaimWork], programs=("ship",)))
