"""How reasons to close are said over WebSocket."""

import pytest

from runtara.transport.close_codes import CLOSE_CODES, DONE, FLOOD, GOING_AWAY, INVALID_FRAME, TOO_LARGE
from runtara.transport.websocket.terms import from_websocket, to_websocket


@pytest.mark.parametrize("code", CLOSE_CODES)
def test_every_reason_arrives_as_it_was_said_by_a_code_that_applications_may_use(code: int) -> None:
    said = to_websocket(code)

    assert from_websocket(said) == code
    assert said == 1_000 if code == DONE else 4_000 <= said < 5_000


@pytest.mark.parametrize(
    ("said", "code"),
    [(1_001, GOING_AWAY), (1_002, INVALID_FRAME), (1_003, INVALID_FRAME), (1_009, TOO_LARGE), (1_013, FLOOD)],
)
def test_what_any_server_may_say_has_its_meaning(said: int, code: int) -> None:
    assert from_websocket(said) == code


@pytest.mark.parametrize("said", [1_005, 1_006, 1_011, 3_000, 4_000, 4_999])
def test_what_is_no_reason_of_this_protocol_has_none(said: int) -> None:
    assert from_websocket(said) is None
