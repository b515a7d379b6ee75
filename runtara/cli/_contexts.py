"""`runtara contexts`: the servers that you work with."""

from typing import Final

import click
import msgspec

from runtara.cli._tables import Column, Table, json_option, print_json, print_rows
from runtara.settings import configuration_folder
from runtara.transport.contexts import Context, Contexts

__all__ = ["contexts"]


class _Row(msgspec.Struct, frozen=True):
    """A context without its key."""

    name: str
    current: bool
    server: str
    tenant: str
    has_key: bool
    ca_file: str | None
    fingerprint: str | None


def _yes(value: bool) -> str:
    return "yes" if value else "no"


CONTEXTS: Final = Table(
    _Row,
    (
        Column("name", "context"),
        Column("current", "in use", _yes),
        Column("server", "server"),
        Column("tenant", "tenant"),
        Column("has_key", "key", _yes),
        Column("fingerprint", "certificate", lambda shown: shown[:16]),
        Column("ca_file", "authority"),
    ),
)


@click.group()
def contexts() -> None:
    """List, choose and forget the servers that `runtara login` has kept.

    Commands go to the server that --server or --data-dir names, or the variables of these; else to the context that
    --context or RUNTARA_CONTEXT names; else to the one in use; else to the server on this machine.
    """


@contexts.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the contexts, without their keys."""
    kept = Contexts(configuration_folder())
    current = kept.current()
    rows = [_row(context, is_current=context == current) for context in kept.list()]
    if as_json:
        print_json(rows)
    else:
        print_rows(CONTEXTS, rows)


@contexts.command()
@click.argument("name", required=False)
@click.option("--none", is_flag=True, help="Have none in use: commands go to the server on this machine.")
def use(name: str | None, none: bool) -> None:
    """Have commands go to the server of the context NAME from now on."""
    if (name is None) is not none:
        raise click.UsageError("say the NAME of a context, or --none.")
    Contexts(configuration_folder()).use(name)


@contexts.command()
@click.argument("name")
def remove(name: str) -> None:
    """Forget the context NAME, with its key."""
    Contexts(configuration_folder()).remove(name)


def _row(context: Context, *, is_current: bool) -> _Row:
    return _Row(
        name=context.name,
        current=is_current,
        server=context.server,
        tenant=context.tenant,
        has_key=context.key is not None,
        ca_file=context.ca_file,
        fingerprint=context.fingerprint,
    )
