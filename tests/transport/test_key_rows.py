"""What becomes of the table of keys; the ring that keeps it is tested in test_credentials.py."""

import re
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtara.errors import AlreadyExists, InvalidInput, InvalidState, NotFound
from runtara.messages import Role, TenantKey
from runtara.transport._key_rows import KeyRow, add, digest, is_good, key_id_of, new_key, revoke, rotate

NOW = 1_000_000


def table(*keys: TenantKey) -> dict[str, KeyRow]:
    return {key.key_id: KeyRow(key, f"of {key.key_id}") for key in keys}


def key(key_id: str, tenant_id: str = "acme", role: Role = "admin", expires_at: int | None = None) -> TenantKey:
    return TenantKey(key_id=key_id, tenant_id=tenant_id, role=role, created_at=NOW - 100, expires_at=expires_at)


def rotated(rows: dict[str, KeyRow], key_id: str, **more: Any) -> tuple[dict[str, KeyRow], TenantKey]:
    secret = new_key()
    after = rotate(rows, secret, key_id, **{"tenant_id": None, "grace_ms": 0, "now": NOW} | more)
    made = after[str(key_id_of(secret))]
    assert made.sha256 == digest(secret)
    return after, made.key


def test_new_keys_look_alike_and_are_none_twice() -> None:
    keys = {new_key() for _ in range(100)}

    assert len(keys) == len({key_id_of(key) for key in keys}) == 100
    assert all(re.fullmatch(r"rtk_[0-9a-f]{12}_[0-9a-f]{64}", key) for key in keys)


def test_a_key_ends_at_its_instant_and_not_before() -> None:
    assert [is_good(key("a", expires_at=NOW), at) for at in (NOW - 1, NOW)] == [True, False]
    assert is_good(key("a"), 2**60)


def test_a_key_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(InvalidInput, match="passed already"):
        add({}, new_key(), key("a", expires_at=NOW), NOW)


def test_a_key_that_is_there_is_there_once_and_never_with_other_rights() -> None:
    secret = new_key()
    known = key(str(key_id_of(secret)), role="read-only")
    rows = add({}, secret, known, NOW)

    again = add(rows, secret, known, NOW + 1)

    assert again == rows
    for other in (key(known.key_id, role="admin"), key(known.key_id, "rival", "read-only")):
        with pytest.raises(AlreadyExists):
            add(rows, secret, other, NOW)
    with pytest.raises(AlreadyExists):
        add(rows, new_key(), known, NOW)


@pytest.mark.parametrize("role", get_args(Role))
def test_a_rotated_key_has_the_rights_of_the_old_one_which_is_gone(role: Role) -> None:
    rows, made = rotated(table(key("old", role=role), key("other")), "old")

    assert (made.tenant_id, made.role, made.created_at, made.expires_at) == ("acme", role, NOW, None)
    assert sorted(rows) == sorted(["other", made.key_id])


def test_a_rotated_key_is_good_for_as_long_as_the_old_one_was() -> None:
    _, made = rotated(table(key("old", expires_at=NOW + 900)), "old")

    assert made.expires_at == NOW + 1_000


@pytest.mark.parametrize(("end", "expected"), [(None, NOW + 50), (NOW + 30, NOW + 30), (NOW + 90, NOW + 50)])
def test_within_its_grace_the_old_key_is_good_but_no_longer_than_it_was(end: int | None, expected: int) -> None:
    rows, _ = rotated(table(key("old", expires_at=end)), "old", grace_ms=50)

    assert rows["old"].key.expires_at == expected
    assert rows["old"].sha256 == "of old"


def test_a_rotation_that_is_asked_for_again_changes_nothing_more() -> None:
    secret = new_key()
    rows = rotate(table(key("old")), secret, "old", tenant_id="acme", grace_ms=0, now=NOW)

    assert rotate(rows, secret, "old", tenant_id="acme", grace_ms=0, now=NOW + 5) == rows


def test_of_other_tenants_there_are_no_keys() -> None:
    rows = table(key("theirs", "rival"))
    texts = set()
    for key_id in ("theirs", "nobodys"):
        for act in (
            lambda key_id=key_id: rotated(rows, key_id, tenant_id="acme"),
            lambda key_id=key_id: revoke(rows, key_id, tenant_id="acme", now=NOW, keep_admin=True),
        ):
            with pytest.raises(NotFound) as caught:
                act()
            texts.add(str(caught.value).replace(key_id, "ID"))

    assert len(texts) == 1


@pytest.mark.parametrize(
    ("others", "locked_out"),
    [
        ([], True),
        ([key("b", role="operator")], True),
        ([key("b", "rival")], True),
        ([key("b", expires_at=NOW + 1)], True),
        ([key("b")], False),
    ],
)
def test_the_last_admin_of_a_tenant_is_kept_if_that_is_asked_for(others: list[TenantKey], locked_out: bool) -> None:
    rows = table(key("a"), *others)

    if locked_out:
        with pytest.raises(InvalidState, match="last admin"):
            revoke(rows, "a", tenant_id="acme", now=NOW, keep_admin=True)
    else:
        assert "a" not in revoke(rows, "a", tenant_id="acme", now=NOW, keep_admin=True)
    assert "a" not in revoke(rows, "a", tenant_id=None, now=NOW, keep_admin=False)


KEYS = st.builds(
    key,
    st.sampled_from("abcd"),
    st.sampled_from(["acme", "rival"]),
    st.sampled_from(get_args(Role)),
    st.none() | st.integers(NOW - 5, NOW + 5),
)


@given(st.lists(KEYS, max_size=6), st.sampled_from("abcd"), st.sampled_from(["acme", "rival"]))
def test_whatever_is_revoked_through_a_door_leaves_an_admin_who_was_there(
    keys: list[TenantKey], key_id: str, tenant_id: str
) -> None:
    rows = table(*keys)

    def admins(of: dict[str, KeyRow]) -> list[TenantKey]:
        found = (row.key for row in of.values())
        return [one for one in found if (one.tenant_id, one.role) == (tenant_id, "admin") and is_good(one, NOW)]

    try:
        after = revoke(rows, key_id, tenant_id=tenant_id, now=NOW, keep_admin=True)
    except (NotFound, InvalidState):
        return

    assert set(rows) - set(after) == {key_id}
    assert rows[key_id].key.tenant_id == tenant_id
    assert bool(admins(after)) == bool(admins(rows))
