"""What may be said of a scenario."""

import pytest

from runtara.errors import InvalidInput
from runtara.sdk import SignalType
from runtara.sdk.testing import Options, Scenario, SendSignal


def test_every_option_is_a_field_of_a_scenario() -> None:
    assert {"program", *Options.__annotations__} == set(Scenario.__struct_fields__)


@pytest.mark.parametrize("park_after", [-1, float("inf"), float("nan")])
def test_a_wait_without_end_is_refused(park_after: float) -> None:
    with pytest.raises(InvalidInput, match="park_after"):
        Scenario(lambda _: None, park_after=park_after)


def test_a_resume_is_refused() -> None:
    with pytest.raises(InvalidInput, match="resume"):
        SendSignal(SignalType.RESUME)
