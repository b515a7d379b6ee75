"""The registry of images, over a store in memory and real files."""

import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from runtara.actors import child
from runtara.actors._dispatch_checks import TEXT_MAX_BYTES
from runtara.actors._images_checks import DEFAULTS_MAX_BYTES, IMAGE_CHECKS, PART_MAX_BYTES
from runtara.actors._images_views import options_json, options_of
from runtara.actors.dispatch import Outcome
from runtara.actors.images import ImageRegistry
from runtara.actors.places import StopWaking
from runtara.clock import SystemClock
from runtara.errors import (
    AlreadyExists,
    Busy,
    InstanceNotFound,
    InvalidInput,
    InvalidState,
    NotFound,
    RuntaraError,
    TooLarge,
)
from runtara.ids import ImageRef, InstanceKey
from runtara.images import Blobs, Library
from runtara.lifecycle import Status
from runtara.messages import (
    DeleteImage,
    GetImage,
    GetInput,
    GetStatus,
    ImageInfo,
    ListImages,
    ListImageVersions,
    PushImage,
    ReadImage,
    Request,
    SendSignal,
    StartInstance,
    UseImageVersion,
    WriteImage,
)
from runtara.records import ImageOptions, Network
from runtara.settings import Settings
from runtara.system import IMAGES, INSTANCES, READER, SCHEDULER, WRITER, Runtime, in_process, open_runtime
from runtara.transport.frames import Ask, decode_client_frame, encode_frame
from tests.actors.stage import crash_actor
from tests.store.samples import image_version

SCRIPT = b"#!/bin/sh\necho hello\n"
LARGEST = 100_000


class Shop:
    """A tenant in front of a registry."""

    def __init__(self, runtime: Runtime, library: Library, tenant_id: str = "acme") -> None:
        self.runtime = runtime
        self.library = library
        self.tenant_id = tenant_id

    async def ask(self, command: Request[Any], instance_id: str = "one") -> Any:
        return await self.runtime.dispatch.call(InstanceKey(self.tenant_id, instance_id), command)

    async def push(self, content: bytes = SCRIPT, name: str = "report", **more: Any) -> ImageInfo:
        """Push in one part."""
        command = push_of(content, name, **more)
        begun = await self.ask(command)
        if begun.image is None:
            await self.ask(WriteImage(digest=command.digest, offset=begun.offset, data=content[begun.offset :]))
            begun = await self.ask(command)
        assert isinstance(begun.image, ImageInfo)
        return begun.image

    async def start(self, program: str = "report", instance_id: str = "one", **more: Any) -> Any:
        return await self.ask(StartInstance(program=program, image=True, **more), instance_id)

    async def program_of(self, instance_id: str = "one") -> ImageRef | None:
        return ImageRef.of_program((await self.ask(GetStatus(), instance_id)).program)


def push_of(content: bytes, name: str = "report", **more: Any) -> PushImage:
    fields: dict[str, Any] = {"kind": "executable", "digest": hashlib.sha256(content).hexdigest(), "size": len(content)}
    return PushImage(name=name, **fields | more)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    library = Library(Blobs(tmp_path / "images", LARGEST), environment={})
    registry = child(
        "images",
        ImageRegistry,
        kwargs={
            "instances": INSTANCES,
            "reader": READER,
            "writer": WRITER,
            "library": library,
            "clock": SystemClock(),
            "image_max_bytes": LARGEST,
        },
    )
    launcher = msgspec.structs.replace(in_process({}), images=registry)
    async with open_runtime(Settings(database_url="memory://"), launcher=launcher) as runtime:
        await runtime.system.ref(SCHEDULER).ask(StopWaking())
        yield Shop(runtime, library)


async def refused(shop: Shop, command: Request[Any], error: type[RuntaraError], match: str) -> None:
    with pytest.raises(error, match=match):
        await shop.ask(command)


# Pushing --------------------------------------------------------------------------------------------------------------


