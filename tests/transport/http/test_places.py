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
