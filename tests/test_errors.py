import pytest

from runtara.errors import ERRORS, Code, Retry, RuntaraError


@pytest.mark.parametrize("code", Code, ids=lambda code: code.name)
def test_a_wire_code_leads_back_to_the_class_that_was_raised(code: Code) -> None:
    raised = ERRORS[code]("what happened")

    assert raised.code is code
    assert raised.retry is code.retry
    assert str(raised) == "what happened"
    assert isinstance(raised, RuntaraError)


@pytest.mark.parametrize("code", Code, ids=lambda code: code.name)
def test_the_columns_of_a_row_agree_with_each_other(code: Code) -> None:
    assert 400 <= code.http_status < 600
    assert 1 < code.exit_code < 126
    assert code.meaning
    assert not code.meaning.endswith(".")
    if code.http_status < 500:
        assert code.retry is (Retry.SAFE if code.http_status == 429 else Retry.NEVER)