async def test_what_was_pushed_can_be_seen_and_read(shop: Shop) -> None:
    options = ImageOptions(command=("sh",), memory_bytes=1 << 26)
    pushed = await shop.push(description="a report", metadata=b'{"team": 7}', options=options)

    seen = await shop.ask(GetImage(image="report"))
    read = await shop.ask(ReadImage(image="report", offset=2, limit=5))

    assert seen == pushed == await shop.ask(GetImage(image=pushed.image_id))
    assert (seen.name, seen.version, seen.current, seen.kind, seen.size) == (
        "report",
        1,
        True,
        "executable",
        len(SCRIPT),
    )
    assert (seen.description, seen.metadata, seen.options) == ("a report", b'{"team": 7}', options)
    assert (read.data, read.size) == (SCRIPT[2:7], len(SCRIPT))


async def test_a_push_in_parts_goes_on_where_it_was(shop: Shop) -> None:
    content = SCRIPT + bytes(5_000)
    command = push_of(content)

    offsets = [(await shop.ask(command)).offset]
    for begin in range(0, len(content), 1_000):
        part = WriteImage(digest=command.digest, offset=begin, data=content[begin : begin + 1_000])
        offsets.append((await shop.ask(part)).offset)
        if begin == 2_000:
            await crash_actor(shop.runtime.system, IMAGES)
    done = await shop.ask(command)

    assert offsets == [0, *range(1_000, len(content), 1_000), len(content)]
    assert done.image.digest == command.digest


async def test_a_part_that_comes_twice_is_taken_once_and_a_gap_is_refused(shop: Shop) -> None:
    command = push_of(SCRIPT)
    await shop.ask(command)
    first = WriteImage(digest=command.digest, offset=0, data=SCRIPT[:10])
    assert [(await shop.ask(first)).offset for _ in range(3)] == [10] * 3

    gap = WriteImage(digest=command.digest, offset=11, data=SCRIPT[11:])
    await refused(shop, gap, InvalidInput, "goes on at byte 10")
    overlap = WriteImage(digest=command.digest, offset=4, data=SCRIPT[4:])

    assert (await shop.ask(overlap)).offset == len(SCRIPT)
    assert (await shop.ask(command)).image is not None


async def test_parts_that_are_sent_together_are_written_in_their_order(shop: Shop) -> None:
    content = b"#!" + bytes(range(256)) * 100
    command = push_of(content)
    await shop.ask(command)

    line, answers = shop.runtime.dispatch.line(InstanceKey("acme", "one")), list[Outcome]()

    for begin in range(0, len(content), 1_000):
        part = WriteImage(digest=command.digest, offset=begin, data=content[begin : begin + 1_000])
        line.call_then(part, None, answers.append)
    done = await shop.ask(command)

    assert [answer.error for answer in answers] == [None] * 26
    assert done.image is not None


async def test_the_same_push_again_changes_nothing_and_sends_nothing(shop: Shop) -> None:
    first = await shop.push()

    again = await shop.ask(push_of(SCRIPT))

    assert again.image == first
    assert len((await shop.ask(ListImageVersions(image="report"))).images) == 1


async def test_a_name_that_is_pushed_again_keeps_its_id_and_gets_a_version_more(shop: Shop) -> None:
    first = await shop.push(b"#!1")
    second = await shop.push(b"#!2")

    versions = (await shop.ask(ListImageVersions(image="report"))).images

    assert (second.image_id, second.version) == (first.image_id, 2)
    assert [(info.version, info.current) for info in versions] == [(2, True), (1, False)]
    assert (await shop.ask(ReadImage(image="report@1"))).data == b"#!1"


async def test_content_that_is_not_what_was_announced_is_refused_and_can_be_sent_anew(shop: Shop) -> None:
    command = push_of(SCRIPT)
    await shop.ask(command)
    await shop.ask(WriteImage(digest=command.digest, offset=0, data=b"x" * len(SCRIPT)))

    await refused(shop, command, InvalidInput, "has the digest")
    await refused(shop, GetImage(image="report"), NotFound, "push it first")

    assert (await shop.push()).digest == command.digest


