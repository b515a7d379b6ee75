"""What the end of a connection means."""

import pytest

from runtara.errors import Busy, InvalidInput, RuntaraError, TooLarge, Unauthenticated, UntrustedServer
from runtara.transport.client.connection import Ending, ended_by_server, not_trusted, reason_in
from runtara.transport.close_codes import (
    CLOSE_CODES,
    DONE,
    FLOOD,
    GOING_AWAY,
    INVALID_FRAME,
    TOO_LARGE,
    UNAUTHENTICATED,
)


class Blamed:
    """Notes what calls are blamed for."""

    def __init__(self) -> None:
        self.errors: list[RuntaraError] = []

    def blame(self, error: RuntaraError) -> None:
        self.errors.append(error)


@pytest.mark.parametrize(("code", "kind"), [(INVALID_FRAME, InvalidInput), (TOO_LARGE, TooLarge), (FLOOD, Busy)])
def test_what_was_at_fault_is_blamed_for_it(code: int, kind: type[RuntaraError]) -> None:
    calls = Blamed()

    assert ended_by_server(code, "no", calls) == Ending("no")  # type: ignore[arg-type]  # blame is all that it needs
    assert [type(error) for error in calls.errors] == [kind]


@pytest.mark.parametrize("code", [DONE, GOING_AWAY])
def test_who_is_not_at_fault_asks_again(code: int) -> None:
    calls = Blamed()

    assert ended_by_server(code, None, calls) == Ending(CLOSE_CODES[code])  # type: ignore[arg-type]  # likewise
    assert calls.errors == []


def test_who_is_turned_away_is_told_so() -> None:
    ending = ended_by_server(UNAUTHENTICATED, "nobody knows you", Blamed())  # type: ignore[arg-type]  # likewise

    assert isinstance(ending.error, Unauthenticated)
    assert isinstance(not_trusted("expired").error, UntrustedServer)


def test_the_reason_is_what_the_system_has_said_first() -> None:
    refused = ExceptionGroup("all attempts failed", [ConnectionRefusedError(111, "Connection refused")])
    outer = RuntimeError("no connection")
    outer.__cause__ = refused

    assert reason_in(outer) == "connection refused"
    assert reason_in(ValueError()) == "valueerror"
