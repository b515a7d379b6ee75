"""What survives: one contract, several stores behind it."""

from runtara.store._contract import (
    Claims,
    DueInstance,
    LeaseLost,
    Listener,
    LoadError,
    Notice,
    Reader,
    RunningInstance,
    Save,
    SharedWriter,
    Store,
    Writer,
    digest_of,
)
from runtara.store._open import check_sqlite_version, open_store, sqlite_version
from runtara.store._tenure import LEASE_MS, NodeSpec, Tenure

__all__ = [
    "LEASE_MS",
    "Claims",
    "DueInstance",
    "LeaseLost",
    "Listener",
    "LoadError",
    "NodeSpec",
    "Notice",
    "Reader",
    "RunningInstance",
    "Save",
    "SharedWriter",
    "Store",
    "Tenure",
    "Writer",
    "check_sqlite_version",
    "digest_of",
    "open_store",
    "sqlite_version",
]
