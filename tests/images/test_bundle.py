"""The image in what was saved is found and verified to its last byte before anything is unpacked."""

import bz2
import json
from pathlib import Path
from typing import Any

import pytest

from runtara.errors import InvalidInput, TooLarge
from runtara.images._bundle import Bundle, lay_out
from runtara.images._limits import Account, ExtractLimits
from runtara.images._members import Rules
from runtara.images._tree import Tree
from runtara.images.extract import extract
from tests.images.archives import (
    docker_archive,
    entry,
    file,
    folder,
    hardlink,
    oci_files,
    plain_tar,
    sha256,
    symlink,
    tar,
)
from tests.images.sandbox import listed

LAYER = tar(folder(b"bin"), file(b"bin/app", b"run", 0o755))
UPPER = tar(file(b"bin/.wh.app"), file(b"etc", b"x"))


def lay(tmp_path: Path, archive: bytes, **limits: int) -> Path:
    """Unpack what was saved, and lay its image out anew; return where."""
    (tmp_path / "saved.tar").write_bytes(archive)
    extract(tmp_path / "saved.tar", tmp_path / "saved", Rules.BUNDLE, ExtractLimits())
    with Tree(tmp_path / "saved") as tree:
        bundle = Bundle(tree, Account(ExtractLimits(**limits)))
        lay_out(bundle, bundle.find(), tmp_path / "layout", "tag")
    return tmp_path / "layout"


def document(layout: Path, descriptor: dict[str, Any]) -> dict[str, Any]:
    content = (layout / "blobs" / "sha256" / descriptor["digest"].removeprefix("sha256:")).read_bytes()
    assert sha256(content) == descriptor["digest"].removeprefix("sha256:")
    assert len(content) == descriptor["size"]
    found = json.loads(content)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("packed", [False, True])
def test_an_image_is_laid_out_with_documents_of_our_own(packed: bool, tmp_path: Path) -> None:
    layout = lay(tmp_path, plain_tar(oci_files([LAYER, UPPER, LAYER], packed=packed)))

    (described,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    manifest = document(layout, described)
    config = document(layout, manifest["config"])
    assert described["annotations"] == {"org.opencontainers.image.ref.name": "tag"}
    assert config["rootfs"]["diff_ids"] == [f"sha256:{sha256(layer)}" for layer in (LAYER, UPPER, LAYER)]
    assert config["config"] == {}
    kinds = {layer["mediaType"] for layer in manifest["layers"]}
    assert kinds == {"application/vnd.oci.image.layer.v1.tar" + ("+gzip" if packed else "")}
    assert len(listed(layout / "blobs" / "sha256")) == 4


def test_what_docker_saved_is_laid_out_too(tmp_path: Path) -> None:
    layout = lay(tmp_path, docker_archive(tmp_path / "d.tar", [LAYER, UPPER]).read_bytes())

    (described,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    assert [layer["digest"] for layer in document(layout, described)["layers"]] == [
        f"sha256:{sha256(layer)}" for layer in (LAYER, UPPER)
    ]


def saved_by_docker(**changed: object) -> bytes:
    """One layer as docker saved it, with another manifest, and a link to the layer."""
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": [f"sha256:{sha256(LAYER)}"]}}
    ).encode()
    manifest = {"Config": f"{sha256(config)}.json", "Layers": ["one/layer.tar"], **changed}
    return tar(
        file(f"{sha256(config)}.json"[:69].encode(), config),
        file(b"config.json", config),
        file(b"two/layer.tar", LAYER),
        symlink(b"one/layer.tar", b"../two/layer.tar"),
        symlink(b"loop", b"loop"),
        symlink(b"nowhere", b"missing"),
        file(b"manifest.json", json.dumps([manifest]).encode()),
    )


def test_a_layer_that_is_a_link_to_another_is_read(tmp_path: Path) -> None:
    assert lay(tmp_path, saved_by_docker()).is_dir()


def test_a_configuration_without_a_digest_in_its_name_is_read(tmp_path: Path) -> None:
    assert lay(tmp_path, saved_by_docker(Config="config.json")).is_dir()


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "loop", "nowhere", "missing", ".", "", "a\0", "one"]
)
@pytest.mark.parametrize("field", ["Config", "Layers"])
def test_a_path_in_a_manifest_that_leads_elsewhere_is_refused(field: str, path: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        lay(tmp_path, saved_by_docker(**{field: path if field == "Config" else [path]}))


def test_a_configuration_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    archive = docker_archive(tmp_path / "d.tar", [LAYER], config_name=f"{'0' * 64}.json")

    with pytest.raises(InvalidInput, match=f"the configuration of the image has the digest .* should have {'0' * 64}"):
        lay(tmp_path, archive.read_bytes())


def test_several_images_in_one_archive_are_refused(tmp_path: Path) -> None:
    manifest = [{"Config": "a", "Layers": []}] * 2

    with pytest.raises(InvalidInput, match="holds 2 images"):
        lay(tmp_path, plain_tar({"manifest.json": json.dumps(manifest).encode()}))


def test_what_is_no_image_is_refused_with_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="docker save, podman save, or skopeo copy"):
        lay(tmp_path, plain_tar({"main.py": b"x"}))


