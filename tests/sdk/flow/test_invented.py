"""Invented workflows come to the same in every runner, with and without deaths in between."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from runtara.sdk.flow import Backend, CheckpointingRunner, InProcessRunner, Workflow, WorkflowClient
from tests.sdk.flow.crashing import Crash, CrashingBackend
from tests.sdk.flow.invented import invent
from tests.sdk.flow.pools import A_WHILE, Mortal, pool
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


@contextmanager
def mortals(backend: Backend, workflows: list[Workflow[Any, Any]], deaths: Iterable[int]) -> Iterator[list[Mortal]]:
    """Have workers work that die one after the other, each at a later one of its calls."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                Mortal(
                    CrashingBackend(backend, at, "before" if at % 2 else "after"),
                    workflows,
                    claim_ttl=0.5,
                    max_concurrent_tasks=1 + at % 3,
                )
            )
            for at in deaths
        ]


def in_pools(backend: Backend, instance_id: str, seeds: range, deaths: Iterable[int]) -> int:
    """Have workflows run by workers of which many die; return how many have."""
    invented = [(f"{instance_id}-{seed}", *invent(seed)) for seed in seeds]
    workflows, client = [workflow for _, workflow, _, _ in invented], WorkflowClient(backend)
    with mortals(backend, workflows, deaths) as workers, pool(backend, workflows, workers=2, slots=2):
        for name, workflow, value, _ in invented:
            client.submit(workflow, name, value)
        for name, _, _, expected in invented:
            assert client.wait(name, 2 * A_WHILE).output == expected, name
        return sum(worker.is_dead for worker in workers)


def test_workers_of_which_some_die_come_to_the_same(backend: Backend, instance_id: str) -> None:
    assert in_pools(backend, instance_id, range(5_000, 5_015), range(3, 20, 4)) >= 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_and_so_do_workers_that_die_by_the_dozen(every_backend: Backend, instance_id: str) -> None:
    died = 0
    for first in range(6_000, 7_000, 100):
        died += in_pools(every_backend, f"{instance_id}-{first}", range(first, first + 100), range(2, 90, 4))

    assert died >= 100
