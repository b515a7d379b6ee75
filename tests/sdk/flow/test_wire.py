"""What goes between those who lead and those who help comes back as what it was."""

import pytest

from runtara.errors import InstanceCancelled
from runtara.sdk import PermanentError, RetryLater
from runtara.sdk._bodies import Outcome
from runtara.sdk._types import RetryConfig
from runtara.sdk.flow import RetryPolicy, TaskTimedOut
from runtara.sdk.flow._wire import Try, read_outcome, read_try, write_outcome, write_try

CONFIG = RetryPolicy(3, 0.5, non_retryable=(KeyError,)).config


class Broken(Exception):
    """An error of a task's own."""


def carried(error: Exception, config: RetryConfig = CONFIG) -> Exception:
    found = read_outcome(write_outcome(Outcome(error=error), config), "the place").error
    assert found is not None
    return found


def test_a_try_is_what_it_was() -> None:
    one = Try(place="child_0/loop#3", value=b"\x00", step="flow::child_0/loop#3", attempt=2, epoch=7, of_loop=True)

    assert read_try(write_try(one)) == one


def test_a_result_is_what_it_was_also_where_it_is_empty() -> None:
    for value in (b"", b"\xff\x00", b"null"):
        assert read_outcome(write_outcome(Outcome(value), CONFIG), "p") == Outcome(value)


def test_an_error_keeps_the_name_of_its_class_and_its_words() -> None:
    error = carried(Broken("no paper"))

    assert (type(error).__module__, type(error).__qualname__, str(error)) == (__name__, "Broken", "no paper")
    assert repr(error) == "Broken('no paper')"


def test_an_error_says_whether_it_is_worth_another_try() -> None:
    assert CONFIG.is_tried_again(carried(Broken("x")))
    assert not isinstance(carried(Broken("x")), PermanentError)
    assert isinstance(carried(KeyError("x")), PermanentError)
    assert isinstance(carried(PermanentError("x")), PermanentError)


def test_an_error_says_when_another_try_is_worth_it() -> None:
    error = carried(RetryLater("busy", after=42))

    assert CONFIG.delay_after(error, 1).total_seconds() == 42


def test_an_error_of_the_runtime_is_the_same_error() -> None:
    assert isinstance(carried(InstanceCancelled("end")), InstanceCancelled)


def test_a_try_that_took_too_long_has_taken_too_long() -> None:
    error = carried(TaskTimedOut("task 'x' took longer than 1 seconds", task_id="x", error_type="…"))

    assert isinstance(error, TaskTimedOut)
    assert error.task_id == "the place"


def test_words_that_no_text_may_have_are_spelled_out() -> None:
    assert str(carried(Broken("\ud800"))) == "\\ud800"


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x80"])
def test_what_is_no_try_is_refused(payload: bytes) -> None:
    import msgspec

    with pytest.raises(msgspec.MsgspecError):
        read_try(payload)
