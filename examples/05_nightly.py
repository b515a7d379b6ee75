"""Check every night how cold the day was: a job that rests for hours and needs no process meanwhile.

A rest that is long enough parks the instance: its process ends, and the host launches the program again when it is
time. How many seconds an hour has comes from the environment, so that a week of nights can be seen in a moment.
"""

import os
from statistics import fmean

from temperatures import days_of

from runtara.sdk import RuntaraSdk, durable

HOUR_S = float(os.environ.get("HOUR_S", "3600"))  # noqa: TID251 - a program's own variable


@durable
def mean_of_day(day: str) -> float:
    """Return the mean temperature of a day."""
    print(f"looking at {day}", flush=True)
    return round(fmean(days_of(day[:7])[day]), 1)


def main() -> None:
    """Work for seven nights."""
    with RuntaraSdk.from_env() as sdk:
        found = {}
        for day in [f"2010-12-{number:02d}" for number in range(1, 8)]:
            found[day] = mean_of_day(day)
            sdk.sleep(24 * HOUR_S, f"until the night after {day}")
        coldest = min(found, key=found.__getitem__)
        sdk.completed(f"the coldest was {coldest} with {found[coldest]} °C".encode())


if __name__ == "__main__":
    main()

# Session:
# $ RUNTARA_PARK_AFTER_MS=100 runtara run 05_nightly.py --env HOUR_S=0.01
# looking at 2010-12-01
# ...
# looking at 2010-12-07
# the coldest was ...
