"""A year of hourly temperatures in Seattle: plain functions, nothing durable.

03_climate.py and 05_nightly.py work with them; examples/data/README.md is about the data.
"""

import csv
from functools import cache
from pathlib import Path
from statistics import fmean

DATA = Path(__file__).parent / "data" / "seattle-temps.csv"


@cache
def temperatures_by_day() -> dict[str, list[float]]:
    """Read the temperatures of each day, in degrees Celsius, by hour; days are named as in ``2010-07-04``."""
    days: dict[str, list[float]] = {}
    with DATA.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            day = row["date"].split()[0].replace("/", "-")
            days.setdefault(day, []).append((float(row["temp"]) - 32) / 1.8)
    return days


def days_of(month: str) -> dict[str, list[float]]:
    """Return the days of a month, which is named as in ``2010-07``."""
    return {day: hours for day, hours in temperatures_by_day().items() if day.startswith(month)}


def months() -> list[str]:
    """Return the names of all months, in order."""
    return sorted({day[:7] for day in temperatures_by_day()})


def degree_days(days: dict[str, list[float]], base: float = 18.0) -> float:
    """Return the heating degree days: by how much each day's mean lies below `base`, added up."""
    return sum(max(0.0, base - fmean(hours)) for hours in days.values())


if __name__ == "__main__":
    for name in months():
        print(f"{name}  {degree_days(days_of(name)):5.1f} degree days")

# Output:
# 2010-01  390.9 degree days
# ...
# 2010-12  411.1 degree days