async def test_content_of_another_kind_is_refused(shop: Shop) -> None:
    with pytest.raises(InvalidInput, match="no image of the kind wasm"):
        await shop.push(kind="wasm")

    await refused(shop, GetImage(image="report"), NotFound, "push it first")


async def test_what_is_too_large_is_refused_before_and_while_it_comes(shop: Shop) -> None:
    await refused(shop, push_of(SCRIPT, size=LARGEST + 1), TooLarge, "RUNTARA_IMAGE_MAX_BYTES")
    lying = push_of(b"#!" + bytes(LARGEST), size=LARGEST)
    await shop.ask(lying)

    await refused(shop, WriteImage(digest=lying.digest, offset=0, data=b"#!" + bytes(LARGEST)), TooLarge, "smaller")


async def test_many_parts_of_one_push_are_refused_beyond_a_bound(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtara.actors.images.PARTS_MAX", 1)
    command = push_of(SCRIPT)
    await shop.ask(command)
    refusals = []

    async def write() -> None:
        try:
            await shop.ask(WriteImage(digest=command.digest, offset=0, data=SCRIPT))
        except Busy as refusal:
            refusals.append(str(refusal))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(write)

    assert refusals
    assert "1 parts of the image wait" in refusals[0]
    assert (await shop.ask(command)).image is not None


async def test_nobody_sees_touches_or_goes_on_with_the_images_of_others(shop: Shop) -> None:
    mine = await shop.push()
    begun = push_of(b"#!begun", "begun")
    await shop.ask(begun)
    await shop.ask(WriteImage(digest=begun.digest, offset=0, data=b"#!be"))
    other = Shop(shop.runtime, shop.library, "other")

    for named in ("report", mine.image_id):
        for command in (GetImage(image=named), ReadImage(image=named), ListImageVersions(image=named)):
            await refused(other, command, NotFound, "there is no image")
        await refused(other, UseImageVersion(image=f"{named}@1"), NotFound, "there is no image")
        await refused(other, DeleteImage(image=named), NotFound, "there is no image")
        await refused(other, StartInstance(program=named, image=True), NotFound, "there is no image")
    assert (await other.ask(ListImages())).images == ()
    assert (await other.ask(begun)).offset == 0
    assert (await other.ask(push_of(SCRIPT))).offset == 0  # to know its digest is not to have it
    assert (await shop.ask(begun)).offset == 4


# Choosing and deleting ------------------------------------------------------------------------------------------------


async def test_an_earlier_version_can_be_made_the_current_one(shop: Shop) -> None:
    for content in (b"#!1", b"#!2"):
        await shop.push(content)

    used = await shop.ask(UseImageVersion(image="report@1"))

    assert (used.version, used.current) == (1, True)
    assert (await shop.ask(GetImage(image="report"))).version == 1
    assert (await shop.push(b"#!3")).version == 3
    await refused(shop, UseImageVersion(image="report"), InvalidInput, "names no version")
    await refused(shop, UseImageVersion(image="report@9"), NotFound, "has no version 9")


async def test_images_are_listed_by_page_in_their_current_version(shop: Shop) -> None:
    for name in ("b", "a", "c"):
        await shop.push(f"#!{name}".encode(), name)
    await shop.push(b"#!again", "b")

    first = await shop.ask(ListImages(limit=2))
    second = await shop.ask(ListImages(limit=2, cursor=first.cursor))

    assert [(info.name, info.version) for info in first.images + second.images] == [("a", 1), ("b", 2), ("c", 1)]
    assert second.cursor is None


async def test_an_image_in_use_is_not_deleted_and_a_deleted_one_frees_its_name(shop: Shop) -> None:
    old = await shop.push()
    await shop.start()
    await refused(shop, DeleteImage(image="report"), InvalidState, "used by instances.*one")
    await shop.ask(SendSignal(kind="cancel", signal_id="c"))
    assert (await shop.ask(GetStatus())).status is Status.CANCELLED

    await shop.ask(DeleteImage(image="report"))
    new = await shop.push()

    assert new.image_id != old.image_id
    assert new.version == 1


# Starting -------------------------------------------------------------------------------------------------------------


async def test_an_instance_has_the_version_that_was_current_when_it_was_started(shop: Shop) -> None:
    info = await shop.push()

    started = await shop.start()
    await shop.push(b"#!new")

    assert started.created
    assert await shop.program_of() == ImageRef(info.image_id, 1)


async def test_the_same_start_is_one_instance_also_when_a_newer_version_was_pushed_in_between(shop: Shop) -> None:
    await shop.push(defaults=b'{"size": 1}')
    await shop.start(input=b'{"colour": "red"}')
    await shop.push(b"#!new", defaults=b'{"size": 2}')

    again = await shop.start(input=b'{"colour": "red"}')

    assert not again.created
    with pytest.raises(AlreadyExists):
        await shop.start(input=b'{"colour": "blue"}')
    with pytest.raises(AlreadyExists):
        await shop.start("report@2", input=b'{"colour": "red"}')


async def test_a_start_may_name_a_version(shop: Shop) -> None:
    await shop.push(b"#!1")
    info = await shop.push(b"#!2")

    await shop.start("report@1")

    assert await shop.program_of() == ImageRef(info.image_id, 1)
    with pytest.raises(NotFound, match="has no version 3"):
        await shop.start("report@3", "two")


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (None, b'{"size": 1, "colour": null}'),
        (b'{"size": 5}', {"size": 5, "colour": None}),
        (b'{"size": 1, "colour": 2, "more": 3}', b'{"size": 1, "colour": 2, "more": 3}'),
        (b"[1]", b"[1]"),
        (b"\xff", b"\xff"),
        (b"", b""),
    ],
)
async def test_an_input_gets_the_fields_that_it_lacks(shop: Shop, given: bytes | None, stored: Any) -> None:
    await shop.push(defaults=b'{"size": 1, "colour": null}')

    await shop.start(input=given)
    found = (await shop.ask(GetInput())).input

    assert (msgspec.json.decode(found) if isinstance(stored, dict) else found) == stored


