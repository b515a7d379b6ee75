"""How a client command reaches the server: the options that say where it is, and the door that they lead to.

A command asks through a `Door` and knows nothing else; tests give it the door of a system in their own process.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
from click.core import ParameterSource
from msgspec.structs import replace

from runtara.errors import RuntaraError
from runtara.ids import check_id
from runtara.settings import Settings, configuration_folder, is_given, load_program_settings, load_settings
from runtara.transport.addresses import parse_addresses
from runtara.transport.connection_file import read_connection_file
from runtara.transport.contexts import Context, Contexts
from runtara.transport.door import Door

if TYPE_CHECKING:
    from runtara.sdk.config import SdkConfig
    from runtara.transport.websocket.live import LiveSpec

__all__ = [
    "Door",
    "OpenDoor",
    "Reach",
    "Where",
    "client_options",
    "data_dir_option",
    "load_given",
    "open_door",
    "tenant_option",
    "where_of",
]

MANAGER: Final = "cli"
"""The instance that a connection names where its command is about none."""


CONNECT_TIMEOUT_MS: Final = 3_000
"""Shorter than that of programs: somebody sits there and waits to hear that no server is running."""


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server is, whose instances are meant, and how to know that it is the right server."""

    server: str | None = None
    """As host:port or URL; by default what a server on this machine has written into the data folder."""
    tenant: str = "default"
    ca_file: str | None = None
    fingerprint: str | None = None
    cert_file: str | None = None
    """PEM file with a certificate that is shown to the server."""
    key_file: str | None = None
    data_dir: str | None = None
    connect_timeout_ms: int = CONNECT_TIMEOUT_MS
    key: str | None = None
    """Where it is another one than the environment's."""

    def __repr__(self) -> str:  # shows no secret
        return f"Where(server={self.server!r}, tenant={self.tenant!r}, data_dir={self.data_dir!r})"


OpenDoor = Callable[[Where], Door]
"""Opens the door of somebody who manages the instances of a tenant."""


class Reach:
    """The way from a command to a server."""

    def __init__(self, where: Where, open_door: OpenDoor) -> None:
        self.where = where
        self._open_door = open_door

    def to(self, server: str) -> "Reach":
        """Return the way to the same tenant at another address."""
        return Reach(replace(self.where, server=server), self._open_door)

    def live(self) -> "LiveSpec | None":
        """Return where the server tells what happens; None where only its QUIC door is known."""
        return None if self._open_door is not open_door else live_of(self.where)

    @contextmanager
    def door(self, instance_id: str | None = None, *, watch: bool = False) -> Iterator[Door]:
        """Give the door to an instance (or, without one, to the tenant) to the block, and close it behind it.

        With `watch`, its session hears of what happens to the instance.
        """
        connection = self._open_door(self.where)
        try:
            if instance_id is None:
                yield connection
                return
            door = connection.beside(check_id(instance_id, "instance id"), watch=watch)
            try:
                yield door
            finally:
                door.close()
        finally:
            connection.close()


# click reads these variables, too, so that precedence, help and message of an option come from one row.
data_dir_option = click.option(
    "--data-dir",
    metavar="DIR",
    envvar="RUNTARA_DATA_DIR",
    show_envvar=True,
    help="Folder in which the server keeps everything; by default .data.",
)

tenant_option = click.option(
    "--tenant",
    metavar="ID",
    envvar="RUNTARA_TENANT_ID",
    show_envvar=True,
    default="default",
    show_default=True,
    help="Whose instances.",
)


