import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtara.actors._resources import RESOURCES, join_resources, split_resources
from runtara.errors import InvalidInput, TooLarge
from runtara.messages import StartInstance
from tests.actors.operations import host
from tests.actors.stage import open_stage

AMOUNTS = st.floats(min_value=1e-6, max_value=1e18)


@given(env=st.dictionaries(st.sampled_from(["A", "B"]), st.text()), needs=st.dictionaries(st.text(), AMOUNTS))
def test_what_is_joined_comes_apart_again(env: dict[str, str], needs: dict[str, float]) -> None:
    assert split_resources(join_resources(env, needs)) == (env, needs)


def test_who_needs_nothing_has_the_environment_that_was_given() -> None:
    assert join_resources({"A": "1"}, {}) == {"A": "1"}


def test_the_order_in_which_needs_are_named_makes_no_difference() -> None:
    assert join_resources({}, {"cpu": 2, "memory": 1e9}) == join_resources({}, {"memory": 1e9, "cpu": 2.0})


@pytest.mark.parametrize(
    "resources", [{"cpu": 0}, {"cpu": -1}, {"cpu": True}, {"cpu": float("nan")}, {"": 1}, {"a b": 1}, {"cpu": "2"}, [1]]
)
async def test_needs_that_cannot_be_are_refused(resources: object) -> None:
    async with open_stage() as stage:
        await host(stage)
        with pytest.raises(InvalidInput):
            await stage.ask("new", StartInstance(program="p", resources=resources))  # type: ignore[arg-type]  # on purpose


async def test_there_are_only_so_many_needs() -> None:
    async with open_stage() as stage:
        await host(stage)
        with pytest.raises(TooLarge):
            await stage.ask("new", StartInstance(program="p", resources={f"r{n}": 1.0 for n in range(17)}))


def test_the_name_is_one_that_no_user_may_give() -> None:
    assert RESOURCES.startswith("RUNTARA_")
