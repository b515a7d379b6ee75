from runtara.transport.http._places import Places


def test_there_are_so_many_places_in_all() -> None:
    places = Places(total=2, per_party=10)

    assert [places.take(None) for _ in range(3)] == [True, True, False]
    places.leave(None)
    assert places.take("a")
    assert places.taken == 2


def test_there_are_so_many_places_for_each_party() -> None:
    places = Places(total=10, per_party=1)

    assert [places.take(party) for party in ("a", "a", "b")] == [True, False, True]
    places.leave("a")
    assert places.take("a")


def test_of_whom_none_are_counted_there_may_be_as_many_as_there_are_places() -> None:
    places = Places(total=3, per_party=1)

    assert [places.take(None) for _ in range(4)] == [True, True, True, False]


def test_nobody_is_remembered_who_has_left() -> None:
    places = Places(total=10, per_party=1)
    for number in range(100):
        places.take(str(number))
        places.leave(str(number))

    assert places._crowds == {}


def test_who_has_rested_for_longest_makes_room() -> None:
    places, gone = Places(total=3, per_party=10), []
    for name in ("a", "b", "c"):
        places.take(None)
        places.rests(name, lambda name=name: gone.append(name))  # type: ignore[misc]  # each its own name
    places.works("a")

    assert [places.take(None) for _ in range(3)] == [True, True, False]
    assert gone == ["b", "c"]
    assert places.evicted == 2


def test_who_rests_again_is_the_last_to_go() -> None:
    places, gone = Places(total=2, per_party=10), []
    for name in ("a", "b", "a"):
        places.works(name)
        places.rests(name, lambda name=name: gone.append(name))  # type: ignore[misc]  # each its own name
    places.taken = 2

    assert places.take(None)
    assert gone == ["b"]


def test_nobody_makes_room_for_a_party_that_has_its_share() -> None:
    places, gone = Places(total=1, per_party=1), []
    places.take("a")
    places.rests("x", lambda: gone.append("x"))

    assert not places.take("a")
    assert gone == []
