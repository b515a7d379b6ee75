"""What survives: one contract, several stores behind it."""

from runtara.store._contract import Listener, Reader, SharedWriter, Store, Writer
from runtara.store._cursors import cursor_of_id, cursor_of_seq
from runtara.store._open import check_sqlite_version, open_store, sqlite_version
from runtara.store._tenure import LEASE_MS, NodeSpec, Tenure
from runtara.store._terms import (
    AGING_MS,
    SHORT_MAX_BYTES,
    Barred,
    Claims,
    Copies,
    DueInstance,
    Finished,
    LeaseLost,
    LoadError,
    Notice,
    RunningInstance,
    Save,
    Wanted,
    digest_of,
)
from runtara.store._transfer import Transferred, Watch, back_up, copy_store, restore
from runtara.store._upkeep import Upkeep, Vacuumed, open_upkeep

__all__ = [
    "AGING_MS",
    "LEASE_MS",
    "SHORT_MAX_BYTES",
    "Barred",
    "Claims",
    "Copies",
    "DueInstance",
    "Finished",
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
    "Transferred",
    "Upkeep",
    "Vacuumed",
    "Wanted",
    "Watch",
    "Writer",
    "back_up",
    "check_sqlite_version",
    "copy_store",
    "cursor_of_id",
    "cursor_of_seq",
    "digest_of",
    "open_store",
    "open_upkeep",
    "restore",
    "sqlite_version",
]
