"""The reader of tar archives sees what `tarfile` sees in what honest programs write, and refuses what is odd."""

import io
import tarfile
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtara.errors import InvalidInput, TooLarge
from runtara.images._limits import ExtractLimits
from runtara.images._source import Source
from runtara.images._tar import Member, TarReader, Type
from tests.images.archives import END, entry, file, folder, global_header, hardlink, long_name, pax, symlink, tar

FORMATS: dict[str, Literal[0, 1, 2]] = {
    "ustar": tarfile.USTAR_FORMAT,
    "gnu": tarfile.GNU_FORMAT,
    "pax": tarfile.PAX_FORMAT,
}
TYPES = {
    Type.FILE: tarfile.REGTYPE,
    Type.FOLDER: tarfile.DIRTYPE,
    Type.SYMLINK: tarfile.SYMTYPE,
    Type.FIFO: tarfile.FIFOTYPE,
}


def reader(content: bytes) -> TarReader:
    return TarReader(Source(io.BytesIO(content), ExtractLimits()))


def read(content: bytes) -> list[tuple[Member, bytes]]:
    found = reader(content)
    return [(member, b"".join(found.chunks())) for member in found]


def only(content: bytes) -> Member:
    ((member, _),) = read(content)
    return member


names = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=130
)


@settings(max_examples=200)
@given(
    form=st.sampled_from(sorted(FORMATS)),
    name=st.lists(names, min_size=1, max_size=3).map("/".join),
    kind=st.sampled_from(sorted(TYPES, key=lambda kind: kind.value)),
    target=names,
    data=st.binary(max_size=1100),
    mode=st.integers(0, 0o7777),
    modified_at=st.integers(0, 2**32),
)
def test_it_sees_what_tarfile_has_written(
    *, form: str, name: str, kind: Type, target: str, data: bytes, mode: int, modified_at: int
) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = TYPES[kind], mode, modified_at
    info.linkname = target if kind is Type.SYMLINK else ""
    info.size = len(data) if kind is Type.FILE else 0
    buffer = io.BytesIO()
    try:
        with tarfile.open(fileobj=buffer, mode="w", format=FORMATS[form]) as archive:
            archive.addfile(info, io.BytesIO(data))
    except ValueError:
        return  # the oldest format has no room for it

    ((member, content),) = read(buffer.getvalue())

    assert member == Member(
        name=name.encode() + (b"/" if kind is Type.FOLDER else b""),
        type=kind,
        size=info.size,
        target=info.linkname.encode(),
        executable=bool(mode & 0o100),
        modified_at=modified_at,
    )
    assert content == (data if kind is Type.FILE else b"")


def test_members_are_read_in_order_whether_or_not_their_data_is() -> None:
    members = [file(b"a", b"x" * 512), folder(b"d"), file(b"b", b"y" * 1025), symlink(b"l", b"a"), hardlink(b"h", b"a")]

    found = [member.name for member in reader(tar(*members))]

    assert found == [b"a", b"d", b"b", b"l", b"h"]
    assert [data for _, data in read(tar(*members))] == [b"x" * 512, b"", b"y" * 1025, b"", b""]


def test_what_pax_and_gnu_say_counts() -> None:
    assert only(tar(pax(path=b"p" * 300, size=b"5"), entry(b"a", data=b"12345", size=0))).name == b"p" * 300
    assert only(tar(pax(linkpath=b"t" * 300, mtime=b"12.5"), symlink(b"a", b"b"))).modified_at == 12
    assert only(tar(long_name(b"n" * 300), long_name(b"t" * 300, b"K"), symlink(b"a", b"b"))).target == b"t" * 300
    assert only(tar(global_header(comment=b"a commit"), file(b"a"))).name == b"a"
    assert only(tar(pax(SCHILY__xattr__user=b"\0\n="), file(b"a"))).name == b"a"
    assert only(tar(entry(b"name", prefix=b"folder"))).name == b"folder/name"