def names(files: dict[str, bytes]) -> list[str]:
    return [name for name in files if name.startswith("blobs/")]


@pytest.mark.parametrize("which", range(3), ids=["config", "layer", "manifest"])
def test_whatever_is_changed_is_found_out(which: int, tmp_path: Path) -> None:
    files = oci_files([LAYER])
    name = names(files)[which]
    files[name] = files[name][:-2] + bytes([files[name][-2] ^ 1]) + files[name][-1:]

    with pytest.raises(InvalidInput, match="has the digest"):
        lay(tmp_path, plain_tar(files))


@pytest.mark.parametrize("which", range(3), ids=["config", "layer", "manifest"])
def test_whatever_is_longer_is_found_out(which: int, tmp_path: Path) -> None:
    files = oci_files([LAYER])
    files[names(files)[which]] += b" "

    with pytest.raises(InvalidInput, match="bytes and should have"):
        lay(tmp_path, plain_tar(files))


@pytest.mark.parametrize("which", range(3), ids=["config", "layer", "manifest"])
def test_whatever_is_missing_is_found_out(which: int, tmp_path: Path) -> None:
    files = oci_files([LAYER])
    del files[names(files)[which]]

    with pytest.raises(InvalidInput, match="is missing"):
        lay(tmp_path, plain_tar(files))


def test_a_layer_that_unpacks_to_something_else_is_refused(tmp_path: Path) -> None:
    files = oci_files([LAYER], rootfs={"type": "layers", "diff_ids": ["sha256:" + "0" * 64]})

    with pytest.raises(InvalidInput, match="unpacked, of the image has the digest"):
        lay(tmp_path, plain_tar(files))


@pytest.mark.parametrize("diff_ids", [[], ["sha256:" + "0" * 64] * 2, None], ids=repr)
def test_a_configuration_that_knows_other_layers_is_refused(diff_ids: object, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="1 layers, and its configuration knows"):
        lay(tmp_path, plain_tar(oci_files([LAYER], rootfs={"diff_ids": diff_ids})))


def test_a_document_of_megabytes_is_not_read(tmp_path: Path) -> None:
    files = oci_files([LAYER])
    files["index.json"] += b" " * (4 * 1024 * 1024)

    with pytest.raises(InvalidInput, match="at most 4194304"):
        lay(tmp_path, plain_tar(files))


def nested(files: dict[str, bytes], depth: int) -> bytes:
    """The same image, its index inside of others."""
    for _ in range(depth):
        inner = files["index.json"]
        files[f"blobs/sha256/{sha256(inner)}"] = inner
        found = {
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": f"sha256:{sha256(inner)}",
            "size": len(inner),
        }
        files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [found]}).encode()
    return plain_tar(files)


def test_an_index_inside_an_index_is_followed_so_far(tmp_path: Path) -> None:
    assert lay(tmp_path, nested(oci_files([LAYER]), 2)).is_dir()


def test_indexes_without_an_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        lay(tmp_path, nested(oci_files([LAYER]), 6))


EVIL: dict[str, bytes] = {
    "a name that leads out": tar(file(b"../x", b"x")),
    "a link that is written through": tar(symlink(b"a", b"/etc"), file(b"a/passwd", b"x")),
    "a link that leads out": tar(symlink(b"a", b"../..")),
    "a hard link out": tar(hardlink(b"a", b"../../etc/passwd")),
    "a device": tar(entry(b"null", b"3")),
    "a root that is a link": tar(symlink(b".", b"/etc")),
    "a root that is a link by a slash": tar(symlink(b"/", b"/etc")),
    "a whiteout of what is above": tar(file(b".wh...")),
    "an opaque folder outside": tar(file(b"../.wh..wh..opq")),
    "no archive": b"x" * 2000,
}


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("layer", EVIL.values(), ids=EVIL)
def test_a_hostile_layer_is_refused_before_it_is_unpacked(layer: bytes, docker: bool, tmp_path: Path) -> None:
    if docker:
        archive = docker_archive(tmp_path / "d.tar", [LAYER, layer]).read_bytes()
    else:
        archive = plain_tar(oci_files([LAYER, layer]))

    with pytest.raises(InvalidInput):
        lay(tmp_path, archive)


def test_all_layers_together_have_the_limits_of_one_archive(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="3 members"):
        lay(tmp_path, plain_tar(oci_files([LAYER, UPPER])), members=3)


def test_a_layer_packed_in_an_unknown_way_is_refused(tmp_path: Path) -> None:

    with pytest.raises(InvalidInput, match="packed with bzip2: pack it with gzip"):
        lay(tmp_path, docker_archive(tmp_path / "d.tar", [bz2.compress(LAYER)]).read_bytes())
