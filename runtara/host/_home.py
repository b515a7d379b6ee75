"""What a host finds in its data folder, or makes there: certificate, secret, keys, and what other nodes agree on."""

from pathlib import Path
from typing import NamedTuple

import trio

from runtara.clock import Clock
from runtara.errors import ConfigError
from runtara.settings import Settings
from runtara.system import store_of
from runtara.transport.bootstrap import ensure_bootstrap_key
from runtara.transport.certificates import Identity, ensure_certificate, read_identity
from runtara.transport.credentials import TokenMint
from runtara.transport.exposure import check_exposure
from runtara.transport.shared_files import SharedFiles
from runtara.transport.shared_keys import SharedKeys

__all__ = ["Home", "identity_of", "open_home"]


class Home(NamedTuple):
    """The data folder."""

    shared: SharedFiles
    identity: Identity
    mint: TokenMint
    keys: SharedKeys
    first_key: Path | None
    """Where the first key lies, as long as it does."""


async def open_home(settings: Settings, folder: Path, clock: Clock) -> Home:
    """Make the data folder, and see to it that what all nodes must agree on is the same here.

    Raises what the store refuses with, and `ConfigError` for a server that must not be started like this.
    """
    await trio.to_thread.run_sync(check_exposure, settings)
    await trio.Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    shared, store = SharedFiles(folder), store_of(settings)
    await trio.to_thread.run_sync(shared.prepare, store)
    identity = identity_of(settings, folder, clock)
    await trio.to_thread.run_sync(shared.agree, store)
    mint, keys = TokenMint(folder / "secret", clock, settings.token_lifetime_ms), SharedKeys(folder, store, clock)
    first_key = await trio.to_thread.run_sync(ensure_bootstrap_key, folder, keys)
    return Home(shared, identity, mint, keys, first_key)


def identity_of(settings: Settings, folder: Path, clock: Clock) -> Identity:
    """Return the certificate that the settings name, or the one of the data folder. Raises `ConfigError`."""
    given = (settings.tls_cert_file, settings.tls_key_file)
    if given[0] is not None and given[1] is not None:
        return read_identity(Path(given[0]), Path(given[1]))
    if given != (None, None):
        raise ConfigError("only one of RUNTARA_TLS_CERT_FILE and RUNTARA_TLS_KEY_FILE is set: set both, or neither")
    return ensure_certificate(folder / "tls", (settings.host,), clock=clock)
