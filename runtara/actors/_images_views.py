"""What an image is called in a question, and what is told of it."""

from typing import Final

import msgspec

from runtara.actors._ref import Ref
from runtara.actors.storage import Query
from runtara.decoders import json_decoder
from runtara.errors import NotFound
from runtara.ids import ImageRef
from runtara.messages import ImageInfo
from runtara.records import Image, ImageOptions, ImageVersion

__all__ = ["find_image", "info_of", "options_json", "options_of", "version_asked"]

_OPTIONS: Final = json_decoder(ImageOptions)
_NO_OPTIONS: Final = ImageOptions()


async def find_image(reader: Ref, tenant_id: str, named: str) -> tuple[Image, ImageVersion]:
    """Return the image of that name or id, in its current version or the one behind the ``@``. Raises `NotFound`."""
    name, _, _ = named.partition("@")
    image: Image | None = await reader.ask(Query("read_image", (tenant_id, name)))
    if image is None:
        raise NotFound(f"there is no image {name!r}: push it first, or look at `runtara image list`")
    number = version_asked(named) or image.version
    version: ImageVersion | None = await reader.ask(
        Query("read_image_version", (tenant_id, ImageRef(image.image_id, number)))
    )
    if version is None:
        raise NotFound(f"image {name!r} has no version {number}: look at `runtara image versions {name}`")
    return image, version


def version_asked(named: str) -> int | None:
    """Return the version that the name of an image asks for, if it does; the name was checked."""
    _, at, number = named.partition("@")
    return int(number) if at else None


def info_of(image: Image, version: ImageVersion) -> ImageInfo:
    """Return what is told of a version of an image."""
    return ImageInfo(
        image_id=image.image_id,
        name=image.name,
        version=version.version,
        current=version.version == image.version,
        kind=version.kind,
        digest=version.digest,
        size=version.size,
        pushed_at=version.created_at,
        description=version.description,
        metadata=version.metadata,
        defaults=version.defaults,
        options=options_of(version),
    )


def options_of(version: ImageVersion) -> ImageOptions:
    """Return how the programs of an image version are run."""
    return _OPTIONS.decode(version.options)


def options_json(options: ImageOptions) -> bytes:
    """Return options as the store keeps them: what is set, in an order that never varies."""
    given = {
        field.name: getattr(options, field.name)
        for field in msgspec.structs.fields(options)
        if getattr(options, field.name) != getattr(_NO_OPTIONS, field.name)
    }
    return msgspec.json.encode(given, order="sorted")
