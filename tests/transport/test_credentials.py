import hashlib
import stat
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer

from runtara.clock import ManualClock
from runtara.errors import Busy, ConfigError, InvalidInput, NotFound, Unauthenticated
from runtara.ids import InstanceKey, new_secret
from runtara.transport import _key_rows, credentials
from runtara.transport.credentials import KeyRing, TokenMint
from tests.house.source import ROOT

ONE = InstanceKey("acme", "one")
LIFETIME_MS = 1_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def mint(tmp_path: Path, clock: ManualClock) -> TokenMint:
    return TokenMint(tmp_path / "secret", clock, LIFETIME_MS)


# Keys -----------------------------------------------------------------------------------------------------------------


def test_a_key_opens_the_tenant_that_it_was_made_for(path: Path) -> None:
    ring = KeyRing(path)

    keys = {tenant: ring.add(tenant) for tenant in ("acme", "rival", "acme2")}

    assert {tenant: ring.check(key).tenant_id for tenant, key in keys.items()} == {name: name for name in keys}


def test_the_file_holds_no_key_and_is_its_owners_only(path: Path) -> None:
    key = KeyRing(path).add("acme")

    content = path.read_text()
    assert key not in content
    assert key.rpartition("_")[2] not in content
    assert hashlib.sha256(key.encode()).hexdigest() in content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_keys_are_listed_without_their_secrets_the_oldest_first(path: Path, clock: ManualClock) -> None:
    ring = KeyRing(path, clock)
    keys = []
    for tenant in ("b", "a", "b"):
        keys.append(ring.add(tenant))
        clock.jump_ms(1)

    listed = ring.list()

    assert [row.tenant_id for row in listed] == ["b", "a", "b"]
    assert [row.created_at for row in listed] == sorted(row.created_at for row in listed)
    assert all(row.key_id in key and key not in repr(listed) for row, key in zip(listed, keys, strict=True))
    assert all(key.rpartition("_")[2] not in f"{ring!r} {listed!r} {vars(ring)!r}" for key in keys)


def test_a_revoked_key_is_worthless_at_once_to_everybody_who_has_the_file_open(path: Path) -> None:
    ring, other = KeyRing(path), KeyRing(path)
    revoked, kept = ring.add("acme"), ring.add("acme")
    known = other.check(revoked)
    version = other.version()

    ring.revoke(known.key_id)

    assert other.version() != version
    assert other.find(known) is None
    with pytest.raises(Unauthenticated):
        other.check(revoked)
    assert other.check(kept).tenant_id == "acme"


def test_a_key_that_is_added_is_good_at_once_to_everybody_who_has_the_file_open(path: Path) -> None:
    other = KeyRing(path)
    assert other.list() == ()

    key = KeyRing(path).add("acme")

    assert other.check(key).tenant_id == "acme"


def test_a_file_that_was_not_changed_is_not_read_again(path: Path) -> None:
    ring = KeyRing(path)
    ring.add("acme")
    version = ring.version()

    for _ in range(3):
        ring.list()

    assert ring.version() == version


def test_a_file_that_is_taken_away_takes_all_keys_with_it(path: Path) -> None:
    ring = KeyRing(path)
    key = ring.add("acme")
    path.unlink()

    with pytest.raises(Unauthenticated):
        ring.check(key)


def test_what_is_not_a_key_is_refused_with_one_text(path: Path) -> None:
    ring = KeyRing(path)
    key = ring.add("acme")
    key_id = ring.list()[0].key_id
    wrong = [
        "",
        "x",
        "rtk_",
        key[:-1],
        key + "0",
        key.upper(),
        f"rtk_{key_id}_{new_secret()}",
        f"rtk_{'0' * 12}_{new_secret()}",
    ]

    texts = set()
    for bad in [*wrong, key + "\n", "\ud800", "é" * 81, key.replace("rtk_", "rti_")]:
        with pytest.raises(Unauthenticated) as caught:
            ring.check(bad)
        texts.add(str(caught.value))

    assert len(texts) == 1
    assert key_id not in texts.pop()


def test_revoking_what_is_not_there_says_so(path: Path) -> None:
    with pytest.raises(NotFound, match="list the keys"):
        KeyRing(path).revoke("0" * 12)


@pytest.mark.parametrize("tenant", ["", "a b", "../a", "x" * 129])
def test_a_key_is_for_a_tenant_with_a_name(path: Path, tenant: str) -> None:
    with pytest.raises(InvalidInput):
        KeyRing(path).add(tenant)
    assert not path.exists()


