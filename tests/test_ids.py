import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtara.errors import InvalidInput
from runtara.ids import (
    CHECKPOINT_ID_MAX_BYTES,
    ID_MAX_CHARS,
    ImageRef,
    check_checkpoint_id,
    check_id,
    new_id,
    new_secret,
)


@pytest.mark.parametrize("value", ["a", "7", "orders:2025-11.01_x@host+1", "a" * ID_MAX_CHARS])
def test_plain_ids_are_accepted_as_they_are(value: str) -> None:
    assert check_id(value, "tenant id") == value


@pytest.mark.parametrize(
    "value", ["", ".", "..", "-x", "a/b", "a b", "a\n", "ä", "a\0", "a" * (ID_MAX_CHARS + 1), b"a", 1, None]
)
def test_other_ids_are_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"^tenant id "):
        check_id(value, "tenant id")


@given(st.text())
def test_an_accepted_id_is_harmless_in_paths_logs_and_keys(value: str) -> None:
    try:
        accepted = check_id(value, "id")
    except InvalidInput as error:
        assert str(error).isprintable()
    else:
        assert accepted.isascii()
        assert accepted.isprintable()
        assert not set(accepted) & set("/\\ '\"")
        assert accepted[0] not in ".-"


@pytest.mark.parametrize(
    "value", ["a", " ", "step 1", "../x", "żółć 🦊", "e\u0301", "ä" * (CHECKPOINT_ID_MAX_BYTES // 2)]
)
def test_checkpoint_ids_may_hold_any_printable_text(value: str) -> None:
    assert check_checkpoint_id(value) == value


@pytest.mark.parametrize("value", ["", "a\0", "a\n", "\x7f", "\ud800", "ä" * CHECKPOINT_ID_MAX_BYTES, b"a", 1, None])
def test_other_checkpoint_ids_are_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"^signal name "):
        check_checkpoint_id(value, "signal name")


@given(st.text())
def test_an_accepted_checkpoint_id_can_be_stored_as_text(value: str) -> None:
    try:
        accepted = check_checkpoint_id(value)
    except InvalidInput as error:
        assert str(error).isprintable()
    else:
        assert len(accepted.encode()) <= CHECKPOINT_ID_MAX_BYTES
        assert "\0" not in accepted


def test_new_ids_are_plain_and_differ() -> None:
    ids = {new_id() for _ in range(1_000)}

    assert len(ids) == 1_000
    assert all(check_id(value, "id") == value and len(value) == 32 for value in ids)


def test_new_secrets_are_plain_and_differ() -> None:
    secrets = {new_secret() for _ in range(1_000)}

    assert len(secrets) == 1_000
    assert all(len(secret) == 64 and int(secret, 16) >= 0 for secret in secrets)


def test_a_version_of_an_image_is_found_again_in_the_program_that_it_is() -> None:
    ref = ImageRef(new_id(), 12)

    assert ImageRef.of_program(ref.program) == ref


@pytest.mark.parametrize(
    "program",
    [
        None,
        "",
        "image:x@1",
        "nightly.py",
        f"image:{'a' * 32}",
        f"image:{'a' * 32}@0",
        f"image:{'a' * 32}@1\n",
        "image:",
    ],
)
def test_other_programs_are_no_images(program: str | None) -> None:
    assert ImageRef.of_program(program) is None
