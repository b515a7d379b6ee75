"""The servers that a person works with: a file of their own, readable by them only, since it holds their keys.

It says where each is, whose instances are meant there, how to know that it is the right one, and with which key. Who
uses it decides when: what is said at the command line or in the environment comes first.
"""

from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from runtara.decoders import decode_json
from runtara.errors import ConfigError, NotFound
from runtara.ids import check_id
from runtara.transport._private_file import read_private, wait_lock, write_private

__all__ = ["Context", "Contexts"]

NAME: Final = "contexts.json"


class Context(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server, and a tenant there."""

    name: str
    server: str
    tenant: str = "default"
    ca_file: str | None = None
    fingerprint: str | None = None
    cert_file: str | None = None
    """PEM file with a certificate that is shown to the server."""
    key_file: str | None = None
    """PEM file with its private key, where that is another one."""
    key: str | None = None

    def __repr__(self) -> str:  # shows no secret
        return f"Context(name={self.name!r}, server={self.server!r}, tenant={self.tenant!r})"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    current: str | None = None
    contexts: tuple[Context, ...] = ()


class Contexts:
    """The contexts in the file of a folder, which other processes may change at any time.

    All of it may raise `ConfigError`: for a file that others may read, too, or that cannot be read or changed.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME

    def list(self) -> tuple[Context, ...]:
        """Return all of them, by name."""
        return self._read().contexts

    def current(self) -> Context | None:
        """Return the one that is in use, if one is."""
        file = self._read()
        return None if file.current is None else _find(file, file.current)

    def get(self, name: str) -> Context:
        """Return one by its name. Raises `NotFound`."""
        return _find(self._read(), name)

    def put(self, context: Context) -> None:
        """Add a context or replace the one of its name, and have it in use. Raises `InvalidInput` for its name."""
        check_id(context.name, "context name")
        with wait_lock(self._path):
            others = tuple(other for other in self._read().contexts if other.name != context.name)
            self._write(_File(context.name, (*others, context)))

    def use(self, name: str | None) -> None:
        """Have another one in use, or none. Raises `NotFound`."""
        with wait_lock(self._path):
            file = self._read()
            if name is not None:
                _find(file, name)
            self._write(replace(file, current=name))

    def remove(self, name: str) -> None:
        """Forget one, with its key. Raises `NotFound`."""
        with wait_lock(self._path):
            file = self._read()
            gone = _find(file, name)
            kept = tuple(context for context in file.contexts if context != gone)
            self._write(_File(None if file.current == name else file.current, kept))

    def forget_key(self, name: str) -> bool:
        """Forget the key of one; tell whether it had one. Raises `NotFound`."""
        with wait_lock(self._path):
            file = self._read()
            found = _find(file, name)
            others = tuple(context for context in file.contexts if context != found)
            self._write(_File(file.current, (*others, replace(found, key=None))))
            return found.key is not None

    def _read(self) -> _File:
        if not self._path.exists():
            return _File()
        try:
            return decode_json(read_private(self._path), _File)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self._path} is no file of contexts ({error}): move it away, and log in anew") from None

    def _write(self, file: _File) -> None:
        ordered = tuple(sorted(file.contexts, key=lambda context: context.name))
        try:
            write_private(self._path, msgspec.json.format(msgspec.json.encode(replace(file, contexts=ordered))))
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be written: {error.strerror}; look at its folder") from error


def _find(file: _File, name: str) -> Context:
    found = next((context for context in file.contexts if context.name == name), None)
    if found is None:
        known = ", ".join(context.name for context in file.contexts) or "none"
        raise NotFound(f"there is no context {name!r}, of those there are {known}: make one with `runtara login`")
    return found
