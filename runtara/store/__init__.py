"""What survives: one contract, several stores behind it."""

from runtara.store._contract import DueInstance, LoadError, Reader, RunningInstance, Save, Store, Writer
from runtara.store._open import check_sqlite_version, open_store, sqlite_version

__all__ = [
    "DueInstance",
    "LoadError",
    "Reader",
    "RunningInstance",
    "Save",
    "Store",
    "Writer",
    "check_sqlite_version",
    "open_store",
    "sqlite_version",
]
