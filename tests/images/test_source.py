"""Archives are decompressed as they are read, in small pieces, and never to more than is allowed."""

import bz2
import gzip
import io
import lzma
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runtara.errors import InvalidInput, TooLarge
from runtara.images._limits import ExtractLimits
from runtara.images._source import Source, compression_of, open_source
from tests.images.archives import sha256

PACKS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}
packed = pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
DATA = os.urandom(300_000) + bytes(300_000)


def source(content: bytes, **limits: int) -> Source:
    return Source(io.BytesIO(content), ExtractLimits(**limits))


@pytest.mark.parametrize("pack", [bytes, *PACKS.values()], ids=["plain", *PACKS])
def test_the_same_comes_out_in_whatever_pieces_it_is_read(pack: Callable[[bytes], bytes]) -> None:
    reader = source(pack(DATA))

    pieces = [reader.read(size) for size in (1, 512, 0, 250_000, 100_000, 10_000_000, 5)]

    assert b"".join(pieces) == DATA
    assert [len(piece) for piece in pieces] == [1, 512, 0, 250_000, 100_000, len(DATA) - 350_513, 0]
    assert reader.sha256 == sha256(DATA)


@packed
def test_what_was_packed_in_parts_is_one(pack: Callable[[bytes], bytes]) -> None:
    assert source(pack(b"one") + pack(b"two") + bytes(100)).read(10) == b"onetwo"


@packed
def test_what_ends_too_early_or_goes_on_with_something_else_is_refused(pack: Callable[[bytes], bytes]) -> None:
    whole = pack(DATA)

    for content in (whole[:-1], whole[: len(whole) // 2], whole + b"garbage", whole[:1000] + b"garbage" + whole[1007:]):
        with pytest.raises(InvalidInput, match="the archive"):
            source(content).drain()


@packed
def test_a_bomb_is_refused_early(pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(bytes(50_000_000))
    reader = source(bomb, ratio=50)

    with pytest.raises(TooLarge, match="more than 50 times"):
        reader.drain()
    assert reader._given < 10_000_000


def test_a_small_archive_of_nothing_is_no_bomb() -> None:
    assert len(source(gzip.compress(bytes(1_000_000)), ratio=2).read(2_000_000)) == 1_000_000


def test_an_xz_file_that_asks_for_too_much_memory_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1024 * 1024 * 1024}]

    content = bytearray(lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 64 * 1024 * 1024}]))

    assert source(bytes(content)).read(1) == b"x"
    with pytest.raises(InvalidInput, match="damaged"):
        source(_with_dictionary(bytes(content), filters[0]["dict_size"])).read(1)


def _with_dictionary(content: bytes, size: int) -> bytes:
    """The same file, claiming to need a dictionary of another size (of an xz stream with one LZMA2 filter)."""
    import zlib

    bits = size.bit_length() - 1
    header = bytearray(content[12:20])
    header[4] = (bits - 12) * 2
    return content[:12] + bytes(header) + zlib.crc32(header).to_bytes(4, "little") + content[24:]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python reads zstd")
def test_zstd_is_refused_with_what_to_use_where_python_cannot_read_it() -> None:
    with pytest.raises(InvalidInput, match=r"from version 3.14 on: compress it with gzip"):
        source(b"\x28\xb5\x2f\xfd" + bytes(100))


def test_how_something_is_packed_is_seen_from_its_start() -> None:
    assert [compression_of(pack(b"x")[:8]) for pack in PACKS.values()] == list(PACKS)
    assert compression_of(b"\x28\xb5\x2f\xfd1234") == "zstd"
    assert compression_of(b"plain") is None


def test_an_archive_is_closed_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")

    with open_source(tmp_path / "a", ExtractLimits()) as reader:
        content = reader.read(5)

    assert content == b"abc"
    with pytest.raises(ValueError, match="closed"):
        reader._file.read(1)
