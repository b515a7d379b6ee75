"""`runtara keys`: who may connect to a server that is open beyond this machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import click

from runtara.cli._reach import data_dir_option, load_given
from runtara.cli._tables import Column, Table, json_option, print_json, print_rows
from runtara.cli._words import instant
from runtara.messages import TenantKey
from runtara.settings import Settings
from runtara.store import Store, open_store
from runtara.transport.credentials import KeyRing
from runtara.transport.shared_files import SharedFiles

__all__ = ["KEYS", "keys"]

R = TypeVar("R")

KEYS: Final = Table(
    TenantKey,
    (Column("key_id", "key"), Column("tenant_id", "tenant"), Column("created_at", "made", instant)),
)


@click.group()
def keys() -> None:
    """Make, list and revoke the keys of tenants.

    They are kept in the data folder of a server on this machine, and in the database where several share one; a change
    counts at once, also while they work. Clients show a key in RUNTARA_TOKEN. A server that listens beyond loopback
    lets nobody in without one.
    """


@keys.command()
@click.argument("tenant")
@data_dir_option
def add(tenant: str, data_dir: str | None) -> None:
    """Make a key for TENANT and print it, this once: only its SHA-256 is kept."""
    click.echo(_change(data_dir, lambda ring: ring.add(tenant)))


@keys.command("list")
@json_option
@data_dir_option
def list_keys(data_dir: str | None, as_json: bool) -> None:
    """List the keys, without what makes them keys."""
    found = _ring(data_dir).list()
    if as_json:
        print_json(found)
    else:
        print_rows(KEYS, found)


@keys.command()
@click.argument("key_id", metavar="KEY")
@data_dir_option
def revoke(key_id: str, data_dir: str | None) -> None:
    """Make a KEY, named by its id, worthless at once."""
    _change(data_dir, lambda ring: ring.revoke(key_id))


def _ring(data_dir: str | None) -> KeyRing:
    settings, folder = _open(data_dir)
    SharedFiles(folder).agree(_store(settings))
    return KeyRing(folder / "keys.json")


def _change(data_dir: str | None, act: Callable[[KeyRing], R]) -> R:
    """Have the keys changed, here and on all nodes that share the store."""
    settings, folder = _open(data_dir)
    store, ring = _store(settings), KeyRing(folder / "keys.json")
    if store.tenure is None:
        return act(ring)
    return SharedFiles(folder).change(store, "keys", lambda: act(ring))


def _open(data_dir: str | None) -> tuple[Settings, Path]:
    settings = load_given(data_dir=data_dir)
    folder = Path(settings.data_dir)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return settings, folder


def _store(settings: Settings) -> Store:
    return open_store(settings.store_url, timeout_ms=settings.database_timeout_ms)
