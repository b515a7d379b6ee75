"""What survives: one contract, several stores behind it."""

from runtara.store._contract import DueInstance, LoadError, Reader, RunningInstance, Save, Store, Writer
from runtara.store._open import open_store

__all__ = ["DueInstance", "LoadError", "Reader", "RunningInstance", "Save", "Store", "Writer", "open_store"]
