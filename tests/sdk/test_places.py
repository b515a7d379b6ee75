from functools import partial

import pytest

from runtara.sdk._places import Places


def take(places: Places, name: str, *, taken: bool = True) -> str:
    with places.hold(name) as place:
        place.is_taken = taken
    return place.id


def test_each_signal_of_a_name_is_taken_at_the_next_place() -> None:
    places = Places()

    assert [take(places, name) for name in ("go", "go", "stop", "go")] == [
        "signal::go::0",
        "signal::go::1",
        "signal::stop::0",
        "signal::go::2",
    ]


def test_a_place_where_nothing_was_found_comes_next_again() -> None:
    places = Places()

    assert [take(places, "go", taken=taken) for taken in (False, False, True, False)] == [
        "signal::go::0",
        "signal::go::0",
        "signal::go::0",
        "signal::go::1",
    ]


def test_a_place_is_given_back_where_the_wait_was_interrupted() -> None:
    places = Places()

    with pytest.raises(KeyboardInterrupt), places.hold("go"):
        raise KeyboardInterrupt

    assert take(places, "go") == "signal::go::0"


def test_who_waits_at_the_same_time_has_places_of_their_own() -> None:
    places = Places()

    with places.hold("go") as first, places.hold("go") as second:
        second.is_taken = True

    assert (first.id, second.id) == ("signal::go::0", "signal::go::1")
    assert [take(places, "go"), take(places, "go")] == ["signal::go::0", "signal::go::2"]


def test_the_places_of_one_part_of_the_program_are_not_those_of_another() -> None:
    assert [take(Places(partial(str, part)), "go") for part in ("", "a", "b")] == [
        "signal::go::0",
        "signal::go::a::0",
        "signal::go::b::0",
    ]
