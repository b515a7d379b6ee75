"""Link the airports of every state of the USA by the shortest network, and survive being killed in the middle.

Each state is a checkpoint: kill this program wherever you like and start it again, and it goes on with the first state
that was not saved. It names a state before it computes it, so a state that was computed twice would be named twice.
"""

import json
import sys
from pathlib import Path

import click
from airports import Airport, airports_by_state, shortest_network
from rich.progress import Progress

from runtara.sdk import RuntaraSdk, embedded


def work(sdk: RuntaraSdk) -> bytes:
    """Compute every state that is not saved yet, and return the report."""
    states, found = airports_by_state(), {}
    print(f"{sdk.get_status().checkpoint_count} of {len(states)} states are saved")
    with Progress(disable=not sys.stdout.isatty()) as progress:
        for state, airports in progress.track(states.items(), len(states), description="states"):
            saved = sdk.get_checkpoint(state)
            if saved is None:
                progress.console.print(f"computing {state}")
                saved = summary(airports)
                sdk.checkpoint(state, saved)  # when this returns, the state is on disk and is never computed again
            found[state] = json.loads(saved)
    totals = {key: sum(state[key] for state in found.values()) for key in ("airports", "km")}
    return json.dumps({"states": found, **totals}, indent=1).encode()


def summary(airports: list[Airport]) -> bytes:
    """Return what the report says about a state: how many airports, how long a network, and its longest edge."""
    edges = shortest_network(airports)
    km = sum(km for km, _, _ in edges)
    return json.dumps({"airports": len(airports), "km": km, "longest": max(edges, default=None)}).encode()


@click.command()
@click.option("--data-dir", help="Where Runtara keeps what is saved; by default RUNTARA_DATA_DIR, or .data.")
@click.option("--report", default="airports.json", show_default=True, help="Where the report is written.")
def main(data_dir: str | None, report: str) -> None:
    """Link the airports of every state by the shortest network; go on where an earlier run has ended."""
    with embedded.open(data_dir) as system:
        output = system.status("airports").output
        if output is not None:
            print("an earlier run has completed: nothing is left to compute")
        else:
            with system.sdk("airports") as sdk:
                output = work(sdk)
                sdk.completed(output)
    Path(report).write_bytes(output)
    totals = json.loads(output)
    print(f"{totals['airports']} airports in {len(totals['states'])} states, {totals['km']:.0f} km: see {report}")


if __name__ == "__main__":
    main()

# Output:
# 0 of 56 states are saved
# computing AK
# ...
# computing WY
# 3364 airports in 56 states, 129296 km: see airports.json
