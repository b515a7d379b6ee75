"""Files under the SHA-256 of what they hold: how they arrive, piece by piece, and how they are found again.

``blobs/<first two digits>/<digest>`` is complete and was verified, always. ``uploads/<upload id>`` is on its way; it
is resumed where it ended, also by another process. Everything is for the owner of the folder only. Which blobs are
needed is not known here; whoever collects is told (see `_garbage`).
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from runtara.clock import Clock, SystemClock
from runtara.disk import answer_refusals, sync_folder
from runtara.errors import InvalidInput, NotFound, TooLarge
from runtara.images._garbage import Garbage
from runtara.images._scratch import hold_lock, make_folder

__all__ = ["Blobs", "check_digest"]

_UPLOAD_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_CHUNK: Final = 1024 * 1024
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class _Upload:
    """What arrived so far: its hash, and how many bytes. The file is never longer than that."""

    def __init__(self) -> None:
        self.hash: Final = hashlib.sha256()
        self.size = 0

    def take(self, data: bytes | memoryview) -> None:
        self.hash.update(data)
        self.size += len(data)


class Blobs:
    """The blobs below one folder. Any call may be made from any thread; one upload is used by one thread at a time.

    All calls raise `StoreFull` where there is no room, and `StoreUnavailable` for what else the disk refuses.
    """

    def __init__(self, folder: Path, max_bytes: int, *, clock: Clock | None = None) -> None:
        self.folder: Final = folder
        self._max_bytes = max_bytes
        self._clock = clock or SystemClock()
        self._uploads: dict[str, _Upload] = {}

    def open_upload(self, upload_id: str) -> int:
        """Make an upload, or find it again, and return how many of its bytes are here. Raises `InvalidInput`."""
        path = self._upload_path(upload_id)
        with answer_refusals(f"the upload {upload_id} cannot be opened"):
            make_folder(path.parent)
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | _NO_LINK, 0o600))
            return self._find_upload(upload_id).size

    def write(self, upload_id: str, offset: int, data: bytes) -> int:
        """Append to an upload and return how many bytes are here; what is here already is skipped.

        Raises `InvalidInput` for a gap, `TooLarge`, and `NotFound` where the upload was not opened. Where there is no
        room, all that fitted stays, and the upload goes on (see `open_upload`) once there is.
        """
        with answer_refusals(f"the upload {upload_id} cannot be written"):
            upload = self._find_upload(upload_id)
            if not 0 <= offset <= upload.size:
                raise InvalidInput(
                    f"the upload {upload_id} goes on at byte {upload.size}, not at {offset}: send from there"
                )
            if offset + len(data) > self._max_bytes:
                raise TooLarge(f"the upload {upload_id} has more than {self._max_bytes} bytes: push something smaller")
            fresh = memoryview(data)[upload.size - offset :]
            if fresh:
                self._append(upload_id, upload, fresh)
            return upload.size

    def finish(self, upload_id: str, digest: str, size: int) -> Path:
        """Make an upload a blob, if it is what it should be, and return its path; it is on stable storage.

        Once it is, finishing it again does nothing. Raises `NotFound` where there is neither, and `InvalidInput` where
        the upload is something else; then it is removed, and to be sent anew.
        """
        path = self._blob_path(digest)
        with answer_refusals(f"the upload {upload_id} cannot be finished"):
            if not self._upload_path(upload_id).exists():
                return self._finished(upload_id, digest, size)
            self._check(upload_id, digest, size)
            made = self._upload_path(upload_id)
            with made.open("rb") as file:
                os.fsync(file.fileno())
            make_folder(path.parent)
            with self._lock():  # so that no collector looks at the age of what was here before, and removes this
                os.utime(made)
                made.replace(path)
            for folder in (path.parent, path.parent.parent, self.folder):
                sync_folder(folder)
            self._uploads.pop(upload_id, None)
            return path

    def abort(self, upload_id: str) -> None:
        """Remove an upload, if there is one. Raises `InvalidInput`."""
        with answer_refusals(f"the upload {upload_id} cannot be removed"):
            self._upload_path(upload_id).unlink(missing_ok=True)
            self._uploads.pop(upload_id, None)

    def find(self, digest: str, *, touch: bool = False) -> Path | None:
        """Return where a blob is; None where it is not here. Raises `InvalidInput` for what is no digest.

        With `touch` it is as young as if it had been pushed now, so that nobody collects it who is not told to yet.
        """
        path = self._blob_path(digest)
        with answer_refusals(f"the blob {digest} cannot be looked at"):
            with self._lock() if touch else contextlib.nullcontext(), contextlib.suppress(FileNotFoundError):
                if touch:
                    os.utime(path)
                return path if path.is_file() else None
            return None

    def verify(self, digest: str) -> bool:
        """Read a blob, and tell whether it is what its name says; False where it is not here too."""
        path = self._blob_path(digest)
        with answer_refusals(f"the blob {digest} cannot be read"):
            return path.is_file() and _hash_of(path).hash.hexdigest() == digest

    def collect(self, keep: Callable[[str], bool], older_than_s: float, *, dry_run: bool) -> list[str]:
        """Remove what nobody needs, and return what was (or would be) removed, as paths below the folder.

        That is, where it was not touched for so long: blobs and what was unpacked of them, if `keep` says False of the
        digest; uploads; and what somebody left unfinished. What is being made at the moment stays.
        """
        with answer_refusals(f"{self.folder} cannot be collected"):
            garbage = Garbage(self.folder, self._clock.now_ms() / 1000 - older_than_s, dry_run=dry_run)
            removed = garbage.collect(keep)
        for path in removed if not dry_run else ():
            self._uploads.pop(Path(path).name, None)
        return removed

    def _append(self, upload_id: str, upload: _Upload, data: memoryview) -> None:
        descriptor = os.open(self._upload_path(upload_id), os.O_WRONLY | os.O_APPEND | _NO_LINK)
        try:
            while data:
                written = os.write(descriptor, data)
                upload.take(data[:written])  # at once: whatever happens next, the file and its hash agree
                data = data[written:]
        finally:
            os.close(descriptor)

    def _find_upload(self, upload_id: str) -> _Upload:
        path = self._upload_path(upload_id)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            self._uploads.pop(upload_id, None)
            raise NotFound(f"there is no upload {upload_id}: open it, and send it from its beginning") from None
        known = self._uploads.get(upload_id)
        if known is None or known.size != size:  # of an earlier process
            known = self._uploads[upload_id] = _hash_of(path)
        return known

    def _finished(self, upload_id: str, digest: str, size: int) -> Path:
        found = self.find(digest, touch=True)
        if found is None:
            raise NotFound(f"there is no upload {upload_id}: open it, and send it from its beginning")
        if found.stat().st_size != size:
            raise InvalidInput(f"the blob {digest} has {found.stat().st_size} bytes, not {size}: hash the file again")
        return found

    def _check(self, upload_id: str, digest: str, size: int) -> None:
        upload = self._find_upload(upload_id)
        if upload.size == size and upload.hash.hexdigest() == digest:
            return
        self.abort(upload_id)
        raise InvalidInput(
            f"the upload {upload_id} has the digest {upload.hash.hexdigest()} and {upload.size} bytes, and should have "
            f"{digest} and {size}: it is removed; hash the file again, and send it from its beginning"
        )

    def _lock(self) -> contextlib.AbstractContextManager[bool]:
        return hold_lock(self.folder / "locks" / "blobs")

    def _upload_path(self, upload_id: str) -> Path:
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise InvalidInput(f"{upload_id!a} is no upload id: use 32 hexadecimal digits, in small letters")
        return self.folder / "uploads" / upload_id

    def _blob_path(self, digest: str) -> Path:
        return self.folder / "blobs" / check_digest(digest)[:2] / digest


def check_digest(digest: object) -> str:
    """Return `digest` if it is one: 64 hexadecimal digits in small letters. Raises `InvalidInput`."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise InvalidInput(f"{digest!a} is no SHA-256 digest: use 64 hexadecimal digits, in small letters")
    return digest


def _hash_of(path: Path) -> _Upload:
    found = _Upload()
    for chunk in _chunks(path):
        found.take(chunk)
    return found


def _chunks(path: Path) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            yield buffer[:count]
