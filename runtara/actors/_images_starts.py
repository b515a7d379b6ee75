"""How an instance of an image is started: which version it gets, and with what input.

An instance keeps the version that it was started with. So a start that is sent again, after a newer one was pushed, is
compared with the version that the instance has, unless it names one.
"""

from collections.abc import Callable
from typing import Any, cast

import msgspec
from msgspec.structs import replace

from runtara.actors._cell import CellRef
from runtara.actors._images_views import find_image, options_of, version_asked
from runtara.actors._ref import Ref
from runtara.decoders import decode_json
from runtara.errors import AlreadyExists
from runtara.ids import ImageRef, InstanceKey
from runtara.messages import Call, GetStatus, InstanceInfo, InstanceStarted, StartInstance
from runtara.records import Image, ImageVersion

__all__ = ["Starts", "with_defaults"]


class Starts:
    """Starts instances of images. `cell` returns the way to an instance."""

    def __init__(self, reader: Ref, cell: Callable[[InstanceKey], CellRef[Any]]) -> None:
        self._reader = reader
        self._cell = cell

    async def start(self, call: Call) -> InstanceStarted:
        """Create an instance of an image, or find out that the same start has done so.

        Raises `NotFound` for an unknown image, and what the instance refuses with.
        """
        command = cast("StartInstance", call.command)
        image, version = await find_image(self._reader, call.key.tenant_id, command.program)
        cell = self._cell(call.key)
        try:
            return await _ask(cell, call, image, version)
        except AlreadyExists:
            if version_asked(command.program) is not None:
                raise
            had = await self._version_of(cell, call, image)
            if had is None or had.version == version.version:
                raise
        return await _ask(cell, call, image, had)

    async def _version_of(self, cell: CellRef[Any], call: Call, image: Image) -> ImageVersion | None:
        """Return which version of the image an instance has, if it is one of it."""
        info: InstanceInfo = await cell.ask(replace(call, command=GetStatus()))
        ref = ImageRef.of_program(info.program)
        if ref is None or ref.image_id != image.image_id:
            return None
        _, version = await find_image(self._reader, call.key.tenant_id, f"{image.image_id}@{ref.version}")
        return version


async def _ask(cell: CellRef[Any], call: Call, image: Image, version: ImageVersion) -> InstanceStarted:
    command, options = cast("StartInstance", call.command), options_of(version)
    resolved = replace(
        command,
        program=ImageRef(image.image_id, version.version).program,
        input=with_defaults(command.input, version.defaults),
        timeout_ms=options.timeout_ms if command.timeout_ms is None else command.timeout_ms,
    )
    started: InstanceStarted = await cell.ask(replace(call, command=resolved))
    return started


def with_defaults(given: bytes | None, defaults: bytes | None) -> bytes | None:
    """Return an input with the fields that it lacks; one that is no JSON object stays as it is."""
    if defaults is None:
        return given
    if given is None:
        return defaults
    try:
        fields = decode_json(given, dict[str, msgspec.Raw])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return given
    missing = decode_json(defaults, dict[str, msgspec.Raw])
    added = {name: value for name, value in missing.items() if name not in fields}
    return msgspec.json.encode({**fields, **added}) if added else given
