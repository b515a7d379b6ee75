import pytest

from runtara.actors.runners._ray_logs import INSTANCES, LogTails
from runtara.ids import InstanceKey

KEY = InstanceKey("acme", "order-7")


@pytest.mark.parametrize(
    ("offset", "limit", "found"),
    [
        (0, 2, (b"45", 4)),
        (6, 100, (b"6789", 6)),
        (-3, 2, (b"78", 7)),
        (-100, 100, (b"456789", 4)),
        (10, 5, (b"", 10)),
        (12, 5, (b"", 12)),
    ],
)
def test_what_is_kept_is_read_by_the_numbers_that_its_bytes_had(
    offset: int, limit: int, found: tuple[bytes, int]
) -> None:
    tails = LogTails()
    tails.keep(KEY, {"stdout": (4, b"456789")})

    assert tails.read(KEY, "stdout", offset, limit) == found
    assert tails.read(KEY, "stderr", -1, 10) == (b"", 0)


def test_the_instances_that_ended_last_are_kept() -> None:
    tails = LogTails()
    keys = [InstanceKey("acme", str(number)) for number in range(INSTANCES + 1)]
    for key in [*keys[:-1], keys[0], keys[-1]]:
        tails.keep(key, {"stdout": (0, b"x")})

    assert [key for key in keys if not tails.of(key)] == [keys[1]]