async def test_a_start_gets_the_time_limit_of_its_image_unless_it_has_one(shop: Shop) -> None:
    await shop.push(options=ImageOptions(timeout_ms=5_000))

    await shop.start(instance_id="one")
    await shop.start(instance_id="two", timeout_ms=7_000)

    assert [(await shop.ask(GetStatus(), name)).timeout_ms for name in ("one", "two")] == [5_000, 7_000]


async def test_a_start_of_an_unknown_image_creates_nothing(shop: Shop) -> None:
    with pytest.raises(NotFound, match="there is no image 'missing'"):
        await shop.start("missing")

    await refused(shop, GetStatus(), InstanceNotFound, "no instance")


# What is refused before anybody is asked ------------------------------------------------------------------------------

PUSH = push_of(SCRIPT)
WRITE = WriteImage(digest=PUSH.digest, offset=0, data=b"x")
READ = ReadImage(image="report")
DIGESTS = ["", "a" * 63, "A" * 64, "g" * 64, "a" * 64 + "\n", None, 7, b"a" * 64]
NAMES = ["", "a b", ".a", "-a", "a/b", "ü", "a" * 129, "a\n", "a@", "a@0", "a@-1", "a@x", "a@1@2", "a@9999999999"]
NO_TEXT = [None, 7, b"report", "\ud800"]
NUMBERS = [-1, 1.5, "1", True, 2**53 + 1]
OBJECTS = [b"", b"[]", b"1", b"{", b'{"a":}', b'{"a": "\xff"}', b'{"a":' + b"[" * 10_000, "{}"]

