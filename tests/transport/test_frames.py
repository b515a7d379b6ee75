import itertools
import random
import re
import zlib
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtara import messages
from runtara.endpoints import ENDPOINTS
from runtara.errors import InvalidInput, RuntaraError, TooLarge
from runtara.ids import CHECKPOINT_ID_MAX_BYTES, ID_MAX_CHARS
from runtara.transport import close_codes
from runtara.transport.conversation import WATCHES_MAX
from runtara.transport.frames import (
    ALPN,
    HELLO_MAX_BYTES,
    OVERHEAD_MAX_BYTES,
    Answer,
    Ask,
    ClientFrame,
    FrameCutter,
    Goodbye,
    Hello,
    OnBehalf,
    Pushed,
    Refusal,
    Renewed,
    ServerFrame,
    Watch,
    Welcome,
    decode_client_frame,
    decode_server_frame,
    encode_frame,
    read_ask_id,
)
from runtara.transport.gate import CALL_TIMEOUT_MAX_MS
from tests.house.source import ROOT

LIMIT = 1_000
CANARY = "rtk_canary"

COMMANDS = st.one_of([st.from_type(command) for command in ENDPOINTS])
REPLIES = st.one_of([st.from_type(row.reply) for row in ENDPOINTS.values()])
CLIENT_FRAMES = st.one_of(
    st.builds(Hello),
    st.builds(Watch),
    st.builds(
        Ask,
        id=st.integers(1, 2**63 - 1),
        command=COMMANDS,
        instance_id=st.none() | st.text(),
        timeout_ms=st.none() | st.integers(-(2**63), 2**63 - 1),
        on_behalf=st.none() | st.builds(OnBehalf),
    ),
)
SERVER_FRAMES = st.one_of(
    st.builds(Welcome),
    st.builds(Answer, id=st.integers(1, 2**63 - 1), reply=REPLIES),
    st.builds(Refusal),
    st.builds(Pushed),
    st.builds(Renewed),
    st.builds(Goodbye),
)


def body_of(frame: Any) -> bytes:
    return encode_frame(frame)[4:]


def packed(value: object) -> bytes:
    return msgspec.msgpack.encode(value)


def ask_of(command: object, **fields: object) -> bytes:
    return packed({"type": "Ask", "id": 7, "command": command, **fields})


# Round trips ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("union", "strategy_names"),
    [
        (ClientFrame, {"Hello", "Ask", "Watch"}),
        (ServerFrame, {"Welcome", "Answer", "Refusal", "Pushed", "Renewed", "Goodbye"}),
    ],
)
def test_the_properties_below_are_about_every_frame(union: Any, strategy_names: set[str]) -> None:
    assert {frame.__name__ for frame in get_args(union)} == strategy_names


def in_range(frame: Any) -> bool:
    """Whether MessagePack can hold every number of a frame."""
    try:
        encode_frame(frame)
    except InvalidInput:
        return False
    return True


@given(CLIENT_FRAMES.filter(in_range))
def test_what_a_client_says_arrives_as_it_was_said(frame: Any) -> None:
    assert decode_client_frame(body_of(frame)) == frame


@given(SERVER_FRAMES.filter(in_range))
def test_what_a_server_says_arrives_as_it_was_said(frame: Any) -> None:
    assert decode_server_frame(body_of(frame)) == frame


