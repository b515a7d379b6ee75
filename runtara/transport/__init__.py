"""The doors: how programs outside and inside this process reach the actors."""

from runtara.transport.door import Door
from runtara.transport.embedded import EmbeddedDoor
from runtara.transport.session import Session

__all__ = ["Door", "EmbeddedDoor", "Session"]
