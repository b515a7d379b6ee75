"""Replies are what they are under either name, and survive the wire."""

import msgspec
import pytest

from runtara import messages
from runtara.endpoints import ENDPOINTS
from runtara.messages import _replies as replies

REPLIES = sorted({row.reply for row in ENDPOINTS.values()}, key=lambda reply: reply.__name__)


@pytest.mark.parametrize("name", replies.__all__)
def test_a_reply_has_one_definition_and_two_names(name: str) -> None:
    assert getattr(messages, name) is getattr(replies, name)


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: reply.__name__)
def test_what_an_endpoint_answers_is_a_frozen_reply_that_names_itself_on_the_wire(
    reply: type[msgspec.Struct],
) -> None:
    config = reply.__struct_config__

    assert reply.__name__ in messages.__all__
    assert config.frozen
    assert config.tag == reply.__name__


def test_a_reply_comes_back_as_it_was_sent() -> None:
    sent = replies.CheckpointFound(found=True, state=b"")

    received = msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=replies.CheckpointFound | replies.InputFound)

    assert received == sent
