"""What survives: one contract, several stores behind it."""

from runtara.store._contract import DueInstance, LoadError, Reader, RunningInstance, Save, Store, Writer
from runtara.store._open import check_sqlite_version, open_store, sqlite_version
from runtara.store._transfer import Transferred, Watch, back_up, copy_store, restore
from runtara.store._upkeep import Finished, Upkeep, Vacuumed, open_upkeep

__all__ = [
    "DueInstance",
    "Finished",
    "LoadError",
    "Reader",
    "RunningInstance",
    "Save",
    "Store",
    "Transferred",
    "Upkeep",
    "Vacuumed",
    "Watch",
    "Writer",
    "back_up",
    "check_sqlite_version",
    "copy_store",
    "open_store",
    "open_upkeep",
    "restore",
    "sqlite_version",
]
