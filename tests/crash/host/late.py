"""A program that knows nothing of the SDK: it says that it has begun, waits for a word, and leaves it as its output."""

import os
from pathlib import Path

from tests.crash.host.processes import Born
from tests.crash.host.site import FOLDER, Site

__all__ = ["PIPE", "main"]

PIPE = "late"
"""Name of the pipe in the site's folder through which the word comes."""


def main() -> None:
    """Wait for a word, leave it, and end well."""
    site = Site.load(os.environ[FOLDER])
    site.open_journal().write("begun", "process", os.environ["RUNTARA_INSTANCE_ID"], value=str(Born.here()))
    Path(os.environ["RUNTARA_OUTPUT_FILE"]).write_text((site.path / PIPE).read_text())
