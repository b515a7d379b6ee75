"""What all tests share and some test asks for first, which must not be blamed for leaving it running."""

import threading
from typing import Final

__all__ = ["PROCESSES", "THREADS"]

PROCESSES: Final[set[int]] = set()
THREADS: Final[set[threading.Thread]] = set()
