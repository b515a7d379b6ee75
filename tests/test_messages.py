import typing

import msgspec
import pytest

from runtara import messages
from runtara.ids import InstanceKey
from runtara.messages import Call, Command, Request

COMMANDS = typing.get_args(Command)
STRUCTS = [
    kind for name in messages.__all__ if isinstance(kind := getattr(messages, name), type) and kind is not Request
]


def reply_of(command: typing.Any) -> type[msgspec.Struct]:
    """The reply that a command names in its `Request[...]`."""
    reply: type[msgspec.Struct]
    (reply,) = next(typing.get_args(base) for base in command.__orig_bases__ if typing.get_origin(base) is Request)
    return reply


def fill(kind: type) -> msgspec.Struct:
    """A message with something in every required field."""
    required: dict[str, object] = {field.encode_name: None for field in msgspec.structs.fields(kind) if field.required}
    samples = {str: "x", bytes: "eA==", int: 1, bool: True}
    hints = typing.get_type_hints(kind)
    for name in required:
        hint = hints[name]
        required[name] = samples.get(hint, () if typing.get_origin(hint) is tuple else typing.get_args(hint)[:1])
        if typing.get_origin(hint) is typing.Literal:
            required[name] = typing.get_args(hint)[0]
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            required[name] = msgspec.to_builtins(fill(hint))
    return msgspec.convert(required | {"type": kind.__name__}, kind)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda kind: kind.__name__)
def test_every_command_survives_the_wire(command: type) -> None:
    sent = fill(command)

    received = msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=Command)

    assert received == sent
    assert type(received) is command


@pytest.mark.parametrize("command", COMMANDS, ids=lambda kind: kind.__name__)
def test_every_command_names_a_tagged_reply(command: type) -> None:
    assert reply_of(command).__struct_config__.tag == reply_of(command).__name__


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda kind: kind.__name__)
def test_messages_are_frozen(struct: type[msgspec.Struct]) -> None:
    assert struct.__struct_config__.frozen


def test_a_field_that_this_version_does_not_know_is_skipped() -> None:
    newer = msgspec.msgpack.encode({"type": "GetCheckpoint", "checkpoint_id": "a", "colour": "red"})

    assert msgspec.msgpack.decode(newer, type=Command) == messages.GetCheckpoint(checkpoint_id="a")


def test_a_call_says_who_asks() -> None:
    call = Call(InstanceKey("tenant", "instance"), messages.GetStatus(), epoch=3)

    assert call.key.tenant_id == "tenant"
    assert call.epoch == 3


def test_every_message_type_is_published() -> None:
    defined = {
        name for name, kind in vars(messages).items() if isinstance(kind, type) and kind.__module__ == messages.__name__
    }

    assert defined <= set(messages.__all__)
