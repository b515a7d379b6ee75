"""What the tests of the SDK share: each of its faces in turn."""

import pytest

from tests.sdk.faces import FACES, Face


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> Face:
    """Blocking, under trio, and under asyncio."""
    found: Face = request.param
    return found
