"""Bytes from the command line."""

from pathlib import Path

import pytest

from runtara.cli._payloads import is_elsewhere, read_payload
from runtara.errors import InvalidInput


def test_a_text_is_its_own_bytes() -> None:
    assert read_payload("Zürich", "payload") == "Zürich".encode()
    assert read_payload("", "payload") == b""


def test_bytes_that_are_no_text_go_as_they_came() -> None:
    typed = b"\xff\xfe".decode(errors="surrogateescape")  # as Python decodes arguments

    assert read_payload(typed, "payload") == b"\xff\xfe"


def test_a_file_is_read_byte_for_byte(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"\x00\xff\r\n")

    assert read_payload(f"@{tmp_path / 'data'}", "payload") == b"\x00\xff\r\n"


def test_a_file_that_cannot_be_read_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"input file '.*missing' cannot be read: No such file"):
        read_payload(f"@{tmp_path / 'missing'}", "input")


@pytest.mark.parametrize(("text", "elsewhere"), [("-", True), ("@x", True), ("x", False), ("", False), ("-1", False)])
def test_a_dash_and_an_at_sign_say_where_the_bytes_are(text: str, elsewhere: bool) -> None:
    assert is_elsewhere(text) is elsewhere
