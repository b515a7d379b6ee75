"""Invented workflows come to the same in every runner, with and without deaths in between."""

import pytest

from runtara.sdk.flow import Backend, CheckpointingRunner, InProcessRunner
from tests.sdk.flow.crashing import Crash, CrashingBackend
from tests.sdk.flow.invented import invent
from tests.sdk.flow.test_runner import go_on, to_the_end

AT_ONCE = 100


@pytest.mark.parametrize("first", range(0, 1_000, AT_ONCE))
def test_what_nobody_thought_of_comes_to_what_it_must(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        workflow, value, expected = invent(seed)

        assert InProcessRunner().run(workflow, value).output == expected, f"seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1_000, 20_000, 1_000))
def test_and_so_do_twenty_thousand(first: int) -> None:
    for seed in range(first, first + 1_000):
        workflow, value, expected = invent(seed)

        assert InProcessRunner().run(workflow, value).output == expected, f"seed {seed}"


def lives(backend: Backend, instance_id: str, seeds: range) -> int:
    """Run workflows as instances whose attempts die one after the other, each a little later; return how many died."""
    deaths = 0
    for seed in seeds:
        workflow, value, expected = invent(seed)
        name, at = f"{instance_id}-{seed}", 1 + seed % 5
        mortal = CrashingBackend(backend, at, "before" if seed % 2 else "after")
        runner = CheckpointingRunner(mortal)
        try:
            status = to_the_end(runner, workflow, name, runner.run(workflow, name, value))
        except Crash:
            deaths += 1
            status = go_on(backend, workflow, name, value)

        assert status.output == expected, f"seed {seed}"
    return deaths


def test_what_is_kept_comes_to_the_same_with_a_death_in_between(backend: Backend, instance_id: str) -> None:
    assert lives(backend, instance_id, range(40)) >= 30


@pytest.mark.slow
def test_and_so_do_two_thousand_lives(backend: Backend, instance_id: str) -> None:
    assert lives(backend, instance_id, range(1_000, 3_000)) >= 1_500
