"""`runtara login` and `logout`: keep what it takes to work with a server, and forget the key again.

A key never comes as an argument, where everybody on the machine can see it, and a certificate is trusted only once
somebody has compared its fingerprint.
"""

import re
import sys
from pathlib import Path
from typing import Final

import click
from msgspec.structs import replace

from runtara.cli._payloads import read_payload
from runtara.cli._reach import OpenDoor, Where, data_dir_option, load_given, open_door, tenant_option
from runtara.errors import Forbidden, InvalidInput, NotFound, UntrustedServer
from runtara.ids import check_id
from runtara.messages import GetHealth
from runtara.settings import configuration_folder
from runtara.transport.addresses import parse_addresses
from runtara.transport.connection_file import read_connection_file
from runtara.transport.contexts import Context, Contexts
from runtara.transport.exposure import is_exposed

__all__ = ["login", "logout"]

_NOBODY: Final = "0" * 64
"""A fingerprint that no certificate has: whoever is asked for it shows its own, and is told nothing."""


_FINGERPRINT: Final = re.compile(r"\b[0-9a-f]{64}\b")
"""As the refusal of a certificate names that of the one that was shown."""


@click.command()
@click.argument("server", required=False, metavar="[HOST:PORT]")
@click.option("--name", metavar="NAME", help="What to call it; by default after the server's host.")
@tenant_option
@click.option("--ca-file", metavar="FILE", help="The certificate authority that must have signed its certificate.")
@click.option("--fingerprint", metavar="SHA256", help="Its certificate, by its fingerprint.")
@click.option("--cert-file", metavar="FILE", help="A certificate of yours, PEM, if the server asks for one.")
@click.option("--key-file", metavar="FILE", help="The private key of that certificate; by default in the same file.")
@click.option("--key", "key_", metavar="@FILE|-", help="Where the key is: in a file, or on standard input.")
@data_dir_option
@click.pass_context
def login(
    ctx: click.Context,
    /,
    *,
    server: str | None,
    name: str | None,
    tenant: str,
    ca_file: str | None,
    fingerprint: str | None,
    cert_file: str | None,
    key_file: str | None,
    key_: str | None,
    data_dir: str | None,
) -> None:
    """Keep address, tenant and key of a server under a name, and have it in use from now on.

    Without HOST:PORT it is the server on this machine. The key is asked for, or read as --key says; an empty one is
    none. A server that is not known by --ca-file or --fingerprint shows its certificate, and is trusted once you have
    compared the fingerprint with what its operator has told you. Nothing is kept unless the server accepts the key.

    It is kept in contexts.json below $XDG_CONFIG_HOME/runtara, which only you can read.
    """
    opened: OpenDoor = ctx.obj or open_door
    where = Where(server=server, tenant=tenant, fingerprint=fingerprint, data_dir=data_dir)
    files = {"ca_file": ca_file, "cert_file": cert_file, "key_file": key_file}
    where = replace(where, **{name: _absolute(file) for name, file in files.items()})
    where = _trusted(opened, where if server else _local(where))
    where = replace(where, key=_key(key_))
    _check(opened, where)
    context = _context(where, name)
    Contexts(configuration_folder()).put(context)
    click.echo(f"{context.name}: {context.server}, tenant {context.tenant}")


@click.command()
@click.argument("name", required=False)
def logout(name: str | None) -> None:
    """Forget the key of the context NAME, or of the one in use; address and certificate stay known."""
    contexts = Contexts(configuration_folder())
    if name is None:
        current = contexts.current()
        if current is None:
            raise NotFound("no context is in use: say which one")
        name = current.name
    had_one = contexts.forget_key(name)
    click.echo(f"{name}: {'its key is forgotten' if had_one else 'there was no key'}")


def _absolute(file: str | None) -> str | None:
    """Return the path of a file that is still the right one in another folder."""
    return None if file is None else str(Path(file).absolute())


def _local(where: Where) -> Where:
    """Return where the server on this machine is, which is known by its authority."""
    found = read_connection_file(Path(load_given(data_dir=where.data_dir).data_dir))
    if found is None:
        raise InvalidInput("no server runs on this machine in that data folder: say where one is, as HOST:PORT")
    if where.ca_file is not None or where.fingerprint is not None:
        return replace(where, server=found.address)
    fingerprint = found.fingerprint if found.ca_file is None else None
    return replace(where, server=found.address, ca_file=found.ca_file, fingerprint=fingerprint)


def _trusted(opened: OpenDoor, where: Where) -> Where:
    """Return the server with what it is known by; asks whoever sits there where nothing else says it."""
    if where.ca_file is not None or where.fingerprint is not None:
        return where
    assert where.server is not None, "without one it is the server on this machine, which is known"
    for address in parse_addresses(where.server):
        if not address.is_secure and is_exposed(address.host):
            raise UntrustedServer(
                f"{address} is not encrypted, and a key must not be sent there: use wss:// or https://"
            )
    shown = _shown(opened, where)
    if shown is None:
        return where
    click.echo(f"{where.server} shows a certificate with the fingerprint (SHA-256)\n  {shown}", err=True)
    if not sys.stdin.isatty():
        raise UntrustedServer(
            f"nobody is here to compare the fingerprint of {where.server}: if it is the right one, say --fingerprint"
        )
    if not click.confirm("Is that what the server's operator has told you?", err=True):
        raise UntrustedServer(f"the certificate of {where.server} is not trusted, and nothing was sent")
    return replace(where, fingerprint=shown)


def _shown(opened: OpenDoor, where: Where) -> str | None:
    """Return the fingerprint of the certificate that a server shows; None for one that shows none."""
    door = opened(replace(where, fingerprint=_NOBODY, key=None))
    try:
        door.connect_from_thread()
    except UntrustedServer as error:
        said = _FINGERPRINT.search(str(error))
        if said is None:
            raise
        return said[0]
    finally:
        door.close()
    return None


def _key(text: str | None) -> str | None:
    """Return the key: from where TEXT says, or else from whoever sits there, or from standard input."""
    if text is not None and text != "-" and not text.startswith("@"):
        raise click.UsageError("--key is @FILE or -: an argument can be seen by everybody on the machine.")
    if text is None and sys.stdin.isatty():
        found: str = click.prompt("Key (empty for none)", default="", show_default=False, hide_input=True, err=True)
    else:
        found = read_payload("-" if text is None else text, "key").decode("ascii", "replace")
    return found.strip() or None


def _check(opened: OpenDoor, where: Where) -> None:
    """Raise what a server refuses a key with."""
    door = opened(where)
    try:
        door.connect_from_thread()
        door.call_from_thread(GetHealth())
    except Forbidden:
        return  # it is known, and good for something else
    finally:
        door.close()


def _context(where: Where, name: str | None) -> Context:
    assert where.server is not None, "it was just connected to"
    return Context(
        name=check_id(name or where.server.rpartition("//")[2].strip("[]/"), "context name"),
        server=where.server,
        tenant=where.tenant,
        ca_file=where.ca_file,
        fingerprint=where.fingerprint,
        cert_file=where.cert_file,
        key_file=where.key_file,
        key=where.key,
    )
