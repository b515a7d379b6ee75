"""The documents of an image of a container, as far as they are needed, and what they must say.

Both forms are read: the layout of the Open Container Initiative (index, manifest, configuration), and what ``docker
save`` wrote before it knew that (manifest.json). Nothing here touches a disk.
"""

import platform
import re
from typing import Final, TypeVar

import msgspec

from runtara.decoders import decode_json
from runtara.errors import InvalidInput

__all__ = [
    "DOCUMENT_MAX_BYTES",
    "INDEXES",
    "LAYERS_MAX",
    "ContainerConfig",
    "Descriptor",
    "DockerImage",
    "ImageConfig",
    "Index",
    "Manifest",
    "check_manifest",
    "choose",
    "container_config",
    "decode",
    "hex_digest",
    "machine",
]

D = TypeVar("D")

DOCUMENT_MAX_BYTES: Final = 4 * 1024 * 1024
"""Largest document of an image."""
LAYERS_MAX: Final = 512
"""Most layers of an image."""

INDEXES: Final = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}
_MANIFESTS: Final = {
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
}
_CONFIGS: Final = {
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
}
_LAYERS: Final = {
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
}
"""How a layer may be packed; umoci knows no other ways."""

_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)
_VARIABLE: Final = re.compile(r"[^=\0]+=[^\0]*", re.DOTALL)
_MACHINES: Final = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
    "i386": "386",
}
"""What the system calls a machine, and what images call it, where these differ."""


class ContainerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What an image says of how it is run."""

    command: tuple[str, ...] = ()
    """Its entry point and the arguments of that."""
    env: dict[str, str] = {}
    working_dir: str = "/"
    user: str = ""
    """Name or number, perhaps with a group behind a colon; empty for root."""


class Platform(msgspec.Struct, frozen=True):
    """What a manifest is for."""

    os: str = ""
    architecture: str = ""


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """Names a document or a layer, so that it can be verified."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None


class Index(msgspec.Struct, frozen=True, rename="camel"):
    """Several manifests, or indexes of such."""

    manifests: tuple[Descriptor, ...]
    media_type: str = "application/vnd.oci.image.index.v1+json"


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """One image: its configuration, and its layers from the lowest to the highest."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = "application/vnd.oci.image.manifest.v1+json"


class Launch(msgspec.Struct, frozen=True, rename="pascal"):
    """How an image is run, as its configuration says."""

    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] | None = None
    working_dir: str | None = None
    user: str | None = None


class RootFs(msgspec.Struct, frozen=True):
    """The digests of the layers once they are decompressed."""

    diff_ids: tuple[str, ...] | None = None


class ImageConfig(msgspec.Struct, frozen=True):
    """The configuration of an image."""

    architecture: str
    os: str
    rootfs: RootFs
    config: Launch | None = None


class DockerImage(msgspec.Struct, frozen=True, rename="pascal"):
    """One entry of manifest.json: the paths of what belongs to an image."""

    config: str
    layers: tuple[str, ...] | None = None


def decode(content: bytes, kind: type[D], what: str) -> D:
    """Return a document. Raises `InvalidInput` where it is none."""
    try:
        return decode_json(content, kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInput(f"{what} of the image cannot be read: {error}; save the image again") from None


def hex_digest(digest: str) -> str:
    """Return the digits of a digest. Raises `InvalidInput` for what is no SHA-256."""
    found = _DIGEST.fullmatch(digest)
    if found is None:
        raise InvalidInput(f"the image has the digest {digest[:200]!a}, which is no SHA-256: save the image again")
    return found[1]


def machine() -> str:
    """Return what images call the architecture of this machine."""
    name = platform.machine().lower()
    return _MACHINES.get(name, name)


def choose(index: Index) -> Descriptor:
    """Return what an index has for this machine. Raises `InvalidInput` where that is not exactly one thing."""
    known = [found for found in index.manifests if found.media_type in _MANIFESTS | INDEXES]
    fitting = {found.digest: found for found in known if _fits(found)}
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    if fitting:
        raise InvalidInput(f"the archive holds {len(fitting)} images for this machine: save one of them alone")
    there = sorted({f"{found.platform.os}/{found.platform.architecture}" for found in known if found.platform})
    raise InvalidInput(
        f"the archive holds no image for linux/{machine()}, but {', '.join(there)[:500] or 'nothing'}: "
        "save the one for this machine"
    )


def _fits(found: Descriptor) -> bool:
    wanted = found.platform
    return wanted is None or (wanted.os, wanted.architecture) == ("linux", machine())


def check_manifest(manifest: Manifest) -> None:
    """See to it that a manifest is of an image that can be unpacked. Raises `InvalidInput`."""
    if manifest.media_type not in _MANIFESTS:
        raise InvalidInput(
            f"the image's manifest is of the type {manifest.media_type[:200]!a}: save it as an OCI image"
        )
    if manifest.config.media_type not in _CONFIGS:
        raise InvalidInput(f"the archive is no image of a container, but {manifest.config.media_type[:200]!a}")
    if len(manifest.layers) > LAYERS_MAX:
        raise InvalidInput(f"the image has {len(manifest.layers)} layers: at most {LAYERS_MAX} are allowed")
    for layer in manifest.layers:
        if layer.media_type not in _LAYERS:
            raise InvalidInput(f"the image has a layer of the type {layer.media_type[:200]!a}: pack it with gzip")


def container_config(config: ImageConfig) -> ContainerConfig:
    """Return how an image is run. Raises `InvalidInput` where it is not for this machine, or malformed."""
    if (config.os, config.architecture) != ("linux", machine()):
        raise InvalidInput(
            f"the image is for {config.os[:50]}/{config.architecture[:50]}, and this machine is linux/{machine()}: "
            "save the one for this machine"
        )
    launch = config.config or Launch()
    variables = launch.env or ()
    if odd := next((one for one in variables if not _VARIABLE.fullmatch(one)), None):
        raise InvalidInput(f"the image has the variable {odd[:100]!a}, which is no name=value: build it again")
    command = (*(launch.entrypoint or ()), *(launch.cmd or ()))
    working_dir = launch.working_dir or "/"
    if any("\0" in text for text in (*command, working_dir, launch.user or "")):
        raise InvalidInput("the image's command, folder or user has a NUL character: build it again")
    return ContainerConfig(
        command=command,
        env=dict(one.split("=", 1) for one in variables),
        working_dir=working_dir,
        user=launch.user or "",
    )
