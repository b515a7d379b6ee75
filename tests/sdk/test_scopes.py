import pytest

from runtara.errors import DeadlineExceeded
from runtara.ids import CHECKPOINT_ID_MAX_BYTES
from runtara.sdk._scopes import PROGRAM, Scope

ME = object()


def test_counted_steps_of_one_name_are_told_apart_and_others_are_one() -> None:
    scope = Scope(ME)

    assert [scope.step("a()", counted=True) for _ in range(3)] == [
        f"{PROGRAM}a()",
        f"{PROGRAM}a()#2",
        f"{PROGRAM}a()#3",
    ]
    assert [scope.step("b(k)", counted=False) for _ in range(2)] == [f"{PROGRAM}b(k)"] * 2


def test_what_a_step_calls_is_named_after_it_and_counted_anew_in_every_try() -> None:
    scope = Scope(ME)
    step = scope.step("a()", counted=True)

    tries = [scope.inside(step) for _ in range(2)]

    assert [inner.step("b()", counted=True) for inner in tries] == [f"{step}/b()"] * 2
    assert [inner.is_program for inner in (scope, *tries)] == [True, False, False]


def test_a_name_that_is_too_long_is_hashed_and_stays_the_same() -> None:
    names = {Scope(ME).step("é" * CHECKPOINT_ID_MAX_BYTES, counted=True) for _ in range(2)}

    assert len(names) == 1
    assert len(names.pop().encode()) <= CHECKPOINT_ID_MAX_BYTES


def test_signals_are_taken_at_places_of_the_scope() -> None:
    program = Scope(ME)
    inner, other = program.inside("a()"), program.inside("b()")

    ids = []
    for scope in (program, inner, other, program.inside("a()")):
        with scope.places.hold("go") as place:
            ids.append(place.id)

    assert ids[0] == "signal::go::0"
    assert len(set(ids)) == 3
    assert ids[1] == ids[3]


def test_in_a_scope_that_was_abandoned_and_in_all_inside_it_nothing_may_be_done_any_more() -> None:
    program = Scope(ME)
    outer = program.inside("a()")
    inner = outer.inside("b()")

    outer.is_abandoned = True

    program.check()
    for scope in (outer, inner):
        with pytest.raises(DeadlineExceeded, match=r"the time for a\(\) is over"):
            scope.check()
