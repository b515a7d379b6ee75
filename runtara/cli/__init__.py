"""The command line: `runtara …`."""

from runtara.cli._main import main

__all__ = ["main"]