def _complete_contexts(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    with suppress(RuntaraError):
        known = Contexts(configuration_folder()).list()
        return [context.name for context in known if context.name.startswith(incomplete)]
    return []


_OPTIONS: Final = (
    click.option(
        "--server",
        metavar="ADDRESS",
        envvar="RUNTARA_SERVER_ADDR",
        show_envvar=True,
        help="Where the server listens, as host:port, or as wss://host:port or https://host:port where UDP is blocked; "
        "by default what `runtara serve` has written into the data folder.",
    ),
    click.option(
        "--context",
        metavar="NAME",
        envvar="RUNTARA_CONTEXT",
        show_envvar=True,
        shell_complete=_complete_contexts,
        help="A server and tenant that `runtara login` has kept; by default the one in use, if one is.",
    ),
    tenant_option,
    click.option(
        "--ca-file",
        metavar="FILE",
        envvar="RUNTARA_CA_FILE",
        show_envvar=True,
        help="The certificate authority that must have signed the server's certificate.",
    ),
    click.option(
        "--fingerprint",
        metavar="SHA256",
        envvar="RUNTARA_SERVER_FINGERPRINT",
        show_envvar=True,
        help="The server's certificate, by its fingerprint.",
    ),
    click.option(
        "--cert-file",
        metavar="FILE",
        envvar="RUNTARA_CLIENT_CERT_FILE",
        show_envvar=True,
        help="A certificate of yours, PEM, shown to a server that asks for one.",
    ),
    click.option(
        "--key-file",
        metavar="FILE",
        envvar="RUNTARA_CLIENT_KEY_FILE",
        show_envvar=True,
        help="Its private key, PEM; by default in the same file.",
    ),
    data_dir_option,
    click.option(
        "--connect-timeout",
        "connect_timeout_ms",
        type=click.IntRange(1),
        metavar="MS",
        envvar="RUNTARA_CONNECT_TIMEOUT_MS",
        show_envvar=True,
        default=CONNECT_TIMEOUT_MS,
        show_default=True,
        help="How long to look for the server.",
    ),
)


def client_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where the server is; the command is given a `Reach` instead of them.

    A credential is read from RUNTARA_TOKEN or a context only: arguments can be seen by everybody on the machine.
    """

    @wraps(command)
    @click.pass_context
    def with_reach(ctx: click.Context, /, *args: Any, **kwargs: Any) -> Any:
        load_settings()  # refuses a variable whose name is not known: a mistyped one would be ignored in silence
        return command(Reach(where_of(ctx, kwargs), ctx.obj or open_door), *args, **kwargs)

    options: Callable[..., Any] = with_reach
    for option in reversed(_OPTIONS):
        options = option(options)
    return options


def where_of(ctx: click.Context, options: dict[str, Any]) -> Where:
    """Return where the server is that the options of a command mean, and take these options out."""
    given = {name: options.pop(name) for name in _GIVEN if name in options}
    return _in_context(ctx, Where(**given), options.pop("context", None))


_GIVEN: Final = tuple(name for name in Where.__struct_fields__ if name != "key")


def _in_context(ctx: click.Context, where: Where, named: str | None) -> Where:
    """Return where a server is that is known by its context, unless a server was named in a closer way.

    Options are closer than variables, and both are closer than the context in use. A server that is named itself gets
    nothing of any context: its key is none of their business.
    """
    nearest = min(("server", "context", "data_dir"), key=partial(_distance, ctx))
    if _distance(ctx, nearest) < FAR and nearest != "context":
        if named is not None and ctx.get_parameter_source("context") is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{nearest.replace('_', '-')} and --context both say where the server is.")
        return where
    contexts = Contexts(configuration_folder())
    found = contexts.current() if named is None else contexts.get(named)
    return where if found is None else _filled(ctx, where, found)


FAR: Final = 2


def _distance(ctx: click.Context, option: str) -> int:
    """Return 0 for what was given as an option, 1 as a variable, 2 where it was not given."""
    source = ctx.get_parameter_source(option)
    return {ParameterSource.COMMANDLINE: 0, ParameterSource.ENVIRONMENT: 1}.get(source, FAR) if source else FAR


def _filled(ctx: click.Context, where: Where, context: Context) -> Where:
    """Return where the server of a context is; what was said beside that counts more."""
    said_tenant = _distance(ctx, "tenant") < FAR
    trusted = where.ca_file is not None or where.fingerprint is not None
    shown = where.cert_file is not None
    return replace(
        where,
        server=context.server,
        tenant=where.tenant if said_tenant else context.tenant,
        ca_file=where.ca_file if trusted else context.ca_file,
        fingerprint=where.fingerprint if trusted else context.fingerprint,
        cert_file=where.cert_file if shown else context.cert_file,
        key_file=where.key_file if shown else context.key_file,
        key=None if is_given("token") else context.key,
    )


def load_given(**given: object) -> Settings:
    """Return the settings of the environment, with those options over them that were given."""
    return load_settings(None, **{name: value for name, value in given.items() if value is not None})


def open_door(where: Where) -> Door:
    """Return the door to a server. It connects with the first call."""
    return _config(where).open_door()


def live_of(where: Where) -> "LiveSpec | None":
    """Return where a server tells what happens; None where only its QUIC door is known."""
    from runtara.transport.websocket.live import LiveSpec

    found = None if where.server else read_connection_file(_data_dir(where))
    known = where.server or (found.http_address if found else None)
    for address in parse_addresses(known) if known else ():
        if address.scheme != "quic":
            config = _config(where)
            at = address._replace(scheme="wss" if address.is_secure else "ws")
            return LiveSpec(
                server=config.server_spec(), address=at, tenant_id=config.tenant_id, credential=config.credential
            )
    return None


def _config(where: Where) -> "SdkConfig":
    from runtara.sdk.config import SdkConfig

    given = {
        "tenant_id": where.tenant,
        "server_addr": where.server or _local_address(where),
        "ca_file": where.ca_file,
        "server_fingerprint": where.fingerprint,
        "client_cert_file": where.cert_file,
        "client_key_file": where.key_file,
        "data_dir": where.data_dir,
        "connect_timeout_ms": where.connect_timeout_ms,
        "credential": where.key,
    }
    overrides = {name: value for name, value in given.items() if value is not None}
    return load_program_settings(SdkConfig, None, instance_id=MANAGER, epoch=None, **overrides)


def _local_address(where: Where) -> str | None:
    """Return where a server on this machine has said that it is."""
    found = read_connection_file(_data_dir(where))
    return None if found is None else found.address


def _data_dir(where: Where) -> Path:
    return Path(load_given(data_dir=where.data_dir).data_dir)