def test_keys_have_a_bound(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_key_rows, "KEYS_MAX", 2)
    ring = KeyRing(path)
    for _ in range(2):
        ring.add("acme")

    with pytest.raises(Busy, match="revoke some"):
        ring.add("acme")


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"keys": 1}', '{"keys": [{"key": {}}]}', '{"nonsense": 1}', "\0\0"]
)
def test_a_damaged_file_is_refused_and_left_as_it_is(path: Path, content: str) -> None:
    path.write_text(content)
    path.chmod(0o600)
    ring = KeyRing(path)

    for use in (ring.list, ring.version, lambda: ring.add("acme"), lambda: ring.check("rtk_x")):
        with pytest.raises(ConfigError, match=r"keys\.json"):
            use()
    assert path.read_text() == content


def test_a_file_that_others_may_read_is_refused(path: Path) -> None:
    ring = KeyRing(path)
    key = ring.add("acme")
    path.chmod(0o640)
    path.touch()

    with pytest.raises(ConfigError, match="chmod 600"):
        KeyRing(path).check(key)


ADDS = """
import sys
from pathlib import Path
from runtara.transport.credentials import KeyRing
for _ in range(5):
    KeyRing(Path(sys.argv[1])).add("acme")
"""


def test_processes_that_add_keys_at_once_lose_none(path: Path) -> None:
    command = [sys.executable, "-c", ADDS, str(path)]
    adding = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]

    assert [process.wait(60) for process in adding] == [0, 0, 0]
    assert len(KeyRing(path).list()) == 15


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> TokenMint:
    """A mint for all tries of a property; its clock stands still."""
    return TokenMint(tmp_path_factory.mktemp("mint") / "secret", ManualClock(0), LIFETIME_MS)


# Tokens ---------------------------------------------------------------------------------------------------------------


@given(st.text(), st.text(), st.integers(0, 2**63))
def test_a_token_says_what_it_was_minted_for(lasting: TokenMint, tenant: str, instance: str, epoch: int) -> None:
    key = InstanceKey(tenant[:128], instance[:128])
    try:
        token = lasting.mint(key, epoch)
    except UnicodeEncodeError:  # ids are checked before they come here
        return
    if len(token) <= 2_048:
        assert lasting.check(token) == (key, epoch, LIFETIME_MS)


def test_a_token_of_the_longest_ids_is_accepted(mint: TokenMint) -> None:
    key = InstanceKey("a" * 128, "b" * 128)

    assert mint.check(mint.mint(key, 2**40)).key == key


def test_a_token_ends_at_its_time_and_not_before(mint: TokenMint, clock: ManualClock) -> None:
    token = mint.mint(ONE, 1)

    clock.jump_ms(LIFETIME_MS - 1)
    assert mint.check(token).epoch == 1
    clock.jump_ms(1)
    with pytest.raises(Unauthenticated):
        mint.check(token)


def test_a_token_outlives_the_process_that_minted_it(tmp_path: Path, clock: ManualClock) -> None:
    token = TokenMint(tmp_path / "secret", clock, LIFETIME_MS).mint(ONE, 3)

    assert TokenMint(tmp_path / "secret", clock, LIFETIME_MS).check(token).epoch == 3


def test_a_token_of_another_server_is_refused(tmp_path: Path, clock: ManualClock, mint: TokenMint) -> None:
    other = TokenMint(tmp_path / "other", clock, LIFETIME_MS)

    with pytest.raises(Unauthenticated):
        mint.check(other.mint(ONE, 1))


@given(st.data())
def test_a_token_that_was_changed_is_refused(lasting: TokenMint, data: st.DataObject) -> None:
    token = lasting.mint(ONE, 1)
    place = data.draw(st.integers(0, len(token) - 2))  # the last character holds bits that mean nothing
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126).filter(lambda char: char != token[place]))

    with pytest.raises(Unauthenticated):
        lasting.check(token[:place] + other + token[place + 1 :])


@given(st.text() | st.text().map(lambda text: f"rti_{text}") | st.binary().map(lambda text: f"rti_{text.hex()}.x"))
def test_garbage_is_no_token(lasting: TokenMint, token: str) -> None:
    with pytest.raises(Unauthenticated):
        lasting.check(token)


def test_a_long_token_is_not_even_looked_at(mint: TokenMint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mint, "_signer", None)

    with pytest.raises(Unauthenticated):
        mint.check("rti_" + "x" * 10**6)


def test_every_wrong_credential_gets_the_same_answer(mint: TokenMint, clock: ManualClock, path: Path) -> None:
    token = mint.mint(ONE, 1)
    clock.jump_ms(LIFETIME_MS)
    texts = set()
    for check, bad in [(mint.check, token), (mint.check, "rti_x"), (KeyRing(path).check, "rtk_x")]:
        with pytest.raises(Unauthenticated) as caught:
            check(bad)
        texts.add(str(caught.value))

    assert len(texts) == 1


