"""`runtara keys`: who may connect to a server that is open beyond this machine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol, get_args

import click

from runtara.cli._reach import Reach, client_options, load_given
from runtara.cli._spans import typed_instant, typed_span
from runtara.cli._tables import Column, Table, json_option, print_json, print_rows
from runtara.cli._words import instant
from runtara.errors import NotFound
from runtara.messages import AddKey, ListKeys, RevokeKey, Role, RotateKey, TenantKey
from runtara.store import open_store
from runtara.transport.bootstrap import forget_bootstrap_key
from runtara.transport.shared_keys import SharedKeys

__all__ = ["KEYS", "keys"]

KEYS: Final = Table(
    TenantKey,
    (
        Column("key_id", "key"),
        Column("tenant_id", "tenant"),
        Column("role", "role"),
        Column("created_at", "made", instant),
        Column("expires_at", "ends", instant),
    ),
)


@click.group()
def keys() -> None:
    """Make, list, rotate and revoke the keys of tenants.

    They are kept in the data folder of a server on this machine, and in the database where several share one; a change
    counts at once, also while they work, and on open connections. With --remote, a server is asked instead, in the name
    of an admin and about the keys of its tenant. Clients show a key in RUNTARA_TOKEN. A server that listens beyond
    loopback lets nobody in without one; its first start puts the first key into bootstrap-key in its data folder.
    """


class _Keys(Protocol):
    """Where keys are kept."""

    def list(self) -> Sequence[TenantKey]: ...

    def add(self, tenant_id: str, role: Role, expires_at: int | None) -> str: ...

    def rotate(self, key_id: str, grace_ms: int) -> str: ...

    def revoke(self, key_id: str) -> None: ...


class _Local:
    """Those of a server on this machine, in its data folder."""

    def __init__(self, data_dir: str | None) -> None:
        settings = load_given(data_dir=data_dir)
        self._folder = Path(settings.data_dir)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = open_store(settings.store_url, timeout_ms=settings.database_timeout_ms)
        self._keys = SharedKeys(self._folder, store)

    def list(self) -> Sequence[TenantKey]:
        return self._keys.list()

    def add(self, tenant_id: str, role: Role, expires_at: int | None) -> str:
        return self._keys.change(lambda ring: ring.add(tenant_id, role, expires_at))

    def rotate(self, key_id: str, grace_ms: int) -> str:
        made = self._keys.change(lambda ring: ring.rotate(key_id, grace_ms))
        if not grace_ms:
            forget_bootstrap_key(self._folder, key_id)
        return made

    def revoke(self, key_id: str) -> None:
        self._keys.change(lambda ring: ring.revoke(key_id))
        forget_bootstrap_key(self._folder, key_id)


class _Remote:
    """Those of the tenant of an admin, at a server."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def list(self) -> Sequence[TenantKey]:
        with self._reach.door() as door:
            return door.call_from_thread(ListKeys()).keys

    def add(self, tenant_id: str, role: Role, expires_at: int | None) -> str:
        if tenant_id != self._reach.where.tenant:
            raise click.UsageError("an admin makes keys of its own tenant only: name that by --tenant.")
        with self._reach.door() as door:
            return door.call_from_thread(AddKey(role=role, expires_at=expires_at)).secret

    def rotate(self, key_id: str, grace_ms: int) -> str:
        with self._reach.door() as door:
            return door.call_from_thread(RotateKey(key_id=key_id, grace_ms=grace_ms)).secret

    def revoke(self, key_id: str) -> None:
        with self._reach.door() as door:
            done = door.call_from_thread(RevokeKey(key_id=key_id))
        if not done.revoked:
            raise NotFound(f"there is no key {key_id!r}: list the keys to see their ids")


def _place(reach: Reach, remote: bool) -> _Keys:
    return _Remote(reach) if remote else _Local(reach.where.data_dir)


_remote: Final = click.option("--remote", is_flag=True, help="Ask the server, in the name of an admin.")
_key: Final = click.argument("key_id", metavar="KEY")


@keys.command()
@click.argument("tenant_id", metavar="[TENANT]", required=False)
@click.option(
    "--role",
    type=click.Choice(get_args(Role)),
    default="admin",
    show_default=True,
    help="What the key is good for: all of its tenant, to change instances, to look, or to push images.",
)
@click.option("--expires", type=typed_instant, metavar="INSTANT", help="When the key ends; by default never.")
@_remote
@client_options
def add(reach: Reach, tenant_id: str | None, role: Any, expires: int | None, remote: bool) -> None:  # Any: one of Role
    """Make a key for TENANT and print it, this once: only its SHA-256 is kept."""
    click.echo(_place(reach, remote).add(tenant_id or reach.where.tenant, role, expires))


@keys.command("list")
@_remote
@json_option
@client_options
def list_keys(reach: Reach, remote: bool, as_json: bool) -> None:
    """List the keys, without what makes them keys."""
    found = _place(reach, remote).list()
    if as_json:
        print_json(found)
    else:
        print_rows(KEYS, found)


@keys.command()
@_key
@click.option(
    "--grace",
    type=typed_span,
    default="0s",
    metavar="SPAN",
    help="How long the old key is still good, as in 1h; by default it ends at once.",
)
@_remote
@client_options
def rotate(reach: Reach, key_id: str, grace: int, remote: bool) -> None:
    """Make a key in the place of KEY, of the same tenant and role, and print it, this once."""
    click.echo(_place(reach, remote).rotate(key_id, grace))


@keys.command()
@_key
@_remote
@client_options
def revoke(reach: Reach, key_id: str, remote: bool) -> None:
    """Make a KEY, named by its id, worthless at once.

    With --remote not that of the last admin: nobody could make another one.
    """
    _place(reach, remote).revoke(key_id)
