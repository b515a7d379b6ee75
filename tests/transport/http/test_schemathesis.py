"""Thousands of requests made from the description, valid and not: no bug is met, and all answers are described."""

import hashlib
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.transport.http.fuzzing import fuzz
from tests.transport.http.house import House, open_house

SCRIPT = b"#!/bin/sh\n"


async def seed(house: House) -> None:
    """Have something to ask about under the names that are tried first."""
    await house.register("0")
    first = {"Runtara-Epoch": "1"}
    await house.ask("POST", "/instances/0/checkpoint", json={"checkpoint_id": "0", "state": "eA=="}, headers=first)
    await house.ask("POST", "/instances/0/events", json={"subtype": "0"}, headers=first)
    await house.push("0", SCRIPT, hashlib.sha256(SCRIPT).hexdigest())
    house.write_program("p")
    plan = {"every_ms": 1_000_000_000, "start": {"type": "StartInstance", "program": "p"}}
    await house.ask("PUT", "/schedules/0", json={"plan": plan})


async def attacked(folder: Path, *, examples: int, seconds: float, least: int) -> None:
    async with open_house(folder, patience=seconds + 30) as house:
        await seed(house)
        act = partial(fuzz, folder, house.host.http_address, examples=examples, seed=1, timeout=seconds)
        report = await trio.to_thread.run_sync(act)
        health = await house.ask("GET", "/health")

    assert report.failures == [], report.output[-8_000:]
    assert " errored" not in report.output, report.output[-8_000:]
    assert report.requests >= least, report.output[-2_000:]
    assert health.status_code == 200


@pytest.mark.timeout(1_000)
async def test_two_thousand_requests_meet_no_bug_and_every_answer_is_described(tmp_path: Path) -> None:
    await attacked(tmp_path, examples=1, seconds=900, least=2_000)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
async def test_thirty_thousand_requests_meet_no_bug_and_every_answer_is_described(tmp_path: Path) -> None:
    await attacked(tmp_path, examples=700, seconds=3_300, least=30_000)