BAD: list[tuple[Any, str, list[Any], str]] = [
    (PUSH, "name", [*NAMES, *NO_TEXT], "image"),
    (PUSH, "name", ["a@1", "0" * 32], "cannot be pushed"),
    (PUSH, "kind", ["", "exe", None, 7, ["folder"]], "image kind"),
    (PUSH, "digest", DIGESTS, "digest"),
    (PUSH, "size", [*NUMBERS, 0, None], "size"),
    (PUSH, "description", [*NO_TEXT, "a\0b"], "description"),
    (PUSH, "metadata", [*OBJECTS, None], "metadata"),
    (PUSH, "defaults", OBJECTS, "defaults"),
    (PUSH, "options", [None, {}, b"{}"], "options"),
    (WRITE, "digest", DIGESTS, "digest"),
    (WRITE, "offset", [*NUMBERS, None], "offset"),
    (WRITE, "data", [None, "x", bytearray(b"x")], "data"),
    (READ, "image", [*NAMES, *NO_TEXT], "image"),
    (READ, "offset", [*NUMBERS, None], "offset"),
    (READ, "limit", [*NUMBERS, 0, PART_MAX_BYTES + 1], "limit"),
    (ListImages(), "limit", [0, 1_001, "1", True], "limit"),
    (ListImages(), "cursor", [7, b"a"], "cursor"),
    (ListImageVersions(image="a"), "limit", [0, 1_001, None], "limit"),
    (ListImageVersions(image="a"), "cursor", [7, b"a"], "cursor"),
    *(
        (command(image="a"), "image", [*NAMES, *NO_TEXT], "image")
        for command in (GetImage, ListImageVersions, UseImageVersion, DeleteImage)
    ),
]

BAD_OPTIONS: list[tuple[str, list[Any]]] = [
    ("command", [None, "sh", ["sh"], ("",), ("", "-c"), ("a\0",), (7,), ("x",) * 257, ("x" * 70_000,)]),
    ("env", [None, (), {"": "x"}, {"1a": "x"}, {"RUNTARA_X": "1"}, {"a": 7}, {"a": "\0"}, {7: "a"}]),
    ("cpus", [0, -1, 4_097, float("nan"), float("inf"), "1", True]),
    ("memory_bytes", [*NUMBERS, 0]),
    ("pids", [*NUMBERS, 0, 2**22 + 1]),
    ("fuel", [*NUMBERS, 0]),
    ("network", ["", "bridge", 7, ["none"]]),
    ("timeout_ms", [*NUMBERS, 0]),
    ("max_concurrent", [*NUMBERS, 0, 1_000_001]),
]
CASES = [(replace(command, **{field: value}), said) for command, field, values, said in BAD for value in values] + [
    (replace(PUSH, options=replace(ImageOptions(), **{field: value})), field)
    for field, values in BAD_OPTIONS
    for value in values
]


def test_every_field_of_every_command_is_looked_at() -> None:
    fields = {(type(command), field) for command, field, *_ in BAD}

    assert {command for command, _ in fields} == set(IMAGE_CHECKS)
    for command in IMAGE_CHECKS:
        assert {field for kind, field in fields if kind is command} == {
            field.name for field in msgspec.structs.fields(command)
        }
    assert [field for field, _ in BAD_OPTIONS] == [*ImageOptions.__struct_fields__]


async def test_what_may_not_be_said_is_refused_and_the_field_is_named(shop: Shop) -> None:
    for command, said in CASES:
        with pytest.raises((InvalidInput, TooLarge), match=said):
            await shop.ask(command)

    assert (await shop.push()).version == 1


