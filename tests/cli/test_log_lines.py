"""The log of a server."""

import json
import logging
import re

import pytest

from runtara.cli._log_lines import LOG, LineFormatter, log_to_stderr


def line(event: str, **fields: object) -> str:
    """What an event becomes, without its instant."""
    record = LOG.makeRecord("runtara", logging.INFO, "f", 1, event, (), None, extra=fields)
    return LineFormatter().format(record).split(" ", 2)[2]


def test_an_event_is_one_line_with_its_fields_in_order() -> None:
    assert line("launched", tenant="t", instance="i", epoch=3) == "info launched tenant=t instance=i epoch=3"


def test_a_field_without_a_value_is_left_out() -> None:
    assert line("ended", code=None, instance="i") == "info ended instance=i"


def test_what_a_library_attached_for_itself_is_left_out() -> None:
    assert line("ended", _of_a_library=17, instance="i") == "info ended instance=i"


@pytest.mark.parametrize("value", ["two words", 'a"b', "a=b", "", "line\nbreak", "\x1b[1m", "back\\slash"])
def test_a_value_that_is_no_plain_word_is_quoted(value: str) -> None:
    said = line("x", why=value)

    assert said.isprintable()
    assert json.loads(said.removeprefix("info x why=")) == value


def test_an_instant_comes_first_and_a_traceback_last(capsys: pytest.CaptureFixture[str]) -> None:
    with log_to_stderr(quiet=False):
        try:
            raise ValueError("so")
        except ValueError:
            LOG.exception("crashed", extra={"actor": "root/x"})

    first, *rest = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z error crashed actor=root/x", first)
    assert rest[-1] == "ValueError: so"


def test_quiet_leaves_mere_events_out(capsys: pytest.CaptureFixture[str]) -> None:
    with log_to_stderr(quiet=True):
        LOG.info("ready")
        logging.getLogger("runtara.host").warning("oops")

    assert capsys.readouterr().err.endswith("warning oops\n")
    assert "ready" not in capsys.readouterr().err


def test_behind_the_block_everything_is_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    before = LOG.level, LOG.propagate, list(LOG.handlers)

    with log_to_stderr(quiet=False):
        pass

    assert (LOG.level, LOG.propagate, LOG.handlers) == before
