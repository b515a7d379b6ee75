from msgspec.structs import replace

from runtara.actors._instance_memory import is_remembered, presumed, recalled
from runtara.actors._instance_state import InstanceState
from runtara.messages import GetStatus, RegisterInstance, StartInstance, WakeInstance
from tests.actors.world import KEY, NOW, World, claimed, unmanaged

START = StartInstance(program="ship", input=b"input")


def waiting() -> InstanceState:
    world = World()
    world.ask(START)
    return world.state


def test_what_is_to_be_woken_is_remembered_and_nothing_else() -> None:
    assert is_remembered(waiting())
    assert not is_remembered(claimed().state)
    assert not is_remembered(unmanaged().state)
    assert not is_remembered(InstanceState.from_snapshot(KEY, None))
    assert not is_remembered(replace(waiting(), unread=True))


def test_a_start_is_presumed_to_be_of_a_new_instance_unless_it_replaces_one() -> None:
    assert presumed(KEY, START, None) == InstanceState.from_snapshot(KEY, None)
    assert presumed(KEY, replace(START, replace=True), None) is None
    for command in (GetStatus(), RegisterInstance(attempt_id="a")):
        assert presumed(KEY, command, waiting()) is None


def test_a_wake_up_finds_what_is_remembered_only_of_the_very_row_that_was_claimed() -> None:
    state = waiting()

    assert presumed(KEY, WakeInstance(due_at=NOW, found=(1, NOW)), state) is state
    for found in (None, (2, NOW), (1, NOW + 1)):  # not claimed, changed since, or another instance of that id
        assert presumed(KEY, WakeInstance(due_at=NOW, found=found), state) is None
    assert presumed(KEY, WakeInstance(due_at=NOW, found=(1, NOW)), None) is None


def test_an_input_is_recalled_only_of_the_very_same_state() -> None:
    state = waiting()
    loaded = replace(state, input=None)
    assert state.instance is not None
    changed = replace(loaded, instance=replace(state.instance, version=2))

    assert recalled(loaded, state).input == b"input"
    assert recalled(changed, state).input is None
    assert recalled(loaded, loaded).input is None
    assert recalled(loaded, None).input is None
