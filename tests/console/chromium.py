"""The process of a browser that tests share: started once, without a window, with a profile that is thrown away."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from tests.requirements import require
from tests.shared import PROCESSES

__all__ = ["run_chromium"]

_LISTENS: Final = re.compile(r"DevTools listening on (ws://\S+)")
_PATIENCE_S: Final = 30.0

_OPTIONS: Final = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-hang-monitor",
    "--disable-sync",
    "--force-device-scale-factor=1",
    "--hide-scrollbars",
    "--window-size=1360,860",
)


@contextmanager
def run_chromium(folder: Path) -> Iterator[str]:
    """Run it for the time of the block, which gets the address of its DevTools; skips the test where there is none."""
    program = require("chromium", "the console is tested in a real browser")
    command = [program, *_OPTIONS, f"--user-data-dir={folder}"]
    if os.geteuid() == 0:
        command.append("--no-sandbox")  # its sandbox refuses to be root
    process = subprocess.Popen(
        [*command, "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "HOME": str(folder)},
        start_new_session=True,
    )
    PROCESSES.add(process.pid)
    try:
        assert process.stderr is not None
        yield _address(process.stderr)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own session: whatever it has not taken along
        process.wait()
        PROCESSES.discard(process.pid)


def _address(said: IO[str]) -> str:
    """Return where it listens, as it says itself; what else it says is read and dropped, so that it never waits."""
    lines = []
    for line in said:
        lines.append(line)
        if found := _LISTENS.search(line):
            threading.Thread(target=_read_on, args=[said], daemon=True).start()
            return found[1]
    raise AssertionError(f"chromium has ended: {''.join(lines)[-2000:]}")


def _read_on(said: IO[str]) -> None:
    with said:
        said.read()
