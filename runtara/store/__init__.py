"""What survives: one contract, several stores behind it."""

from runtara.store._contract import (
    Claims,
    DueInstance,
    LeaseLost,
    LoadError,
    Reader,
    RunningInstance,
    Save,
    SharedWriter,
    Store,
    Writer,
)
from runtara.store._open import check_sqlite_version, open_store, sqlite_version
from runtara.store._tenure import LEASE_MS, NodeSpec, Tenure

__all__ = [
    "LEASE_MS",
    "Claims",
    "DueInstance",
    "LeaseLost",
    "LoadError",
    "NodeSpec",
    "Reader",
    "RunningInstance",
    "Save",
    "SharedWriter",
    "Store",
    "Tenure",
    "Writer",
    "check_sqlite_version",
    "open_store",
    "sqlite_version",
]
