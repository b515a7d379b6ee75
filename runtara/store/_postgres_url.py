"""The address of a PostgreSQL database: what it may look like, what of it may be said aloud, and how it is guarded.

It is stricter than libpq's own reading, which takes what follows an ``@`` or ``/`` in a password for a host or a
database, and then puts it into its error messages.
"""

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from runtara.errors import ConfigError

__all__ = ["conninfo_of", "name_of"]

_WORD: Final = r"(?:[^\s:/?#@\[\],%]|%[0-9A-Fa-f]{2})*"
_HOST: Final = rf"(?:\[[^\s/?#@\[\]]*\]|{_WORD})(?::\d*)?"
_URL: Final = re.compile(
    rf"(?P<scheme>postgres(?:ql)?)://(?:(?P<user>{_WORD})(?::{_WORD})?@)?"
    rf"(?P<place>{_HOST}(?:,{_HOST})*(?:/{_WORD})?)(?:\?[^\s#@]*)?"
)

_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_ROOTS: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
"""Where systems keep the authorities that they trust."""


def name_of(url: str) -> str:
    """Return the URL without what is secret in it, or may be. Raises `ConfigError`, which does not quote it."""
    found = _URL.fullmatch(url)
    if found is None:
        raise ConfigError(
            "the address of the PostgreSQL database is not understood: use postgresql://user:password@host:port/name, "
            "and write : / ? # @ % and spaces in a user or password as %3A %2F %3F %23 %40 %25 %20"
        )
    user = f"{found['user']}@" if found["user"] else ""
    return f"{found['scheme']}://{user}{found['place']}"


def conninfo_of(url: str, options: Mapping[str, object]) -> str:
    """Return what libpq is told: the URL, and of `options` what it does not say itself.

    What leaves this machine is encrypted, and the server must prove that it has the name by which it is called. Raises
    `ConfigError`, which does not quote the URL.
    """
    name = name_of(url)
    try:
        given = conninfo_to_dict(url)
    except ProgrammingError:  # its words quote what may be a secret
        raise ConfigError(
            f"what follows the ? in the address of {name} is not understood: use options of libpq, as ?sslmode=require"
        ) from None
    missing = _guards(given) | dict(options)
    return make_conninfo(url, **{name: value for name, value in missing.items() if name not in given})


def _guards(given: Mapping[str, Any]) -> dict[str, Any]:
    # What libpq takes from the environment decides, too, where the connection leads.
    known = {option.keyword.decode(): (option.val or b"").decode() for option in Conninfo.get_defaults()}
    known |= {name: str(value) for name, value in given.items() if value is not None}
    stays_here = not known["service"] and _is_local(known["host"]) and _is_local(known["hostaddr"])
    if stays_here or "sslmode" in given:
        return {}
    return {"sslmode": "verify-full", "sslrootcert": known["sslrootcert"] or _roots()}


def _is_local(hosts: str) -> bool:
    """Whether nothing leaves this machine: no host at all, a socket's folder, or loopback."""
    return all(host in _LOCAL or not host or host.startswith(("/", "@")) for host in hosts.split(","))


def _roots() -> str:
    """Return the file of the authorities that this system trusts: libpq from PyPI does not know where that is."""
    files = (ssl.get_default_verify_paths().cafile, *_ROOTS)
    return next((file for file in files if file and Path(file).is_file()), "system")
