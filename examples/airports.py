"""The airports of the USA and the shortest network that links those of a state: plain functions, nothing durable.

01_airports.py works through all states with them; examples/data/README.md is about the data. The mean radius of the
earth is (2a + b) / 3 by H. Moritz, Geodetic Reference System 1980 (that of the IUGG), Journal of Geodesy 74, 2000.
"""

import csv
from math import asin, cos, inf, radians, sin, sqrt
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).parent / "data" / "airports.csv"
EARTH_KM = 6371.0088


class Airport(NamedTuple):
    """A place on earth; latitude and longitude in radians."""

    code: str
    latitude: float
    longitude: float


def airports_by_state() -> dict[str, list[Airport]]:
    """Read the airports, states and codes in alphabetical order; those whose state is not available are left out."""
    states: dict[str, list[Airport]] = {}
    with DATA.open(encoding="utf-8", newline="") as file:
        for row in sorted(csv.DictReader(file), key=itemgetter("state", "iata")):
            if row["state"] != "NA":
                place = Airport(row["iata"], radians(float(row["latitude"])), radians(float(row["longitude"])))
                states.setdefault(row["state"], []).append(place)
    return states


def distance_km(a: Airport, b: Airport) -> float:
    """Return the length of the great circle between two airports, by the haversine formula."""
    north, east = sin((b.latitude - a.latitude) / 2), sin((b.longitude - a.longitude) / 2)
    return 2 * EARTH_KM * asin(sqrt(min(1, north**2 + cos(a.latitude) * cos(b.latitude) * east**2)))


def shortest_network(airports: list[Airport]) -> list[tuple[float, str, str]]:
    """Return the edges of the minimum spanning tree by Prim: whoever is nearest joins, until all have joined.

    An edge is its length in km and the codes of its two airports. Takes time with the square of their number.
    """
    joined, *others = airports
    nearest = dict.fromkeys(others, (inf, joined))
    edges = []
    while nearest:
        nearest = {airport: min(link, (distance_km(joined, airport), joined)) for airport, link in nearest.items()}
        joined = min(nearest, key=nearest.__getitem__)
        km, neighbour = nearest.pop(joined)
        edges.append((km, neighbour.code, joined.code))
    return edges


if __name__ == "__main__":
    for km, one, other in shortest_network(airports_by_state()["RI"]):
        print(f"{one} - {other}  {km:.1f} km")

# Output:
# BID - WST  27.6 km
# WST - OQU  42.7 km
# OQU - UUU  13.0 km
# OQU - PVD  14.2 km
# PVD - SFZ  22.5 km
