"""Durable execution built of actors: programs that survive the death of process, server and machine."""

__version__ = "0.1.0"

__all__ = ["__version__"]
