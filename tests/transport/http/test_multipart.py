"""Forms with a file, in whatever pieces they come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtara.errors import InvalidInput
from runtara.transport.http._multipart import FIELD_MAX_BYTES, Form, boundary_of

BOUNDARY = "edge"


def part(name: str, content: bytes) -> bytes:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + content + b"\r\n"


def body(*parts: tuple[str, bytes]) -> bytes:
    return b"".join(part(*row) for row in parts) + f"--{BOUNDARY}--\r\n".encode()


def read(data: bytes, step: int) -> tuple[dict[str, str], bytes]:
    form, found = Form(BOUNDARY, "binary"), b""
    for start in range(0, len(data), step):
        found += b"".join(form.feed(data[start : start + step]))
    form.close()
    return form.fields, found


@given(content=st.binary(max_size=200), text=st.text(max_size=20), step=st.integers(1, 400))
def test_fields_and_file_are_the_same_however_the_body_is_cut(content: bytes, text: str, step: int) -> None:
    fields, found = read(body(("name", text.encode()), ("binary", content)), step)

    assert (fields, found) == ({"name": text}, content)


@given(data=st.binary(max_size=300), step=st.integers(1, 50))
def test_what_is_no_form_is_refused_and_never_a_bug(data: bytes, step: int) -> None:
    with pytest.raises(InvalidInput):
        read(data, step)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (body(("name", b"a"), ("name", b"b"), ("binary", b"")), "twice"),
        (body(("binary", b"x"), ("name", b"a")), "behind the file"),
        (body(("name", b"a")), "no file"),
        (body(("name", b"\xff"), ("binary", b"")), "UTF-8"),
        (body(("name", bytes(FIELD_MAX_BYTES + 1)), ("binary", b"")), "longer than"),
        (body(("binary", b"x"))[:-6], "cannot be read"),
        (body(*[(f"f{number}", b"") for number in range(40)]), "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_form_is_said(data: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read(data, 65_536)


def test_only_a_form_has_a_boundary_and_a_form_must_have_one() -> None:
    assert boundary_of(b"application/octet-stream") is None
    assert boundary_of(b'multipart/form-data; boundary="a b"') == "a b"
    with pytest.raises(InvalidInput, match="boundary"):
        boundary_of(b"multipart/form-data")