def test_an_old_archive_has_folders_by_their_names() -> None:
    assert only(tar(entry(b"a/", b"\0", magic=bytes(8)))).type is Type.FOLDER
    assert only(tar(entry(b"a", b"\0", magic=bytes(8)))).type is Type.FILE


@pytest.mark.parametrize("stated", [b"", b"-5", b"x", b"9" * 19])
def test_a_time_that_is_none_is_no_reason_to_refuse(stated: bytes) -> None:
    assert only(tar(pax(mtime=stated), file(b"a"))).modified_at == 0


@pytest.mark.parametrize(
    "data",
    [b"x", b"5 a=", b"99 a=b\n", b"6 a=b ", b"0 a=b\n", b"06 a=b\n", b"-6 a=b\n", b"4 a\n", b"5 =b\n", b"1" * 100_000],
    ids=lambda data: data[:10].hex(),
)
def test_a_damaged_pax_header_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="damaged"):
        read(tar(entry(b"x", b"x", data), file(b"a")))


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_a_header_of_megabytes_is_not_taken_into_memory(kind: bytes) -> None:
    with pytest.raises(TooLarge, match="a header of the archive has 1048577 bytes"):
        read(entry(b"x", kind, size=1024 * 1024 + 1) + bytes(5000))


@pytest.mark.parametrize("field", [b"8", b"0x1", b"1_0", b"-1", b"+1", b"1 1", b"\xff" * 12, b"\x80" + b"\xff" * 11])
def test_a_number_that_is_none_is_refused(field: bytes) -> None:
    block = bytearray(entry(b"a"))
    block[124:136] = field.ljust(12, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)

    with pytest.raises(InvalidInput, match="size"):
        read(bytes(block) + END)


def test_a_size_in_binary_is_understood() -> None:
    block = bytearray(entry(b"a"))
    block[124:136] = b"\x80" + (3).to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)

    assert read(bytes(block) + b"abc".ljust(512, b"\0") + END)[0][1] == b"abc"


def test_a_wrong_checksum_is_refused() -> None:
    block = bytearray(file(b"a"))
    block[0] ^= 1

    with pytest.raises(InvalidInput, match="not a tar archive"):
        read(bytes(block) + END)


@pytest.mark.parametrize("end", [b"", bytes(511)])
def test_an_archive_without_its_end_is_refused(end: bytes) -> None:
    with pytest.raises(InvalidInput, match="ends too early"):
        read(file(b"a", b"x") + end)


def test_an_archive_that_goes_on_after_one_empty_block_is_refused() -> None:
    with pytest.raises(InvalidInput, match="in its middle"):
        read(file(b"a") + bytes(512) + tar(file(b"b")))


def test_what_follows_the_end_is_not_looked_at() -> None:
    assert [member.name for member, _ in read(tar(file(b"a")) + b"garbage")] == [b"a"]
    assert read(file(b"a") + bytes(512))[0][0].name == b"a"


@pytest.mark.parametrize("end", [b"", bytes(512), END], ids=len)
@pytest.mark.parametrize("padding", [0, 511])
def test_the_end_may_be_missing_where_a_digest_vouches_for_it(end: bytes, padding: int) -> None:
    content = file(b"a", b"x")[:513] + (bytes(511) + end if padding else b"")

    found = TarReader(Source(io.BytesIO(content), ExtractLimits()), needs_end=False)

    assert [(member.name, list(found.chunks())) for member in found] == [(b"a", [b"x"])]


@pytest.mark.parametrize(
    "content", [file(b"a", b"x")[:512], file(b"a", b"x")[:600], file(b"a")[:100], long_name(b"a")], ids=len
)
def test_the_middle_may_not_be_missing_even_there(content: bytes) -> None:
    with pytest.raises(InvalidInput):
        list(TarReader(Source(io.BytesIO(content), ExtractLimits()), needs_end=False))
