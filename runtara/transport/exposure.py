"""Whether a server can be reached from other machines, and what it must ask of its clients then."""

import ipaddress
import socket

from runtara.errors import ConfigError
from runtara.settings import Settings

__all__ = ["asks_for_credentials", "check_exposure", "is_exposed"]


def is_exposed(host: str) -> bool:
    """Return whether a server that listens there can be reached from other machines. Blocks where `host` is a name.

    Raises `ConfigError` for what is no address of a machine.
    """
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{host!a} is not an address to listen at: {error}") from None
    return not ipaddress.ip_address(str(found[0][4][0]).partition("%")[0]).is_loopback


def asks_for_credentials(settings: Settings) -> bool:
    """Return whether clients must show who they are, as they must where other machines connect; see `is_exposed`."""
    if settings.require_credentials is not None:
        return settings.require_credentials
    return is_exposed(settings.host)


def check_exposure(settings: Settings) -> None:
    """Raise `ConfigError` for a server that would do what anybody on the network asks for. See `is_exposed`."""
    if settings.require_credentials is False and is_exposed(settings.host):
        raise ConfigError(
            f"the server would listen at {settings.host}, beyond this machine, and ask for no credentials: whoever "
            "reaches it could run programs; unset RUNTARA_REQUIRE_CREDENTIALS (the first start makes a key), or listen "
            "at 127.0.0.1 (RUNTARA_HOST)"
        )
