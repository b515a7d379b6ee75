"""The documents of an image say what is needed, or are refused."""

import platform

import msgspec
import pytest

from runtara.errors import InvalidInput
from runtara.images._documents import (
    ContainerConfig,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    check_manifest,
    choose,
    container_config,
    decode,
    hex_digest,
    machine,
)

DIGEST = "sha256:" + "a" * 64
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def descriptor(media_type: str = MANIFEST, digest: str = DIGEST, **platform_: str) -> Descriptor:
    more = {"platform": platform_} if platform_ else {}
    return msgspec.convert({"mediaType": media_type, "digest": digest, "size": 1, **more}, Descriptor)


def index(*manifests: Descriptor) -> Index:
    return Index(manifests=manifests)


def config(**more: object) -> ImageConfig:
    said = {"architecture": machine(), "os": "linux", "rootfs": {"diff_ids": []}, **more}
    return msgspec.convert(said, ImageConfig)


@pytest.mark.parametrize(("name", "called"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("riscv64", "riscv64")])
def test_a_machine_is_called_what_images_call_it(name: str, called: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: name)

    assert machine() == called


def test_the_one_for_this_machine_is_chosen() -> None:
    ours = descriptor(digest="sha256:" + "b" * 64, os="linux", architecture=machine())
    others = [
        descriptor(os="linux", architecture="mips"),
        descriptor(os="windows", architecture=machine()),
        descriptor(os="unknown", architecture="unknown"),
        descriptor("application/vnd.in-toto+json"),
    ]

    assert choose(index(*others, ours)) == ours
    assert choose(index(ours, ours)) == ours
    assert choose(index(descriptor())) == descriptor()


def test_nothing_for_this_machine_is_refused_with_what_there_is() -> None:
    with pytest.raises(InvalidInput, match=f"no image for linux/{machine()}, but linux/mips, windows/x"):
        choose(index(descriptor(os="windows", architecture="x"), descriptor(os="linux", architecture="mips")))
    with pytest.raises(InvalidInput, match="but nothing"):
        choose(index())


def test_several_for_this_machine_are_refused() -> None:
    with pytest.raises(InvalidInput, match="2 images for this machine"):
        choose(index(descriptor(), descriptor(digest="sha256:" + "b" * 64)))


@pytest.mark.parametrize(
    "manifest",
    [
        Manifest(config=descriptor(CONFIG), layers=(), media_type="application/json"),
        Manifest(config=descriptor("application/vnd.oci.empty.v1+json"), layers=()),
        Manifest(config=descriptor(CONFIG), layers=(descriptor("application/vnd.oci.image.layer.v1.tar+zstd"),)),
        Manifest(config=descriptor(CONFIG), layers=(descriptor(LAYER),) * 513),
    ],
    ids=["manifest", "config", "layer", "layers"],
)
def test_a_manifest_of_something_else_is_refused(manifest: Manifest) -> None:
    with pytest.raises(InvalidInput):
        check_manifest(manifest)


def test_a_manifest_of_an_image_is_accepted() -> None:
    check_manifest(Manifest(config=descriptor(CONFIG), layers=(descriptor(LAYER),)))


@pytest.mark.parametrize("digest", ["", "a" * 64, "sha256:", "sha512:" + "a" * 128, DIGEST + "/..", DIGEST.upper()])
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(InvalidInput, match="no SHA-256"):
        hex_digest(digest)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"manifests": {}}', b"[" * 100_000, b"\xff"], ids=lambda it: it[:9].hex()
)
def test_what_is_no_document_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInput, match="an index of the image cannot be read"):
        decode(content, Index, "an index")


def test_a_configuration_says_how_an_image_is_run() -> None:
    said = {"Entrypoint": ["/app"], "Cmd": ["-v"], "Env": ["A=b=c", "D="], "WorkingDir": "/srv", "User": "1:2"}

    assert container_config(config(config=said)) == ContainerConfig(
        command=("/app", "-v"), env={"A": "b=c", "D": ""}, working_dir="/srv", user="1:2"
    )


@pytest.mark.parametrize("said", [None, {}, {"Entrypoint": None, "Cmd": None, "Env": None, "WorkingDir": ""}], ids=repr)
def test_a_configuration_may_say_nothing(said: object) -> None:
    assert container_config(config(config=said)) == ContainerConfig()


@pytest.mark.parametrize("more", [{"architecture": "mips"}, {"os": "windows"}], ids=repr)
def test_an_image_for_another_machine_is_refused(more: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="this machine is linux"):
        container_config(config(**more))


@pytest.mark.parametrize("said", [{"Env": ["A"]}, {"Env": ["=b"]}, {"Cmd": ["a\0b"]}, {"User": "\0"}], ids=repr)
def test_a_configuration_that_cannot_be_followed_is_refused(said: object) -> None:
    with pytest.raises(InvalidInput):
        container_config(config(config=said))