def test_what_may_not_be_said_is_refused_over_the_wire_too() -> None:
    taken = []

    for command, said in CASES:
        try:
            body = encode_frame(Ask(id=1, command=command))[4:]
        except InvalidInput:
            continue  # nobody can say this
        try:
            frame = decode_client_frame(body)
            assert isinstance(frame, Ask)
            IMAGE_CHECKS[type(command)](frame.command)
        except (InvalidInput, TooLarge) as refusal:
            assert re.search(rf"{said}|\$\.command", str(refusal)), (command, refusal)
        else:
            taken.append(frame.command)

    assert taken == [
        PUSH,
        WRITE,
        replace(PUSH, options=ImageOptions(command=("sh",))),
    ]  # the wire knows one map and list


@pytest.mark.parametrize(
    "command",
    [
        replace(PUSH, metadata=b'{"a":"' + b"x" * TEXT_MAX_BYTES + b'"}'),
        replace(PUSH, defaults=b'{"a":"' + b"x" * DEFAULTS_MAX_BYTES + b'"}'),
        replace(PUSH, description="x" * (TEXT_MAX_BYTES + 1)),
        replace(WRITE, data=b""),
        replace(WRITE, data=bytes(PART_MAX_BYTES + 1)),
    ],
    ids=["metadata", "defaults", "description", "no data", "data"],
)
async def test_what_is_too_long_is_refused(command: Request[Any], shop: Shop) -> None:
    await refused(shop, command, TooLarge, "bytes")


async def test_a_deep_input_is_taken_as_it_is(shop: Shop) -> None:
    await shop.push(defaults=b'{"size": 1}')
    deep = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    await shop.start(input=deep)

    assert (await shop.ask(GetInput())).input == deep


AMOUNTS = st.none() | st.integers(1, 2**53)
OPTIONS = st.builds(
    ImageOptions,
    command=st.lists(st.text()).map(tuple),
    env=st.dictionaries(st.text(), st.text()),
    cpus=st.none() | st.floats(0, 4_096, exclude_min=True),
    memory_bytes=AMOUNTS,
    pids=AMOUNTS,
    fuel=AMOUNTS,
    network=st.none() | st.sampled_from(get_args(Network)),
    timeout_ms=AMOUNTS,
    max_concurrent=AMOUNTS,
)


@settings(max_examples=50)
@given(OPTIONS)
def test_options_come_back_from_the_store_as_they_were(options: ImageOptions) -> None:
    stored = options_json(options)

    assert options_of(image_version(options=stored)) == options
    assert options_json(options_of(image_version(options=stored))) == stored
    assert options_json(ImageOptions()) == b"{}"


# Limits ---------------------------------------------------------------------------------------------------------------


async def refusals_of(shop: Shop, commands: list[Request[Any]]) -> list[str]:
    """What is said of those that are too many, where all are asked for at once."""
    refusals = []

    async def ask(command: Request[Any]) -> None:
        try:
            await shop.ask(command)
        except Busy as refusal:
            refusals.append(str(refusal))

    async with trio.open_nursery() as nursery:
        for command in commands:
            nursery.start_soon(ask, command)
    return refusals


async def test_more_than_so_many_calls_are_refused_and_then_answered_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtara.actors.images.CALLS_MAX", 3)
    await shop.push()

    refusals = await refusals_of(shop, [ReadImage(image="report")] * 10)

    assert "3 calls about images are being answered, the bound: try again later" in refusals
    assert (await shop.ask(GetImage(image="report"))).version == 1


async def test_more_than_so_many_pushes_are_refused_and_then_begun(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtara.actors.images.UPLOADS_MAX", 2)
    pushes = [push_of(b"#!%d" % number, f"report-{number}") for number in range(6)]

    refusals = await refusals_of(shop, [*pushes])

    assert "2 images are being pushed, the bound: try again later" in refusals
    assert [(await shop.ask(push)).offset for push in pushes] == [0] * 6
    registry: Any = shop.runtime.system.ref(IMAGES).slot.actor
    assert registry.describe() == {"under_way": 0, "pushes": 0, "pushed": 0, "fetches": 0}
