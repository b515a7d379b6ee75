"""Rows on their way."""

from itertools import islice, repeat

from hypothesis import given
from hypothesis import strategies as st

from runtara.store import _batches
from runtara.store._batches import BYTES_ENOUGH, ROWS_MAX, Sums, batches_of
from runtara.store._tables import TABLES, Row

TABLE = next(table for table in TABLES if table.name == "inputs")
ROWS = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.binary()), max_size=20)


def test_a_batch_has_no_more_rows_than_it_may() -> None:
    sizes = [len(batch.rows) for batch in batches_of(TABLE, [(number, b"") for number in range(2 * ROWS_MAX + 1)])]

    assert sizes == [ROWS_MAX, ROWS_MAX, 1]


def test_a_batch_ends_with_the_row_that_makes_it_large_enough() -> None:
    rows: list[Row] = [(1, b"x"), (2, bytes(BYTES_ENOUGH)), (3, bytes(10 * BYTES_ENOUGH)), (4, b"")]

    assert [batch.rows for batch in batches_of(TABLE, rows)] == [rows[:2], rows[2:3], rows[3:]]


def test_only_one_batch_is_taken_from_a_table_that_never_ends() -> None:
    (first,) = islice(batches_of(TABLE, repeat((1, b"x"))), 1)

    assert len(first.rows) == ROWS_MAX
    assert first.size == sum(map(len, first.encoded))


@given(rows=ROWS, at_once=st.integers(1, 5))
def test_a_sum_does_not_depend_on_how_rows_were_cut(rows: list[Row], at_once: int) -> None:
    one, other = Sums(), Sums()
    for batch in batches_of(TABLE, rows):
        one.add(batch)
    for start in range(0, len(rows), at_once):
        for batch in _batches.batches_of(TABLE, rows[start : start + at_once]):
            other.add(batch)

    assert one.result() == other.result()


@given(rows=ROWS, others=ROWS)
def test_other_rows_have_another_sum(rows: list[Row], others: list[Row]) -> None:
    sums = []
    for some in rows, others:
        sums.append(Sums())
        for batch in batches_of(TABLE, some):
            sums[-1].add(batch)

    assert (sums[0].result() == sums[1].result()) == (rows == others)
