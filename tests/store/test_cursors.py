"""Page cursors come back as what they were, and nothing else passes for one."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtara.errors import InvalidInput
from runtara.store._cursors import check_limit, cursor_of_id, cursor_of_seq, id_of_cursor, page_of, seq_of_cursor


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_an_id_comes_back(last: str) -> None:
    assert id_of_cursor(cursor_of_id(last)) == last


@given(st.integers(0, 2**63 - 1))
def test_a_row_comes_back(last: int) -> None:
    assert seq_of_cursor(cursor_of_seq(last)) == last


def test_the_first_page_begins_before_everything() -> None:
    assert (id_of_cursor(None), seq_of_cursor(None)) == ("", 0)


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_whatever_is_not_a_cursor_is_refused(text: str) -> None:
    for decode in (id_of_cursor, seq_of_cursor):
        try:
            found = decode(text)
        except InvalidInput:
            continue
        assert text in (cursor_of_id(str(found)), f"{cursor_of_seq(int(found))}")


@pytest.mark.parametrize("number", ["", "-1", "1.0", " 1", "١", str(2**63), "9" * 400])
def test_a_row_is_a_number_that_a_store_can_have(number: str) -> None:
    forged = base64.urlsafe_b64encode(f"seq:{number}".encode()).decode()

    with pytest.raises(InvalidInput):
        seq_of_cursor(forged)


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(InvalidInput):
        id_of_cursor(cursor_of_seq(1))
    with pytest.raises(InvalidInput):
        seq_of_cursor(cursor_of_id("a"))


def test_a_page_knows_whether_another_one_follows() -> None:
    assert page_of("abc", 2) == (("a", "b"), True)
    assert page_of("ab", 2) == (("a", "b"), False)
    assert page_of("", 2) == ((), False)


def test_a_page_has_at_least_one_row() -> None:
    assert check_limit(1) == 1
    with pytest.raises(InvalidInput):
        check_limit(0)
