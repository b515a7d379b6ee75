"""Pushing an image in one request: its bytes are handed to the registry as they come, and never held as a whole.

What has arrived of an interrupted upload stays, as with every push: the same request again skips it, and the registry
finds out at the end whether everything is what its SHA-256 says.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from runtara import messages
from runtara.decoders import convert, json_decoder
from runtara.errors import InvalidInput, NotFound, TooLarge
from runtara.records import ImageKind, ImageOptions
from runtara.transport.frames import Ask
from runtara.transport.http._answers import Asked, Client
from runtara.transport.http._exchange import Answer, Body, Exchange
from runtara.transport.http._multipart import FIELD_MAX_BYTES, Form, boundary_of
from runtara.transport.http._operations import decode_query

__all__ = ["FORM_FIELDS", "PART_BYTES", "Upload", "receive_upload"]

PART_BYTES: Final = 1024 * 1024
"""How much is handed to the registry at once."""

_FORM_MAX_BYTES: Final = 2 * FIELD_MAX_BYTES
"""What a form may hold beside its file."""

_FINISH_TIMEOUT_MS: Final = 600_000
"""How long the registry may take over what has arrived: it is written to stable storage, and looked into."""

_RUNNER_TYPES: Final = {"native": "executable", "oci": "oci", "wasm": "wasm"}
"""What older clients call the kind of an image."""

_FILE: Final = "binary"


class Upload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is said of an image beside its bytes, in the query of an upload."""

    name: str
    kind: ImageKind
    digest: str
    """SHA-256 of the file, 64 hexadecimal digits."""
    description: str = ""
    metadata: str = "{}"
    """A JSON object; never looked into."""
    defaults: str | None = None
    """A JSON object: an input that is one too gets the fields that it lacks."""
    options: str = "{}"
    """How its programs are run, as a JSON object."""


FORM_FIELDS: Final = {
    "tenant_id": None,
    "runner_type": "kind",
    "sha256": "digest",
}
"""What a form may call otherwise; a tenant must be that of the credential."""

_options: Final = json_decoder(ImageOptions)


async def receive_upload(client: Client, exchange: Exchange, query: bytes, most: int) -> Answer:
    """Take an image of at most so many bytes in, and return the answer. Raises what it is refused with."""
    boundary = boundary_of(exchange.headers.get(b"content-type", b""))
    _check_size(exchange, most if boundary is None else most + _FORM_MAX_BYTES)
    body = Body(exchange.receive)
    source: Body | _FromForm = body
    if boundary is None:
        upload = decode_query(query, Upload)
    else:
        source = form = _FromForm(body, Form(boundary, _FILE))
        upload = _of_form(await form.fields(), client.caller.key.tenant_id)
    announced = None if boundary is not None else _length_of(exchange)
    push = _push(upload, announced or await _size_of(client, upload) or most)
    begun: messages.ImagePushed = await client.ask(Ask(id=1, command=push))
    if begun.image is not None:
        while await source.read():
            pass  # it is here already; a client that is still sending reads no answer
        return _answer(200, begun.image)
    size = await _Writing(client, push.digest, begun.offset).copy(source)
    finish = Ask(id=1, command=msgspec.structs.replace(push, size=max(size, 1)), timeout_ms=_FINISH_TIMEOUT_MS)
    done: messages.ImagePushed = await client.ask(finish)
    if done.image is None:
        raise InvalidInput(f"the file has {size} bytes, and {done.offset} have arrived: send it again")
    return _answer(201, done.image)


def _push(upload: Upload, size: int) -> messages.PushImage:
    try:
        options = _options.decode(upload.options)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidInput(f"options cannot be read: {error}") from None
    return messages.PushImage(
        name=upload.name,
        kind=upload.kind,
        digest=upload.digest.lower(),
        size=size,  # or the most that it may be, where it is not known yet
        description=upload.description,
        metadata=upload.metadata.encode(),
        defaults=None if upload.defaults is None else upload.defaults.encode(),
        options=options,
    )


