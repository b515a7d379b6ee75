"""`runtara nodes`."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import fields, replace

from runtara.cli import _nodes
from runtara.messages import NodeInfo, NodesFound
from runtara.sdk import embedded
from tests.cli.terminal import Terminal

NODE = NodeInfo(
    name="north",
    address="north.test:8001",
    version="1.2.3",
    opened_at=1_750_000_000_000,
    places=8,
    in_use=3,
    draining=False,
    lease_ms=4_200,
    lost_at=None,
    owned=17,
)


@pytest.fixture
def shared(database: str) -> Iterator[Terminal]:
    """A terminal in front of a node of a shared database."""
    with embedded.open(url=database, programs={}) as system:
        yield Terminal(system)


def test_where_nobody_shares_the_store_it_is_said(terminal: Terminal) -> None:
    done = terminal("nodes")

    assert done.exit_code == 0
    assert "keeps everything by itself" in done.stdout


def test_where_nobody_shares_the_store_the_list_is_empty(terminal: Terminal) -> None:
    assert json.loads(terminal("nodes", "--json").stdout) == []


def test_the_nodes_of_a_database_are_listed_with_how_they_stand(shared: Terminal) -> None:
    done = shared("nodes")

    head, *rows = done.stdout.splitlines()
    assert head.split()[:4] == ["NODE", "ADDRESS", "STATE", "PLACES"]
    assert len(rows) == 1
    assert "alive" in rows[0].split()


def test_the_nodes_are_listed_as_json_with_all_that_is_known(shared: Terminal) -> None:
    [row] = json.loads(shared("nodes", "--json").stdout)

    assert set(row) >= {field.name for field in fields(NodeInfo)}
    assert row["lost_at"] is None


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, "alive"),
        ({"draining": True}, "draining"),
        ({"lease_ms": -1}, "silent"),
        ({"lease_ms": -1, "draining": True}, "silent"),
        ({"lost_at": 1_750_000_000_000}, "gone"),
        ({"lost_at": 1_750_000_000_000, "lease_ms": -1, "draining": True}, "gone"),
    ],
)
def test_a_node_stands_as_its_row_says(change: dict[str, Any], state: str) -> None:
    assert _nodes._Row(replace(NODE, **change)).state == state


@pytest.mark.parametrize(("places", "shown"), [(8, "3/8"), (None, "3/-")])
def test_places_are_shown_with_their_limit(places: int | None, shown: str) -> None:
    assert _nodes._Row(replace(NODE, places=places)).places_taken == shown


def test_the_columns_are_those_of_a_node_or_made_of_them() -> None:
    row = _nodes._Row(NODE)

    assert [getattr(row, column.field) for column in _nodes.NODES.columns][:4] == [
        "north",
        "north.test:8001",
        "alive",
        "3/8",
    ]
    assert NodesFound((NODE,)).nodes == (NODE,)
