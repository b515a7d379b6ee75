"""Errors as problem documents: every row of the error table, and what HTTP itself refuses."""

import msgspec
import pytest

from runtara.errors import ERRORS, Code, Retry
from runtara.transport.http._problems import MESSAGE_MAX_CHARS, Problem, Turned, problem_of


@pytest.mark.parametrize("code", ERRORS, ids=lambda code: code.wire)
def test_every_row_of_the_error_table_is_a_problem(code: Code) -> None:
    status, headers, body = problem_of(ERRORS[code]("it went wrong"), "r1")

    problem = msgspec.json.decode(body, type=Problem)
    assert (status, problem.status, problem.code) == (code.http_status, code.http_status, code.wire)
    assert (problem.title, problem.detail, problem.request_id) == (code.meaning, "it went wrong", "r1")
    assert problem.retry == code.retry.value
    assert (b"content-type", b"application/problem+json") in headers
    assert (b"retry-after" in dict(headers)) == (status in (429, 503))
    assert (b"www-authenticate" in dict(headers)) == (status == 401)


def test_a_bug_says_nothing_of_itself() -> None:
    status, _, body = problem_of(ZeroDivisionError("secret"), "r1")

    assert (status, b"secret" in body) == (500, False)
    assert msgspec.json.decode(body, type=Problem).code == "internal"


def test_what_http_refuses_has_its_own_status_and_headers() -> None:
    status, headers, body = problem_of(Turned(405, "not so", (b"allow", b"GET"), code=Code.NOT_FOUND), "r1")

    problem = msgspec.json.decode(body, type=Problem)
    assert (status, problem.status, problem.code, problem.retry) == (405, 405, "not-found", Retry.NEVER.value)
    assert (b"allow", b"GET") in headers


def test_a_text_is_cut_and_made_harmless() -> None:
    _, _, body = problem_of(Turned(400, "x" * 10_000 + "\ud800"), "r1")
    _, _, other = problem_of(Turned(400, "\ud800"), "r1")

    assert len(msgspec.json.decode(body, type=Problem).detail) == MESSAGE_MAX_CHARS
    assert msgspec.json.decode(other, type=Problem).detail == "?"
