"""What an image was saved as: finds the image in it, verifies it, and lays it out anew for the unpacking.

The archive is unpacked first, as one that nobody vouches for. What the new layout holds was written here, but for the
layers; and those were verified, by their digests packed and unpacked, and every member of them was judged.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from runtara.errors import InvalidInput
from runtara.images._documents import (
    DOCUMENT_MAX_BYTES,
    INDEXES,
    LAYERS_MAX,
    Descriptor,
    DockerImage,
    ImageConfig,
    Index,
    Manifest,
    check_manifest,
    choose,
    decode,
    hex_digest,
)
from runtara.images._limits import Account
from runtara.images._members import Ledger, Place, Rules, check_target, place_of, shown
from runtara.images._source import Source, compression_of
from runtara.images._tar import TarReader
from runtara.images._tree import Tree

__all__ = ["Bundle", "Found", "Layer", "lay_out"]

_CHUNK: Final = 1024 * 1024
_LINKS_MAX: Final = 8
"""Links that lead from one to the next."""
_INDEXES_MAX: Final = 4
"""Indexes inside each other."""


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer as it was saved."""

    place: Place
    digest: str
    """Of the file, packed or not, as hexadecimal digits."""
    size: int


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The image of a bundle: its configuration, and where its layers are, from the lowest to the highest."""

    config: ImageConfig
    layers: tuple[Layer, ...]


class Bundle:
    """An unpacked archive that an image was saved as. Whatever it raises is `InvalidInput`, or an `OSError`."""

    def __init__(self, tree: Tree, account: Account) -> None:
        self._tree = tree
        self._account = account

    def find(self) -> Found:
        """Return the one image for this machine, its documents and the packed layers verified."""
        if self._exists((b"index.json",)) and self._exists((b"oci-layout",)):
            return self._find_oci()
        if self._exists((b"manifest.json",)):
            return self._find_docker()
        raise InvalidInput(
            "the archive is no image of a container: save one with docker save, podman save, or skopeo copy to "
            "oci-archive:"
        )

    def check_layer(self, layer: Layer, diff_id: str) -> bool:
        """Judge every member of a layer and its digest once it is decompressed; return whether it is packed."""
        with self._tree.open_file(self._resolve(layer.place)) as file:
            packed = compression_of(os.pread(file, 8, 0))
            if packed not in (None, "gzip"):
                raise InvalidInput(f"{_path(layer.place)} of the image is packed with {packed}: pack it with gzip")
            with os.fdopen(os.dup(file), "rb", buffering=0) as content:
                source = Source(content, self._account.limits)
                ledger = Ledger(Rules.LAYER, self._account)
                for member in TarReader(source, needs_end=False):
                    ledger.admit(member)
        _compare(f"the layer {_path(layer.place)}, unpacked,", source.sha256, hex_digest(diff_id))
        return packed is not None

    def give(self, layer: Layer, path: Path) -> None:
        """Give a layer a second name, outside of the bundle."""
        self._tree.give(self._resolve(layer.place), path)

    def _find_oci(self) -> Found:
        descriptor = choose(decode(self._document((b"index.json",)), Index, "the index"))
        for _ in range(_INDEXES_MAX):
            if descriptor.media_type not in INDEXES:
                break
            descriptor = choose(decode(self._verified(descriptor, "an index"), Index, "an index"))
        manifest = decode(self._verified(descriptor, "the manifest"), Manifest, "the manifest")
        check_manifest(manifest)
        config = decode(self._verified(manifest.config, "the configuration"), ImageConfig, "the configuration")
        return _found(config, tuple(map(self._verified_layer, manifest.layers)))

    def _find_docker(self) -> Found:
        images = decode(self._document((b"manifest.json",)), tuple[DockerImage, ...], "the manifest")
        if len(images) != 1:
            raise InvalidInput(f"the archive holds {len(images)} images: save one of them alone")
        place = self._place(images[0].config)
        content = self._document(place)
        name = place[-1].decode(errors="replace").removesuffix(".json")
        if len(name) == 64:
            _compare("the configuration", hashlib.sha256(content).hexdigest(), name)
        config = decode(content, ImageConfig, "the configuration")
        return _found(config, tuple(self._measure(self._place(path)) for path in images[0].layers or ()))

    def _place(self, path: str) -> Place:
        place = place_of(path.encode(errors="surrogatepass"), Rules.BUNDLE, self._account)
        if not place:
            raise InvalidInput(f"the image's manifest names the file {path[:200]!a}: save the image again")
        return place

    def _verified(self, descriptor: Descriptor, what: str) -> bytes:
        content = self._document(_blob(descriptor))
        if len(content) != descriptor.size:
            raise InvalidInput(f"{what} of the image has {len(content)} bytes and should have {descriptor.size}")
        _compare(what, hashlib.sha256(content).hexdigest(), hex_digest(descriptor.digest))
        return content

    def _verified_layer(self, descriptor: Descriptor) -> Layer:
        layer = self._measure(_blob(descriptor))
        if layer.size != descriptor.size:
            raise InvalidInput(
                f"{_path(layer.place)} of the image has {layer.size} bytes and should have {descriptor.size}"
            )
        _compare(_path(layer.place), layer.digest, hex_digest(descriptor.digest))
        return layer

    def _measure(self, place: Place) -> Layer:
        found = hashlib.sha256()
        size = 0
        with self._tree.open_file(self._resolve(place)) as file:
            for chunk in _chunks(file):
                found.update(chunk)
                size += len(chunk)
        return Layer(place=place, digest=found.hexdigest(), size=size)

    def _document(self, place: Place) -> bytes:
        with self._tree.open_file(self._resolve(place)) as file:
            size = os.fstat(file).st_size
            if size > DOCUMENT_MAX_BYTES:
                raise InvalidInput(
                    f"{_path(place)} of the image has {size} bytes: at most {DOCUMENT_MAX_BYTES} are allowed"
                )
            return b"".join(_chunks(file))

    def _exists(self, place: Place) -> bool:
        try:
            self._tree.link_target(place)
        except FileNotFoundError:
            return False
        return True

    def _resolve(self, place: Place) -> Place:
        """Return the file that a place is, or that it links to inside the bundle."""
        reached = place
        for _ in range(_LINKS_MAX):
            try:
                target = self._tree.link_target(reached) if reached else None
            except (FileNotFoundError, NotADirectoryError):
                raise InvalidInput(f"{_path(place)} of the image is missing: save the image again") from None
            if target is None:
                return reached
            reached = check_target(reached, target, self._account, Rules.BUNDLE)
        raise InvalidInput(f"{_path(place)} of the image is a link that leads nowhere: save the image again")


def lay_out(bundle: Bundle, found: Found, folder: Path, tag: str) -> None:
    """Write an image as a layout of its own, in the new folder `folder`, under a tag. Judges its layers."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers = []
    for layer, diff_id in zip(found.layers, found.config.rootfs.diff_ids or (), strict=True):
        kind = "application/vnd.oci.image.layer.v1.tar" + ("+gzip" if bundle.check_layer(layer, diff_id) else "")
        layers.append({"mediaType": kind, "digest": f"sha256:{layer.digest}", "size": layer.size})
        if not (blobs / layer.digest).exists():  # one that is empty may occur twice
            bundle.give(layer, blobs / layer.digest)
    config: dict[str, object] = {
        "architecture": found.config.architecture,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": found.config.rootfs.diff_ids or ()},
        "config": {},
    }
    described = _write_document(blobs, "application/vnd.oci.image.config.v1+json", config)
    manifest: dict[str, object] = {"schemaVersion": 2, "config": described, "layers": layers}
    described = _write_document(blobs, "application/vnd.oci.image.manifest.v1+json", manifest)
    described["annotations"] = {"org.opencontainers.image.ref.name": tag}
    index = {"schemaVersion": 2, "manifests": [described]}
    (folder / "index.json").write_bytes(msgspec.json.encode(index))
    (folder / "oci-layout").write_bytes(msgspec.json.encode({"imageLayoutVersion": "1.0.0"}))


def _write_document(blobs: Path, media_type: str, document: dict[str, object]) -> dict[str, object]:
    content = msgspec.json.encode(document)
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _found(config: ImageConfig, layers: tuple[Layer, ...]) -> Found:
    known = len(config.rootfs.diff_ids or ())
    if len(layers) != known or known > LAYERS_MAX:
        raise InvalidInput(
            f"the image has {len(layers)} layers, and its configuration knows {known} (at most {LAYERS_MAX} are "
            "allowed): save the image again"
        )
    return Found(config=config, layers=layers)


def _blob(descriptor: Descriptor) -> Place:
    return (b"blobs", b"sha256", hex_digest(descriptor.digest).encode())


def _compare(what: str, found: str, expected: str) -> None:
    if found != expected:
        raise InvalidInput(f"{what} of the image has the digest {found} and should have {expected}: save it again")


def _chunks(file: int) -> Iterator[bytes]:
    os.lseek(file, 0, os.SEEK_SET)
    while chunk := os.read(file, _CHUNK):
        yield chunk


def _path(place: Place) -> str:
    return shown(b"/".join(place))
