"""What the tests of the management client share: each of its faces, before each door."""

from collections.abc import Iterator

import pytest

from tests.sdk.management.clients import CLIENTS, PROGRAMS, Client, ServingPrograms


@pytest.fixture(scope="session")
def programs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingPrograms]:
    """A server that knows some programs; whoever uses it has a tenant of its own."""
    with ServingPrograms(tmp_path_factory.mktemp("data"), PROGRAMS) as running:
        yield running


@pytest.fixture(params=[f"{name}-{door}" for name in CLIENTS for door in ("embedded", "quic")])
def client(request: pytest.FixtureRequest, programs_server: ServingPrograms) -> Client:
    """Blocking, under trio and under asyncio; before a system in the same process, and before a server."""
    found = Client(*request.param.split("-"))
    if found.door == "quic":
        found.server = programs_server
    return found
