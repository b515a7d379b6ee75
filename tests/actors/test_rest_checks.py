from typing import Any

import pytest

from runtara.actors._rest_checks import REST_CHECKS, RESULTS_MAX, RESULTS_MAX_BYTES
from runtara.errors import InvalidInput, TooLarge
from runtara.messages import AwaitedSignal, FinishInstance, RestInstance, StepResult


def of(checkpoint_id: str, state: Any = b"") -> StepResult:
    """Return a result; Any: some are refused for what they hold."""
    return StepResult(checkpoint_id=checkpoint_id, state=state)


GO = AwaitedSignal(name="go", place="p")

GOOD = (
    RestInstance(),
    RestInstance(results=(of("a", b"1"), of("b")), subtype="why", payload=b"p", checkpoint_id="nap", duration_ms=0),
    RestInstance(subtype="why", wake_at=5, awaits=(GO,)),
    FinishInstance(),
    FinishInstance(results=(of("a", b"1"),)),
    FinishInstance(results=tuple(of(f"r{number}") for number in range(RESULTS_MAX))),
    FinishInstance(results=(of("a", bytes(RESULTS_MAX_BYTES)),)),
)

BAD = (
    (RestInstance(checkpoint_id="nap"), "a delay needs a checkpoint_id and a duration_ms"),
    (RestInstance(duration_ms=5), "a delay needs a checkpoint_id and a duration_ms"),
    (RestInstance(checkpoint_id="nap", duration_ms=5, wake_at=5), "delay 'nap' ends by itself"),
    (RestInstance(checkpoint_id="nap", duration_ms=5, awaits=(GO,)), "delay 'nap' ends by itself"),
    (RestInstance(checkpoint_id="nap", duration_ms=-1), "duration -1 is not allowed"),
    (RestInstance(checkpoint_id="", duration_ms=5), "checkpoint id"),
    (RestInstance(subtype=""), "subtype"),
    (RestInstance(wake_at=-1), "wake_at"),
    (RestInstance(awaits=(AwaitedSignal(name="", place="p"),)), "signal name"),
    (RestInstance(results=(of("nap"),), checkpoint_id="nap", duration_ms=5), "a checkpoint is named twice"),
    (FinishInstance(results=(of("a", b"1"), of("a", b"1"))), "a checkpoint is named twice"),
    (FinishInstance(results=(of(""),)), "checkpoint id"),
    (FinishInstance(results=(of("a", "text"),)), "the state of a result must be bytes"),
)

TOO_LARGE = (
    FinishInstance(results=tuple(of(f"r{number}") for number in range(RESULTS_MAX + 1))),
    RestInstance(results=(of("a", bytes(RESULTS_MAX_BYTES)), of("b", b"1"))),
)


@pytest.mark.parametrize("command", GOOD, ids=range(len(GOOD)))
def test_what_can_be_done_passes(command: Any) -> None:
    REST_CHECKS[type(command)](command)


@pytest.mark.parametrize(("command", "why"), BAD, ids=range(len(BAD)))
def test_what_makes_no_sense_is_refused(command: Any, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        REST_CHECKS[type(command)](command)


@pytest.mark.parametrize("command", TOO_LARGE, ids=range(len(TOO_LARGE)))
def test_more_than_is_to_be_saved_at_once_is_too_large(command: Any) -> None:
    with pytest.raises(TooLarge, match="results are too many"):
        REST_CHECKS[type(command)](command)