def _check_size(exchange: Exchange, most: int) -> None:
    """Raise `TooLarge` for what is larger than any image may be, before any of it is read."""
    length = _length_of(exchange)
    if length is not None and length > most:
        raise TooLarge(f"the upload has {length} bytes, more than RUNTARA_IMAGE_MAX_BYTES: leave something out")


def _length_of(exchange: Exchange) -> int | None:
    length = exchange.headers.get(b"content-length", b"")
    return int(length) if length.isdigit() else None


async def _size_of(client: Client, upload: Upload) -> int | None:
    """Return the size of an image where it is there already: how many bytes will come is not known otherwise."""
    with suppress(NotFound):
        found: messages.ImageInfo = await client.ask(Ask(id=1, command=messages.GetImage(image=upload.name)))
        return found.size if found.digest == upload.digest.lower() else None
    return None


def _of_form(fields: Mapping[str, str], own: str) -> Upload:
    given = {FORM_FIELDS.get(name, name): value for name, value in fields.items()}
    tenant_id = given.pop(None, None)
    if tenant_id not in (None, own):
        raise NotFound(f"there is no tenant {tenant_id!a:.140}, or it is not yours")
    if "digest" not in given:
        raise InvalidInput("the form has no sha256 before the file: send it, so that the file can be checked")
    given["kind"] = _RUNNER_TYPES.get(given.get("kind", "oci"), given.get("kind", "oci"))
    try:
        return convert(given, Upload)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"the form does not fit: {error}") from None


def _answer(status: int, image: messages.ImageInfo) -> Answer:
    place = f"/api/v1/images/{image.image_id}".encode()
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store"), (b"location", place)]
    return Answer(status, msgspec.json.encode(image), headers)


# Where the bytes come from, and go ------------------------------------------------------------------------------------


class _FromForm:
    """The file is the last field of a form."""

    def __init__(self, body: Body, form: Form) -> None:
        self._body = body
        self._form = form
        self._ahead: list[bytes] = []

    async def fields(self) -> Mapping[str, str]:
        """Return the fields before the file. Raises `InvalidInput`."""
        while not self._form.has_file:
            self._ahead += await self._next()
        return self._form.fields

    async def read(self) -> bytes:
        """Return some of the bytes of the file, or nothing at their end."""
        while not self._ahead and not self._body.is_over:
            self._ahead = await self._next()
        return self._ahead.pop(0) if self._ahead else b""

    async def _next(self) -> list[bytes]:
        piece = await self._body.read()
        found = self._form.feed(piece) if piece else []
        if self._body.is_over:
            self._form.close()
        return found


class _Writing:
    """Hands bytes to the registry, a part at a time; while it writes one, the next one is read."""

    def __init__(self, client: Client, digest: str, skip: int) -> None:
        self._client = client
        self._digest = digest
        self._skip = skip
        self._under_way: Asked | None = None

    async def copy(self, source: "Body | _FromForm") -> int:
        """Hand over everything that the registry does not have yet; return how many bytes there were."""
        offset, held, size = 0, list[bytes](), 0
        while piece := await source.read():
            held.append(piece)
            size += len(piece)
            if size >= PART_BYTES:
                await self._write(offset, held)
                offset, held, size = offset + size, [], 0
        if size:
            await self._write(offset, held)
        await self._settle()
        return offset + size

    async def _write(self, offset: int, held: list[bytes]) -> None:
        data = b"".join(held)
        missing = max(self._skip - offset, 0)
        if missing >= len(data):
            return
        await self._settle()
        command = messages.WriteImage(digest=self._digest, offset=offset + missing, data=data[missing:])
        self._under_way = Asked(self._client, Ask(id=1, command=command))

    async def _settle(self) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            written: Any = await under_way.reply()
            self._skip = max(self._skip, written.offset)