def test_the_secret_is_made_once_for_its_owner_only_and_never_shown(tmp_path: Path, clock: ManualClock) -> None:
    mint = TokenMint(tmp_path / "secret", clock, LIFETIME_MS)
    secret = (tmp_path / "secret").read_text()

    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert secret not in f"{mint!r} {mint} {mint.mint(ONE, 1)} {vars(mint)!r}"


@pytest.mark.parametrize("content", [b"", b"short", b"g" * 64, b"0" * 63, b"0" * 65])
def test_a_damaged_secret_is_refused_and_left_as_it_is(tmp_path: Path, clock: ManualClock, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    (tmp_path / "secret").chmod(0o600)

    with pytest.raises(ConfigError, match="damaged") as caught:
        TokenMint(tmp_path / "secret", clock, LIFETIME_MS)

    assert (tmp_path / "secret").read_bytes() == content
    assert not content or content.decode() not in str(caught.value)


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "secret").write_text(new_secret())
    (tmp_path / "secret").chmod(0o644)

    with pytest.raises(ConfigError, match="chmod 600"):
        TokenMint(tmp_path / "secret", clock, LIFETIME_MS)


def test_a_secret_that_cannot_be_made_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="cannot be made"):
        TokenMint(tmp_path / "file" / "secret", clock, LIFETIME_MS)


def test_the_clock_is_ours_and_not_the_librarys(mint: TokenMint, clock: ManualClock, monkeypatch: Any) -> None:
    monkeypatch.setattr("time.time", lambda: 1 / 0)
    token = mint.mint(ONE, 1)

    assert mint.check(token).expires_at == clock.now_ms() + LIFETIME_MS


def test_what_was_signed_for_something_else_is_no_token(tmp_path: Path, mint: TokenMint) -> None:
    secret = (tmp_path / "secret").read_bytes()
    forged = URLSafeSerializer(secret, salt="another", signer_kwargs={"digest_method": hashlib.sha256})

    with pytest.raises(Unauthenticated):
        mint.check("rti_" + str(forged.dumps(["acme", "one", 1, 2**60])))


# Tokens of nodes ------------------------------------------------------------------------------------------------------


def test_a_node_is_known_by_its_token_until_the_token_ends(mint: TokenMint, clock: ManualClock) -> None:
    token = mint.mint_for_node("north")

    clock.jump_ms(LIFETIME_MS - 1)
    name = mint.check_node(token)
    clock.jump_ms(1)

    assert name == "north"
    with pytest.raises(Unauthenticated):
        mint.check_node(token)


def test_the_token_of_a_node_is_good_at_all_nodes_that_have_the_secret(tmp_path: Path, clock: ManualClock) -> None:
    first = TokenMint(tmp_path / "secret", clock, LIFETIME_MS)
    second = TokenMint(tmp_path / "secret", clock, LIFETIME_MS)
    stranger = TokenMint(tmp_path / "other", clock, LIFETIME_MS)

    assert second.check_node(first.mint_for_node("north")) == "north"
    with pytest.raises(Unauthenticated):
        second.check_node(stranger.mint_for_node("north"))


def test_the_token_of_a_node_is_none_of_an_attempt_and_the_other_way_round(mint: TokenMint) -> None:
    node, attempt = mint.mint_for_node("acme"), mint.mint(ONE, 1)
    dressed = [
        credentials.TOKEN_PREFIX + node.removeprefix(credentials.NODE_PREFIX),
        credentials.NODE_PREFIX + attempt.removeprefix(credentials.TOKEN_PREFIX),
    ]

    for token in (node, dressed[0]):
        with pytest.raises(Unauthenticated):
            mint.check(token)
    for token in (attempt, dressed[1]):
        with pytest.raises(Unauthenticated):
            mint.check_node(token)


@given(text=st.text(max_size=40))
def test_nothing_else_is_the_token_of_a_node(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    mint = TokenMint(tmp_path_factory.getbasetemp() / "secret", ManualClock(), LIFETIME_MS)

    for token in (text, credentials.NODE_PREFIX + text, credentials.NODE_PREFIX + "x" * 3_000):
        with pytest.raises(Unauthenticated):
            mint.check_node(token)


DIGITS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
"""Those of base64 in URLs, in order."""


def test_a_token_of_a_node_that_was_changed_is_refused(mint: TokenMint) -> None:
    token = mint.mint_for_node("north")

    for place, digit in enumerate(token):
        # The first of a digit's six bits: the last ones of the last digit stand for nothing.
        other = DIGITS[DIGITS.index(digit) ^ 32] if digit in DIGITS else "A"
        changed = token[:place] + other + token[place + 1 :]
        with pytest.raises(Unauthenticated):
            mint.check_node(changed)
