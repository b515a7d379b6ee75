"""Makes tar archives byte by byte, to say what no honest program would; and images of containers."""

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = [
    "ARCHITECTURE",
    "END",
    "docker_archive",
    "entry",
    "file",
    "folder",
    "global_header",
    "hardlink",
    "long_name",
    "oci_archive",
    "oci_files",
    "pax",
    "plain_tar",
    "sha256",
    "symlink",
    "tar",
]

END = bytes(1024)
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def entry(
    name: bytes,
    kind: bytes = b"0",
    data: bytes = b"",
    *,
    mode: int = 0o644,
    target: bytes = b"",
    size: int | None = None,
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    modified_at: int = 0,
) -> bytes:
    """One member: a header that says what it is told to, and the data with its padding."""
    block = bytearray(512)

    def put(at: int, field: bytes) -> None:
        block[at : at + len(field)] = field

    put(0, name[:100])
    put(100, b"%07o\0" % mode)
    put(108, b"%07o\0" % 1234)
    put(116, b"%07o\0" % 1234)
    put(124, b"%011o\0" % (len(data) if size is None else size))
    put(136, b"%011o\0" % modified_at)
    put(148, b" " * 8)
    put(156, kind)
    put(157, target[:100])
    put(257, magic)
    put(345, prefix[:155])
    put(148, b"%06o\0 " % sum(block))
    return bytes(block) + data + bytes(-len(data) % 512)


def file(name: bytes, data: bytes = b"", mode: int = 0o644) -> bytes:
    return entry(name, b"0", data, mode=mode)


def folder(name: bytes, mode: int = 0o755) -> bytes:
    return entry(name, b"5", mode=mode)


def symlink(name: bytes, target: bytes) -> bytes:
    return entry(name, b"2", target=target)


def hardlink(name: bytes, target: bytes) -> bytes:
    return entry(name, b"1", target=target)


def pax(kind: bytes = b"x", /, **said: bytes) -> bytes:
    """A PAX header with records as given; a dot in a key is written as two underscores."""
    records = b""
    for key, value in said.items():
        body = b" " + key.replace("__", ".").encode() + b"=" + value + b"\n"
        length = len(body)
        while len(b"%d" % length) + len(body) != length:
            length = len(b"%d" % length) + len(body)
        records += b"%d" % length + body
    return entry(b"PaxHeaders/x", kind, records)


def global_header(**said: bytes) -> bytes:
    return pax(b"g", **said)


def long_name(name: bytes, kind: bytes = b"L") -> bytes:
    """A header as GNU tar writes one for a long name (L) or target (K)."""
    return entry(b"././@LongLink", kind, name + b"\0", magic=b"ustar  \0")


def tar(*members: bytes) -> bytes:
    return b"".join(members) + END


def plain_tar(files: dict[str, bytes], **kinds: bytes) -> bytes:
    """An archive as `tarfile` writes it, of files with content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _config(layers: Sequence[bytes], **more: object) -> bytes:
    return json.dumps(
        {
            "architecture": ARCHITECTURE,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer)}" for layer in layers]},
            "config": {"Cmd": ["/bin/app"], "Env": ["PATH=/bin", "A=b=c"], "WorkingDir": "/srv", "User": "app"},
            **more,
        }
    ).encode()


def oci_files(layers: Iterable[bytes], *, packed: bool = True, **more: object) -> dict[str, bytes]:
    """The files of an OCI layout of one image, by name; `more` goes into its configuration."""
    layers = list(layers)
    files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}

    def add(content: bytes, kind: str) -> dict[str, object]:
        files[f"blobs/sha256/{sha256(content)}"] = content
        return {"mediaType": kind, "digest": f"sha256:{sha256(content)}", "size": len(content)}

    config = add(_config(layers, **more), "application/vnd.oci.image.config.v1+json")
    kind = "application/vnd.oci.image.layer.v1.tar" + ("+gzip" if packed else "")
    described = [add(gzip.compress(layer, 1, mtime=0) if packed else layer, kind) for layer in layers]
    media_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": described}
    found = add(json.dumps(manifest).encode(), media_type)
    found["platform"] = {"os": "linux", "architecture": ARCHITECTURE}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [found]}).encode()
    return files


def oci_archive(path: Path, layers: Iterable[bytes], *, packed: bool = True, **more: object) -> Path:
    path.write_bytes(plain_tar(oci_files(layers, packed=packed, **more)))
    return path


def docker_archive(path: Path, layers: Sequence[bytes], *, config_name: str = "", **more: object) -> Path:
    """What ``docker save`` wrote before it knew of OCI layouts."""
    config = _config(layers, **more)
    names = [f"{sha256(layer)}/layer.tar" for layer in layers]
    name = config_name or f"{sha256(config)}.json"
    manifest = [{"Config": name, "RepoTags": ["app:latest"], "Layers": names}]
    files = {name: config, **dict(zip(names, layers, strict=True)), "manifest.json": json.dumps(manifest).encode()}
    path.write_bytes(plain_tar(files))
    return path
