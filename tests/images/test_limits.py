"""An archive has its limits, and an account of what was used of them."""

import pytest

from runtara.errors import TooLarge
from runtara.images._limits import Account, ExtractLimits


def test_what_is_within_the_limits_is_counted() -> None:
    account = Account(ExtractLimits(members=2, total_bytes=10))

    account.add(4)
    account.add(6)

    assert (account.members, account.bytes) == (2, 10)


@pytest.mark.parametrize(("sizes", "what"), [([1, 1, 1], "2 members"), ([11], "10 bytes")], ids=["members", "bytes"])
def test_what_passes_a_limit_is_refused_with_the_limit(sizes: list[int], what: str) -> None:
    account = Account(ExtractLimits(members=2, total_bytes=10))

    with pytest.raises(TooLarge, match=f"more than {what}"):
        _ = [account.add(size) for size in sizes]  # type: ignore[func-returns-value]  # for what it does
