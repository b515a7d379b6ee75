from random import Random

import pytest

from runtara.actors import Backoff, Restart, child, supervisor
from runtara.errors import InvalidInput
from tests.actors.troupe import Worker


def test_a_delay_doubles_with_each_failure_up_to_its_cap() -> None:
    backoff = Backoff(first=1, most=5, jitter=0)

    delays = [backoff.delay(failures, Random(1).random) for failures in range(1, 6)]

    assert delays == [1, 2, 4, 5, 5]


def test_delays_are_spread_around_their_middle() -> None:
    backoff, random = Backoff(first=1, most=1, jitter=0.2), Random(1).random

    delays = [backoff.delay(1, random) for _ in range(1000)]

    assert 0.8 <= min(delays) < 0.82
    assert 1.18 < max(delays) <= 1.2


def test_the_same_seed_gives_the_same_delays() -> None:
    first, second = Random(7).random, Random(7).random

    assert [Backoff().delay(n, first) for n in range(1, 9)] == [Backoff().delay(n, second) for n in range(1, 9)]


def test_any_number_of_failures_has_a_delay() -> None:
    assert Backoff(jitter=0).delay(10_000, Random().random) == Backoff().most


def test_a_child_is_written_as_it_is_called() -> None:
    spec = child("it", Worker, [1], restart=Restart.TRANSIENT)

    assert (spec.name, spec.factory, spec.args, spec.restart) == ("it", Worker, ([1],), Restart.TRANSIENT)


def test_a_tree_is_written_as_it_stands() -> None:
    tree = supervisor("root", child("a", Worker), supervisor("group", child("b", Worker)))

    assert [spec.name for spec in tree.children] == ["a", "group"]


@pytest.mark.parametrize("name", ["", "a/b", "/"])
def test_a_name_is_one_part_of_a_path(name: str) -> None:
    with pytest.raises(InvalidInput):
        child(name, Worker)
    with pytest.raises(InvalidInput):
        supervisor(name)


def test_names_in_a_group_are_different() -> None:
    with pytest.raises(InvalidInput, match="more than one child called a"):
        supervisor("root", child("a", Worker), child("b", Worker), child("a", Worker))
