"""Rows become records only if they fit."""

import pytest
from msgspec.structs import astuple

from runtara.records import Checkpoint, Instance
from runtara.store import LoadError
from runtara.store._records import decode_row
from tests.store.samples import FULL_INSTANCE, checkpoint


def test_a_row_in_the_order_of_the_fields_becomes_the_record() -> None:
    row = [getattr(value, "value", value) for value in astuple(FULL_INSTANCE)]

    assert decode_row(Instance, row) == FULL_INSTANCE


def test_bytes_come_back_as_bytes() -> None:
    assert decode_row(Checkpoint, astuple(checkpoint("a", b"\0\xff"))) == checkpoint("a", b"\0\xff")


@pytest.mark.parametrize(
    "row", [(1, b"", 1, 1, None, None), ("a", None, 1, 1, None, None), ("a", b"", "1", 1, None, None)]
)
def test_a_value_of_another_type_is_refused(row: tuple[object, ...]) -> None:
    with pytest.raises(LoadError, match="a stored checkpoint cannot be understood"):
        decode_row(Checkpoint, row)
