"""Sum up a year of weather, day after day: a long pipeline for a host.

Each day is a durable step. Kill this program, the server, or both, wherever you like: the host launches it again, and
it goes on with the first day that was not saved. The input may say how many seconds to `pause` after each month, which
leaves time for the kill.
"""

import json
from statistics import fmean

from temperatures import days_of, degree_days, months

from runtara.sdk import RuntaraSdk, durable


@durable
def extremes(day: str) -> tuple[float, float]:
    """Return the lowest and the highest temperature of a day."""
    hours = days_of(day[:7])[day]
    return round(min(hours), 1), round(max(hours), 1)


def summary(month: str) -> dict[str, float]:
    """Return what the report says about a month."""
    found = [extremes(day) for day in days_of(month)]
    return {
        "coldest": min(low for low, _ in found),
        "warmest": max(high for _, high in found),
        "swing": round(fmean(high - low for low, high in found), 2),
        "degree_days": round(degree_days(days_of(month)), 1),
    }


def main() -> None:
    """Work through all months, and complete the instance with a report."""
    with RuntaraSdk.from_env() as sdk:
        wishes = json.loads(sdk.load_input() or b"{}")
        report = {}
        for month in months():
            report[month] = summary(month)
            print(f"{month} is done by attempt {sdk.epoch}", flush=True)
            sdk.sleep(wishes.get("pause", 0), f"pause after {month}")
        sdk.completed(json.dumps(report).encode())


if __name__ == "__main__":
    main()

# Session:
# $ runtara run 03_climate.py
# 2010-01 is done by attempt 1
# ...
# 2010-12 is done by attempt 1
# {"2010-01": {"coldest": ..., "warmest": ..., "swing": ..., "degree_days": 390.9}, ...
