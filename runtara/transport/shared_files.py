"""What all nodes of one store must agree on, as files of each.

That is the secret that signs tokens, the keys of tenants and, until a node has one of its own, the certificate. The
store keeps them as documents. A node offers what it has; what was there first counts. Files are what everything else
reads, so nothing else needs to know that there are other nodes.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from runtara.errors import Busy
from runtara.ids import check_id, new_id, new_secret
from runtara.store import Store
from runtara.transport._private_file import make_once, open_folder, own_folder, read_private, write_private

__all__ = ["SharedFiles"]

R = TypeVar("R")

_FILES: Final[Mapping[str, str]] = {
    "secret": "secret",
    "keys": "keys.json",
    "certificate-authority": "tls/ca.pem",
    "certificate": "tls/cert.pem",
    "certificate-key": "tls/key.pem",
}
"""Name of each document, and its file in the data folder."""

_FOLLOWED: Final = frozenset({"secret", "keys"})
"""Of these, the store has the last word; of the others, a node may have its own."""

_TRIES: Final = 20
"""How often a change is made that others overtake."""


class SharedFiles:
    """The files of one data folder that follow the store's documents."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path_of: Final = {name: folder / file for name, file in _FILES.items()}

    def node_name(self, given: str | None) -> str:
        """Return the name of the node whose folder this is: the given one, or one that is made once and kept."""
        if given is not None:
            return check_id(given, "node name")
        make_once(self._folder / "node", new_id().encode())
        return read_private(self._folder / "node").decode(errors="replace").strip()

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Keep another server from being the same node. Raises `StoreInUse`."""
        with own_folder(self._folder):
            yield

    def agree(self, store: Store) -> None:
        """Offer the store what is here, and take from it what counts. Raises what the store refuses with."""
        if store.tenure is not None:
            self.take({name: content for name, (content, _) in store.agree(self._offers()).items()})

    def take(self, documents: Mapping[str, bytes]) -> None:
        """Write down what counts, where it is not what is here. Raises `ConfigError` or `OSError`."""
        for name, content in documents.items():
            path = self._path_of.get(name)
            if path is None or (path.exists() and (name not in _FOLLOWED or read_private(path) == content)):
                continue
            open_folder(path.parent)
            write_private(path, content)

    def change(self, store: Store, name: str, act: Callable[[], R]) -> R:
        """Have `act` change the file of a document, and the store keep what has become of it.

        Raises what `act` and the store refuse with, and `Busy` if others change it all the time.
        """
        path = self._path_of[name]
        for _ in range(_TRIES):
            found = store.agree(self._offers())
            self.take({known: content for known, (content, _) in found.items()})
            result = act()
            if store.publish(name, read_private(path), found[name][1] if name in found else 0):
                return result
        self.take({known: content for known, (content, _) in store.agree({}).items()})
        raise Busy(f"{name} of the store are changed by others all the time: try again")

    def prepare(self, store: Store) -> None:
        """See to it that there is a secret, the same on all nodes. Raises what the store refuses with."""
        self.agree(store)
        make_once(self._path_of["secret"], new_secret().encode())
        self.agree(store)

    def _offers(self) -> dict[str, bytes]:
        return {name: read_private(path) for name, path in self._path_of.items() if path.exists()}