@pytest.mark.parametrize(
    "frame",
    [
        Watch(instance_id="\ud800"),
        Ask(id=2**70, command=messages.Heartbeat()),
        Ask(id=1, command=messages.SaveCheckpoint(checkpoint_id="x", state=object())),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_sent_is_refused_where_it_is_said(frame: Any) -> None:
    with pytest.raises(InvalidInput, match="cannot be sent"):
        encode_frame(frame)


# Garbage --------------------------------------------------------------------------------------------------------------


def tolerates(body: bytes) -> None:
    """Check that a body is either understood or refused, in both directions."""
    for decode in (decode_client_frame, decode_server_frame):
        try:
            decode(body)
        except RuntaraError as error:
            assert type(error) in (InvalidInput, TooLarge)
    read_ask_id(body)


@given(st.binary())
def test_garbage_is_refused(body: bytes) -> None:
    tolerates(body)


@given(CLIENT_FRAMES.filter(in_range) | SERVER_FRAMES.filter(in_range), st.data())
def test_a_damaged_frame_is_refused_or_another_frame(frame: Any, data: st.DataObject) -> None:
    body = bytearray(body_of(frame))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] = data.draw(st.integers(0, 255))

    tolerates(bytes(body))


@given(CLIENT_FRAMES.filter(in_range))
def test_a_frame_cut_off_at_any_byte_is_refused(frame: Any) -> None:
    body = body_of(frame)
    whole = range(len(body)) if len(body) < 100 else random.Random(0).sample(range(len(body)), 100)

    for length in whole:
        with pytest.raises(InvalidInput):
            decode_client_frame(body[:length])


HEARTBEAT = packed({"type": "Heartbeat"})
HEAD = b"\x84" + packed("type") + packed("Ask") + packed("id") + b"\x01" + packed("command")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        packed([1, 2]),
        packed({"id": 1, "command": {"type": "Heartbeat"}}),
        packed({"type": "Nonsense"}),
        packed({"type": "Welcome", "server_version": "1", "heartbeat_every_ms": 1, "frame_max_bytes": 1}),
        packed({"type": "Watch", "instance_id": "x"}) + b"\0",
        b"\x82" + packed("type") + packed("Watch") + packed("instance_id") + b"\xa2\xff\xfe",
        b"\x82" + packed("type") + packed("Watch") + packed("instance_id") + b"\xa3\xed\xa0\x80",
        HEAD + HEARTBEAT + packed("more") + b"\x91" * 100_000,
        HEAD + HEARTBEAT + packed("more") + b"\xdd\xff\xff\xff\xff",
        HEAD + b"\x83" + packed("type") + packed("StartInstance") + packed("env") + b"\xdf\xff\xff\xff\xff",
        HEAD + b"\x83" + packed("type") + packed("SaveCheckpoint") + packed("state") + b"\xc6\xff\xff\xff\xff",
        *(
            packed({"type": "Ask", "id": bad, "command": {"type": "Heartbeat"}})
            for bad in (0, -1, 2**63, 1.5, True, "1", None)
        ),
        ask_of({"type": "GetCheckpoint", "checkpoint_id": float("nan")}),
        ask_of({"type": "GetCheckpoint", "checkpoint_id": b"bytes"}),
        ask_of({"type": "Sleep", "checkpoint_id": "x", "duration_ms": float("inf")}),
        ask_of({"type": "SaveCheckpoint", "checkpoint_id": "x", "state": "text"}),
        ask_of({"type": "WakeInstance", "due_at": 1}),
        ask_of({"type": "CrashInstance", "epoch": 1, "error": "x"}),
    ],
    ids=lambda body: f"{len(body)} bytes {zlib.crc32(body):x}",
)
def test_what_no_client_says_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode_client_frame(body)


def test_an_announced_list_without_its_elements_takes_no_memory() -> None:
    head = b"\x83" + packed("type") + packed("Answer") + packed("id") + b"\x01" + packed("reply")
    body = head + b"\x82" + packed("type") + packed("SignalsPending") + packed("signals") + b"\xdd\xff\xff\xff\xff"

    with pytest.raises(InvalidInput, match="truncated"):
        decode_server_frame(body)


def test_a_field_of_a_newer_client_is_skipped() -> None:
    assert decode_client_frame(ask_of({"type": "Heartbeat", "mood": 1}, colour="red")) == Ask(
        id=7, command=messages.Heartbeat()
    )


# Large frames ---------------------------------------------------------------------------------------------------------

BIG = 2 * OVERHEAD_MAX_BYTES


@pytest.mark.parametrize("command", ["SaveCheckpoint", "Sleep"])
def test_a_payload_may_be_large(command: str) -> None:
    frame = decode_client_frame(ask_of({"type": command, "checkpoint_id": "x", "state": bytes(BIG)}))

    assert isinstance(frame, Ask)
    assert len(frame.command.state) == BIG


