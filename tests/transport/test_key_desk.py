"""What an admin may do with the keys of its tenant, over a real ring and a real mint."""

from pathlib import Path
from typing import Any

import pytest

from runtara.clock import ManualClock
from runtara.errors import AlreadyExists, InvalidState, NotFound, Unauthenticated
from runtara.messages import AddKey, KeyMade, KeyRevoked, ListKeys, RevokeKey, RotateKey
from runtara.store._memory import MemoryStore
from runtara.transport.credentials import TokenMint
from runtara.transport.key_desk import KeyDesk
from runtara.transport.shared_keys import SharedKeys


class Office:
    """A desk, and what lies behind it."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.keys = SharedKeys(folder, MemoryStore(), self.clock)
        self.desk = KeyDesk(self.keys, TokenMint(folder / "secret", self.clock, 1_000))

    def ask(self, command: Any, tenant_id: str = "acme") -> Any:
        return self.desk.answer(tenant_id, command)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_a_key_that_is_made_is_good_and_has_the_role_and_the_end_that_were_asked_for(office: Office) -> None:
    ends = office.clock.now_ms() + 5

    made: KeyMade = office.ask(AddKey(role="read-only", expires_at=ends))

    assert office.keys.ring.check(made.secret) == made.key
    assert (made.key.tenant_id, made.key.role, made.key.expires_at) == ("acme", "read-only", ends)
    office.clock.jump_ms(5)
    with pytest.raises(Unauthenticated):
        office.keys.ring.check(made.secret)


def test_a_key_that_is_asked_for_again_is_the_same_one(office: Office) -> None:
    command = AddKey(role="operator", request_id="r")

    answers = [office.ask(command) for _ in range(3)]

    assert answers[0] == answers[1] == answers[2]
    assert len(office.keys.ring.list()) == 1


def test_requests_of_two_tenants_never_make_one_key(office: Office) -> None:
    command = AddKey(role="operator", request_id="r")

    ours, theirs = office.ask(command), office.ask(command, "rival")

    assert ours.secret != theirs.secret
    assert ours.key.key_id != theirs.key.key_id


def test_a_request_that_has_made_another_key_is_refused(office: Office) -> None:
    office.ask(AddKey(role="operator", request_id="r"))

    with pytest.raises(AlreadyExists):
        office.ask(AddKey(role="admin", request_id="r"))


def test_no_key_follows_from_what_can_be_seen_of_it(office: Office, tmp_path: Path) -> None:
    elsewhere = Office(tmp_path / "elsewhere")

    ours, theirs = (one.ask(AddKey(role="admin", request_id="r")) for one in (office, elsewhere))

    assert ours.secret != theirs.secret  # it takes the secret of the server


def test_a_tenant_sees_its_own_keys_and_no_others(office: Office) -> None:
    made = [office.ask(AddKey(role="admin"), tenant) for tenant in ("acme", "rival", "acme")]

    assert office.ask(ListKeys()).keys == (made[0].key, made[2].key)
    assert all(answer.secret not in repr(office.ask(ListKeys())) for answer in made)


def test_a_rotation_replaces_the_key_and_is_done_once(office: Office) -> None:
    old = office.ask(AddKey(role="image-push"))
    command = RotateKey(key_id=old.key.key_id)

    answers = [office.ask(command) for _ in range(2)]

    assert answers[0] == answers[1]
    assert office.ask(ListKeys()).keys == (answers[0].key,)
    assert answers[0].key.role == "image-push"
    with pytest.raises(Unauthenticated):
        office.keys.ring.check(old.secret)


def test_within_its_grace_a_rotated_key_is_still_good(office: Office) -> None:
    old = office.ask(AddKey(role="admin"))

    office.ask(RotateKey(key_id=old.key.key_id, grace_ms=1_000))
    office.clock.jump_ms(999)
    before = office.keys.ring.check(old.secret)
    office.clock.jump_ms(1)

    assert before.key_id == old.key.key_id
    with pytest.raises(Unauthenticated):
        office.keys.ring.check(old.secret)


def test_a_key_is_revoked_once_and_that_is_said(office: Office) -> None:
    office.ask(AddKey(role="admin"))
    made = office.ask(AddKey(role="admin"))
    command = RevokeKey(key_id=made.key.key_id)

    answers = [office.ask(command) for _ in range(2)]

    assert answers == [KeyRevoked(key_id=made.key.key_id, revoked=revoked) for revoked in (True, False)]
    with pytest.raises(Unauthenticated):
        office.keys.ring.check(made.secret)


def test_the_last_admin_cannot_lock_itself_out(office: Office) -> None:
    made = office.ask(AddKey(role="admin"))
    office.ask(AddKey(role="operator"))

    with pytest.raises(InvalidState, match="last admin"):
        office.ask(RevokeKey(key_id=made.key.key_id))
    assert office.keys.ring.check(made.secret) == made.key


def test_anothers_key_looks_like_none(office: Office) -> None:
    theirs = office.ask(AddKey(role="operator"), "rival")

    revoked = [office.ask(RevokeKey(key_id=key_id)) for key_id in (theirs.key.key_id, "nobodys")]
    texts = []
    for key_id in (theirs.key.key_id, "nobodys"):
        with pytest.raises(NotFound) as caught:
            office.ask(RotateKey(key_id=key_id))
        texts.append(str(caught.value).replace(key_id, "ID"))

    assert [answer.revoked for answer in revoked] == [False, False]
    assert texts[0] == texts[1]
    assert office.keys.ring.check(theirs.secret) == theirs.key


def test_what_makes_a_key_is_not_shown_with_the_answer(office: Office) -> None:
    made = office.ask(AddKey(role="admin"))

    assert made.secret not in f"{made!r} {made} {[made]}"
    assert made.key.key_id in repr(made)
