"""What the tests of the SDK share: each of its faces in turn."""

from collections.abc import Callable, Iterator

import pytest

from tests.sdk.faces import FACES, Face, RemoteFace
from tests.transport.quic.serving import Serving


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    """Blocking, under trio, and under asyncio."""
    found: Face = request.param
    return found


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server for all tests; whoever uses it keeps to a tenant, or to instances, of its own."""
    with Serving(tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture(params=[*FACES, *(RemoteFace(face.name) for face in FACES)], ids=lambda face: _ID[type(face)](face))
def any_face(request: pytest.FixtureRequest, server: Serving) -> Face:
    """Each face, with a system in the same process, and with a server."""
    found: Face = request.param
    if isinstance(found, RemoteFace):
        found.server = server
    return found


_ID: dict[type, Callable[[Face], str]] = {
    Face: lambda face: str(face.name),
    RemoteFace: lambda face: f"{face.name}-quic",
}
