import typing

import pytest

from runtara.endpoints import ENDPOINTS, Endpoint
from runtara.messages import Command, CrashInstance, DeclareSilent, RecordEvent, WakeInstance
from tests.test_messages import reply_of

BETWEEN_ACTORS = {WakeInstance, DeclareSilent, CrashInstance}
"""Commands that no door offers."""


def test_every_command_is_offered_or_is_said_only_between_actors() -> None:
    assert set(ENDPOINTS) | BETWEEN_ACTORS == set(typing.get_args(Command))
    assert not set(ENDPOINTS) & BETWEEN_ACTORS


@pytest.mark.parametrize("row", ENDPOINTS.values(), ids=lambda row: row.command.__name__)
def test_the_reply_in_the_row_is_the_reply_in_the_type(row: Endpoint) -> None:
    assert row.reply is reply_of(row.command)


def test_only_recording_an_event_is_not_idempotent() -> None:
    assert [row.command for row in ENDPOINTS.values() if not row.idempotent] == [RecordEvent]
