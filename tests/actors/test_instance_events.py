import typing

import pytest

from runtara.actors import _instance_events as events
from runtara.actors._instance_save import WRITE
from runtara.actors._instance_state import EVOLVE


def members(union: object) -> set[type]:
    return {part for member in typing.get_args(union) for part in (members(member) or {member})}


def test_every_event_changes_the_state_and_leaves_its_rows() -> None:
    assert set(EVOLVE) == set(WRITE) == members(events.DomainEvent)


def test_every_transition_names_its_trigger() -> None:
    transitions = {event for event in members(events.DomainEvent) if hasattr(event, "trigger")}

    assert transitions == members(events.Transition)


@pytest.mark.parametrize("kind", sorted(members(events.DomainEvent) | members(events.Effect), key=str))
def test_events_and_effects_are_frozen(kind: type) -> None:
    assert kind.__struct_config__.frozen  # type: ignore[attr-defined]  # every one is a msgspec struct
