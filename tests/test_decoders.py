import os
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runtara.decoders import convert, decode_json, decode_msgpack, json_decoder, msgpack_decoder

RACE = """
import dataclasses, enum, sys, threading
import msgspec
from runtara.decoders import convert, decode_json, decode_msgpack, json_decoder, msgpack_decoder
from runtara.sdk._results import Codec
from runtara.sdk.flow._codecs import JsonCodec, MsgpackCodec
from runtara.store._records import decode_row

sys.setswitchinterval(1e-6)

def kinds():
    class Word(enum.StrEnum):
        YES = "yes"

    class Struct(msgspec.Struct, kw_only=True):
        number: int
        word: Word
        words: tuple[Word, ...] = ()

    @dataclasses.dataclass
    class Data:
        number: int
        word: Word
        words: tuple[Word, ...] = ()

    return Struct, Data

VALUE = {"number": 1, "word": "yes", "words": ["yes"]}
JSON, PACKED = msgspec.json.encode(VALUE), msgspec.msgpack.encode(VALUE)

WAYS = {
    "row": lambda struct, data: decode_row(struct, tuple(VALUE.values())),
    "result": lambda struct, data: Codec(data, "it returns").read(JSON, "result"),
    "flow": lambda struct, data: JsonCodec().decode(JSON, data),
    "packed flow": lambda struct, data: MsgpackCodec().decode(PACKED, data),
    "convert": lambda struct, data: convert(VALUE, struct),
    "json": lambda struct, data: decode_json(JSON, struct),
    "msgpack": lambda struct, data: decode_msgpack(PACKED, struct),
    "decoder": lambda struct, data: json_decoder(data).decode(JSON),
    "packed decoder": lambda struct, data: msgpack_decoder(data).decode(PACKED),
}

def race(way, struct, data):
    found = []
    together = threading.Barrier(4)

    def decode():
        together.wait()
        found.append(way(struct, data).word)

    threads = [threading.Thread(target=decode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["yes"] * 4, found

for way in WAYS.values():
    for _ in range(60):
        race(way, *kinds())
"""


def test_threads_may_meet_a_type_at_the_same_moment(tmp_path: Path) -> None:
    (tmp_path / "race.py").write_text(RACE)

    done = subprocess.run(
        [sys.executable, tmp_path / "race.py"],
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr or done.returncode


class Answer(StrEnum):
    YES = "yes"


class Reply(msgspec.Struct):
    answer: Answer


def test_bytes_and_values_become_what_they_are_told_to_be() -> None:
    assert decode_json(b'{"answer": "yes"}', Reply) == Reply(Answer.YES)
    assert decode_msgpack(msgspec.msgpack.encode({"answer": "yes"}), Reply) == Reply(Answer.YES)
    assert convert({"answer": "yes"}, Reply) == Reply(Answer.YES)
    assert convert({"number": "1"}, dict[str, int], strict=False) == {"number": 1}


@pytest.mark.parametrize("decode", [decode_json, json_decoder(Reply).decode])
def test_what_does_not_fit_is_refused(decode: Any) -> None:
    arguments = (Reply,) if decode is decode_json else ()

    with pytest.raises(msgspec.ValidationError, match="answer"):
        decode(b'{"answer": "perhaps"}', *arguments)


def test_a_type_that_nothing_can_be_read_into_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(TypeError, match="more than one"):
            decode_json(b"1", dict[str, int] | dict[str, str])  # type: ignore[arg-type]  # the refusal is the point


def test_a_hook_reads_what_msgspec_does_not_know() -> None:
    assert json_decoder(Path, lambda kind, value: kind(value)).decode(b'"a/b"') == Path("a/b")
    assert msgpack_decoder(Path, lambda kind, value: kind(value)).decode(b"\xa1a") == Path("a")
