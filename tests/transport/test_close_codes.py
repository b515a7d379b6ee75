from runtara.transport.close_codes import CLOSE_CODES


def test_every_code_has_a_meaning_and_no_number_is_left_out() -> None:
    assert sorted(CLOSE_CODES) == list(range(len(CLOSE_CODES)))
    assert all(CLOSE_CODES.values())
