"""`make demo`: start a durable program, kill it in the middle, start it again, and check what came of it.

The program is 01_airports.py. It names each state before it computes it: by that we know when it is in the middle, and
what each run has computed. Exits with 1 if anything is not as promised.
"""

import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from signal import SIGKILL
from time import perf_counter
from typing import NamedTuple

PROGRAM = Path(__file__).with_name("01_airports.py")
TRIES = 3
"""On a busy machine the program may end before the kill arrives; then it is started once more, from nothing."""


class Run(NamedTuple):
    """One run of the program: which states it began to compute, how it ended, how long it took, and its report."""

    computed: list[str]
    exit_code: int
    seconds: float
    report: bytes | None


def main() -> None:
    """Run the program three times, say what happened, and exit with 1 if a promise was broken."""
    print(f"{PROGRAM.name} links the airports of each state of the USA; each state is a checkpoint.\n")
    with tempfile.TemporaryDirectory(prefix="runtara-demo-") as name:
        place = Path(name)
        whole = run(place / "whole")
        tell("left alone", whole, f"computed {len(whole.computed)} states")
        folder, killed = run_and_kill(place, len(whole.computed) // 2)
        tell(
            "killed",
            killed,
            f"got SIGKILL in state {len(killed.computed)} of {len(whole.computed)}, {killed.computed[-1]}",
        )
        resumed = run(folder)
        tell("started again", resumed, f"computed {len(resumed.computed)} states, from {min(resumed.computed)} on")
    print()
    kept = [check(is_true, promise) for promise, is_true in promises(whole, killed, resumed).items()]
    print("\nNothing was lost, and nothing was done again." if all(kept) else "\nThat is not as promised.")
    sys.exit(not all(kept))


def run(folder: Path, kill_in: int | None = None) -> Run:
    """Run the program with all that it keeps in `folder`; kill it when it begins with its `kill_in`-th state."""
    report = folder / "report.json"
    command = [sys.executable, str(PROGRAM), "--data-dir", str(folder), "--report", str(report)]
    ours = os.environ  # noqa: TID251 - handed on to a child, without settings that would have it keep things elsewhere
    environment = {name: value for name, value in ours.items() if not name.startswith("RUNTARA_")}
    computed = []
    began = perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, encoding="utf-8") as program:
        for line in program.stdout or ():
            if line.startswith("computing "):
                computed.append(line.split()[1])
                if len(computed) == kill_in:
                    program.kill()
    seconds = perf_counter() - began
    if not computed or program.returncode not in (0, -SIGKILL):
        sys.exit(f"{PROGRAM.name} did not do its work: it ended with {program.returncode}")
    return Run(computed, program.returncode, seconds, report.read_bytes() if report.exists() else None)


def run_and_kill(place: Path, kill_in: int) -> tuple[Path, Run]:
    """Run the program and see to it that it is killed in the middle; return the folder in which it left everything."""
    for attempt in range(TRIES):
        folder = place / f"killed-{attempt}"
        killed = run(folder, kill_in)
        if killed.exit_code == -SIGKILL:
            return folder, killed
    sys.exit(f"the program ended {TRIES} times before the kill arrived: try again when the machine is less busy")


def promises(whole: Run, killed: Run, resumed: Run) -> dict[str, bool]:
    """Return what was promised, and whether it is so."""
    *saved, in_flight = killed.computed
    again = set(killed.computed) & set(resumed.computed)
    return {
        "the kill came in the middle, and left no report": 0 < len(saved) < len(whole.computed) and not killed.report,
        f"no state before {in_flight} was computed again": not again & set(saved),
        "no state was left out": sorted({*killed.computed, *resumed.computed}) == whole.computed,
        "both reports are the same, byte for byte": whole.report is not None and whole.report == resumed.report,
    }


def check(is_true: bool, promise: str) -> bool:
    """Say whether a promise was kept."""
    print(f"  {'yes' if is_true else 'NO '}  {promise}")
    return is_true


def tell(name: str, done: Run, what: str) -> None:
    """Say what a run did."""
    sha = f"report {sha256(done.report).hexdigest()[:12]}" if done.report else "no report"
    print(f"  {name:13}  {what:34}  {sha:19}  {done.seconds:4.1f} s")


if __name__ == "__main__":
    main()

# Output:
# 01_airports.py links the airports of each state of the USA; each state is a checkpoint.
#
# ...
#
#   yes  the kill came in the middle, and left no report
#   yes  no state before ... was computed again
#   yes  no state was left out
#   yes  both reports are the same, byte for byte
#
# Nothing was lost, and nothing was done again.
