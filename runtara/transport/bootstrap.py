"""The first key of a server, so that somebody can make the others.

It is written into a file before it counts, and the file is what is looked at again when that was interrupted. Where
there were keys before, none is made: whoever has revoked all has had a reason.
"""

from pathlib import Path
from typing import Final

from runtara.errors import ConfigError, Unauthenticated
from runtara.transport._key_rows import key_id_of, new_key
from runtara.transport._private_file import make_once, read_private
from runtara.transport.credentials import KeyRing
from runtara.transport.shared_keys import SharedKeys

__all__ = ["BOOTSTRAP_FILE", "BOOTSTRAP_TENANT", "ensure_bootstrap_key", "forget_bootstrap_key"]

BOOTSTRAP_FILE: Final = "bootstrap-key"
"""Its name in the data folder."""

BOOTSTRAP_TENANT: Final = "default"
"""Whose admin has the first key."""


def ensure_bootstrap_key(folder: Path, keys: SharedKeys) -> Path | None:
    """Return where the first key of a server lies, made if it never had one; None where it does not lie there any more.

    Blocks. Raises `ConfigError`, and what the store refuses with.
    """
    path = folder / BOOTSTRAP_FILE
    if not (folder / "keys.json").exists():
        try:
            make_once(path, new_key().encode() + b"\n")
        except OSError as error:
            raise ConfigError(f"{path} cannot be made: {error.strerror}; look at its folder") from error
        key = _read(path)
        keys.change(lambda ring: None if ring.list() else ring.add(BOOTSTRAP_TENANT, "admin", key=key))
    if not path.exists():
        return None
    if _is_good(keys.ring, _read(path)):
        return path
    path.unlink()  # it was revoked, or another node was first
    return None


def forget_bootstrap_key(folder: Path, key_id: str) -> None:
    """Remove the file of the first key if it is this one; harmless if there is none."""
    path = folder / BOOTSTRAP_FILE
    if path.exists() and key_id_of(_read(path)) == key_id:
        path.unlink()


def _read(path: Path) -> str:
    key = read_private(path).strip().decode(errors="replace")
    if key_id_of(key) is None:
        raise ConfigError(f"{path} holds no key: remove it, and make one with `runtara keys add`")
    return key


def _is_good(ring: KeyRing, key: str) -> bool:
    try:
        ring.check(key)
    except Unauthenticated:
        return False
    return True
