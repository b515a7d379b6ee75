from runtara.actors._quarantine import Quarantine


def test_a_key_rests_after_so_many_strikes_in_a_row_and_not_before() -> None:
    quarantine: Quarantine[str] = Quarantine(strikes=2, lasts=10)

    quarantine.strike("a", 0)
    before = quarantine.rests("a", 0)
    quarantine.strike("a", 1)

    assert not before
    assert quarantine.rests("a", 1)
    assert not quarantine.rests("b", 1)
    assert len(quarantine) == 1


def test_a_rest_ends_and_the_count_begins_anew() -> None:
    quarantine: Quarantine[str] = Quarantine(strikes=2, lasts=10)
    quarantine.strike("a", 0)
    quarantine.strike("a", 0)

    still, over = quarantine.rests("a", 9.9), quarantine.rests("a", 10)
    quarantine.strike("a", 11)

    assert (still, over) == (True, False)
    assert not quarantine.rests("a", 11)


def test_a_load_that_succeeds_forgives_all_strikes() -> None:
    quarantine: Quarantine[str] = Quarantine(strikes=2, lasts=10)
    quarantine.strike("a", 0)

    quarantine.forgive("a")
    quarantine.strike("a", 1)

    assert not quarantine.rests("a", 1)


def test_what_is_over_is_forgotten() -> None:
    quarantine: Quarantine[str] = Quarantine(strikes=1, lasts=10)
    quarantine.strike("old", 0)
    quarantine.strike("young", 5)

    quarantine.forget(10)

    assert len(quarantine) == 1
    assert quarantine.rests("young", 10)