@pytest.mark.parametrize(
    "body",
    [
        ask_of({"type": "FailInstance", "error": "x" * BIG}),
        ask_of({"type": "StartInstance", "program": "x", "env": {str(number): "" for number in range(BIG // 6)}}),
        ask_of({"type": "SaveCheckpoint", "checkpoint_id": "x" * BIG, "state": bytes(BIG)}),
        ask_of({"type": "Heartbeat"}, instance_id="x" * BIG),
        ask_of({"type": "Heartbeat"}, more=bytes(BIG)),
    ],
    ids=lambda body: f"{len(body)} bytes {zlib.crc32(body):x}",
)
def test_nothing_else_may_be_large(body: bytes) -> None:
    with pytest.raises(TooLarge, match="beside its payload"):
        decode_client_frame(body)
    assert read_ask_id(body) == 7


@pytest.mark.parametrize(
    "frame", [{"type": "Hello", "tenant_id": "x" * BIG}, {"type": "Watch", "instance_id": "x" * BIG}]
)
def test_only_a_call_may_be_large(frame: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        decode_client_frame(packed(frame))


# Ids of calls that are not understood ---------------------------------------------------------------------------------


def test_a_call_with_an_unknown_command_shows_its_id() -> None:
    assert read_ask_id(ask_of({"type": "TravelInTime"})) == 7
    assert read_ask_id(ask_of("nonsense")) == 7


@pytest.mark.parametrize(
    "body", [b"", packed({"type": "Watch", "id": 7}), packed({"type": "Ask", "id": 0}), ask_of(1)[:-1]]
)
def test_what_is_no_call_shows_no_id(body: bytes) -> None:
    assert read_ask_id(body) is None


# Secrets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        Hello(tenant_id="t", instance_id="i", credential=CANARY),
        Welcome(server_version="1", heartbeat_every_ms=1, frame_max_bytes=1, token=CANARY),
        Renewed(token=CANARY),
    ],
)
def test_no_secret_is_shown_when_a_frame_is_printed(frame: Any) -> None:
    assert CANARY not in f"{frame} {frame!r} {[frame]}"
    assert type(frame).__name__ in repr(frame)


# Cutting --------------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=50), max_size=8), st.lists(st.integers(0, 400), max_size=20))
def test_frames_are_cut_out_of_a_stream_however_it_is_chopped(bodies: list[bytes], places: list[int]) -> None:
    stream = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
    cuts = [0, *sorted(min(place, len(stream)) for place in places), len(stream)]
    cutter = FrameCutter(LIMIT)

    found = [body for begin, end in itertools.pairwise(cuts) for body in cutter.feed(stream[begin:end])]

    assert found == bodies
    assert (cutter.wanted, cutter.buffered) == (None, 0)


def test_a_frame_beyond_the_limit_is_refused_at_its_announcement() -> None:
    cutter = FrameCutter(LIMIT)

    with pytest.raises(TooLarge, match="1001 bytes"):
        list(cutter.feed((LIMIT + 1).to_bytes(4, "big")))


def test_a_frame_of_just_the_limit_is_accepted() -> None:
    assert list(FrameCutter(LIMIT).feed(LIMIT.to_bytes(4, "big") + bytes(LIMIT))) == [bytes(LIMIT)]


def test_a_raised_limit_counts_from_the_next_frame_on() -> None:
    cutter = FrameCutter(1)
    found = []

    for body in cutter.feed(b"\0\0\0\1a\0\0\0\2bc"):
        found.append(bytes(body))
        cutter.limit = 2

    assert found == [b"a", b"bc"]


def test_frames_that_were_not_taken_yet_are_kept() -> None:
    cutter = FrameCutter(LIMIT)

    first = next(cutter.feed(b"\0\0\0\1a\0\0\0\1b\0\0"))
    rest = list(cutter.feed(b"\0\1c"))

    assert (first, rest) == (bytearray(b"a"), [bytearray(b"b"), bytearray(b"c")])


def test_bytes_are_taken_even_if_nobody_looks_at_the_frames() -> None:
    cutter = FrameCutter(LIMIT)

    cutter.feed(b"\0\0\0\1")

    assert list(cutter.feed(b"a")) == [b"a"]


def test_what_has_begun_can_be_seen() -> None:
    cutter = FrameCutter(LIMIT)

    list(cutter.feed(b"\0\0\0\5abc"))

    assert (cutter.wanted, cutter.buffered) == (5, 3)


# The page for writers of clients --------------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "reference" / "protocol.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("frame", [*get_args(ClientFrame), *get_args(ServerFrame)], ids=lambda frame: frame.__name__)
def test_the_page_lists_every_frame_with_its_fields(frame: type) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{frame.__name__}` |")).split("|")[2]

    assert re.findall(r"`(\w+)`", row) == [field.name for field in msgspec.structs.fields(frame)]
    assert re.findall(r"`(\w+)`\?", row) == [
        field.name for field in msgspec.structs.fields(frame) if field.default is None
    ]


def test_the_page_gives_the_limits_of_the_code() -> None:
    assert f"| {HELLO_MAX_BYTES // 1024} KiB |" in PAGE
    assert f"| {OVERHEAD_MAX_BYTES // 1024} KiB |" in PAGE
    assert f"may watch {WATCHES_MAX} instances" in PAGE
    assert f"at most {CALL_TIMEOUT_MAX_MS};" in PAGE
    assert f"`{ALPN}`" in PAGE
    assert f"1 to {ID_MAX_CHARS} of the characters" in PAGE
    assert f"1 to {CHECKPOINT_ID_MAX_BYTES} bytes" in PAGE


def test_the_page_lists_every_code_with_which_a_server_closes() -> None:
    codes = re.findall(r"(?m)^\| (\d) \| ([\w-]+) \|", PAGE)

    assert {name.upper().replace("-", "_"): int(code) for code, name in codes} == {
        name: getattr(close_codes, name)
        for name in ("DONE", "INVALID_FRAME", "TOO_LARGE", "UNAUTHENTICATED", "GOING_AWAY", "FLOOD", "TOO_SLOW")
    }
