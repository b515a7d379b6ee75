"""Small Python projects, and wheels for them to install without a network."""

import base64
import hashlib
import io
import zipfile

from tests.images.archives import plain_tar

__all__ = ["OFFLINE", "project", "wheel"]

OFFLINE = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def wheel(name: str, version: str = "1.0") -> tuple[str, bytes]:
    """A wheel of one module, which says hello, and one program of the same name; with its path in a project."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"def main():\n    print('hello from {name}')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    digests = {path: hashlib.sha256(text.encode()).digest() for path, text in files.items()}
    lines = [f"{path},sha256={base64.urlsafe_b64encode(it).decode().rstrip('=')}," for path, it in digests.items()]
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return f"wheels/{name}-{version}-py3-none-any.whl", buffer.getvalue()


def project(**files: str) -> bytes:
    """A project as a tar; a double underscore in a name stands for a dot. It brings the wheel ``greeting``."""
    return plain_tar(
        dict([wheel("greeting")]) | {name.replace("__", "."): text.encode() for name, text in files.items()}
    )
