"""What is said about images: commands to the registry, and its replies.

Frozen and tagged like all messages; the package offers them. An image is named in a command by its name
or its id, and one of its versions by ``@`` and a number behind that: ``report``, ``report@3``.
"""

import msgspec

from runtara.messages._requests import Request
from runtara.records import ImageKind, ImageOptions

__all__ = [
    "DeleteImage",
    "GetImage",
    "ImageDeleted",
    "ImageInfo",
    "ImagePushed",
    "ImageRead",
    "ImageWritten",
    "ImagesFound",
    "ListImageVersions",
    "ListImages",
    "PushImage",
    "ReadImage",
    "UseImageVersion",
    "WriteImage",
]


class ImageInfo(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """One version of an image."""

    image_id: str
    name: str
    version: int
    current: bool
    """Whether starts use it that name no version."""
    kind: ImageKind
    digest: str
    """SHA-256 of what was pushed, hexadecimal."""
    size: int
    """In bytes."""
    pushed_at: int
    description: str
    metadata: bytes
    """A JSON object of whoever pushed it."""
    defaults: bytes | None
    """A JSON object: an input that is one too gets the fields that it lacks."""
    options: ImageOptions


class ImagePushed(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """How far a push has come."""

    offset: int
    """How many bytes have arrived; go on from there with `WriteImage`, then push again."""
    image: ImageInfo | None = None
    """The version that can be started now, once everything has arrived and was found to be what it should be."""


class ImageWritten(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """A part of what is pushed has arrived."""

    offset: int
    """How many bytes there are now."""


class ImageRead(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """A part of what was pushed once."""

    data: bytes
    size: int
    """Of all of it."""


class ImagesFound(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """A page of images, or of the versions of one."""

    images: tuple[ImageInfo, ...]
    cursor: str | None = None
    """Where the next page begins; None on the last one."""


class ImageDeleted(msgspec.Struct, frozen=True, gc=False, tag=True, kw_only=True):
    """The name is free again. What was pushed goes when nothing uses it any more."""

    image_id: str


class PushImage(msgspec.Struct, Request[ImagePushed], frozen=True, gc=False, tag=True, kw_only=True):
    """Push a program under a name: begin, go on after an interruption, or finish, depending on what has arrived.

    The same push again changes nothing. A name that is there already gets one version more.
    """

    name: str
    kind: ImageKind
    digest: str
    """SHA-256 of the file, 64 hexadecimal digits."""
    size: int
    description: str = ""
    metadata: bytes = b"{}"
    """A JSON object; never looked into."""
    defaults: bytes | None = None
    """A JSON object: an input that is one too gets the fields that it lacks."""
    options: ImageOptions = ImageOptions()


class WriteImage(msgspec.Struct, Request[ImageWritten], frozen=True, gc=False, tag=True, kw_only=True):
    """Bring a part of what is being pushed. What has arrived before is skipped."""

    digest: str
    offset: int
    data: bytes


class ReadImage(msgspec.Struct, Request[ImageRead], frozen=True, gc=False, tag=True, kw_only=True):
    """Read a part of what was pushed."""

    image: str
    offset: int = 0
    limit: int = 1024 * 1024


class GetImage(msgspec.Struct, Request[ImageInfo], frozen=True, gc=False, tag=True, kw_only=True):
    """Ask for an image, in its current version unless another one is named."""

    image: str


class ListImages(msgspec.Struct, Request[ImagesFound], frozen=True, gc=False, tag=True, kw_only=True):
    """Page through a tenant's images by name, each in its current version."""

    limit: int = 100
    cursor: str | None = None


class ListImageVersions(msgspec.Struct, Request[ImagesFound], frozen=True, gc=False, tag=True, kw_only=True):
    """Page through the versions of an image, the newest first."""

    image: str
    limit: int = 100
    cursor: str | None = None


class UseImageVersion(msgspec.Struct, Request[ImageInfo], frozen=True, gc=False, tag=True, kw_only=True):
    """Make another version of an image the current one: ``report@2`` rolls back to the second."""

    image: str


class DeleteImage(msgspec.Struct, Request[ImageDeleted], frozen=True, gc=False, tag=True, kw_only=True):
    """Delete an image with all its versions, unless an instance that is not finished uses one of them."""

    image: str
