from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from runtara.sdk.flow import JSON, MSGPACK, Backend, CheckpointingRunner, Codec, CodecError, Flow, InProcessRunner
from runtara.sdk.flow._codecs import read, write


class Point(BaseModel):
    x: int


codecs = pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=lambda codec: codec.name)


@codecs
@pytest.mark.parametrize("value", [None, 0, "é", [1, {"a": None}], {"k": 1.5}, True])
def test_values_come_back(codec: Codec, value: Any) -> None:
    assert codec.decode(codec.encode(value), Any) == value


@codecs
def test_models_come_back_as_models(codec: Codec) -> None:
    assert codec.decode(codec.encode(Point(x=1)), Point) == Point(x=1)
    assert codec.decode(codec.encode([Point(x=1)]), list[Point]) == [Point(x=1)]


@codecs
def test_a_mapping_is_put_together_from_parts(codec: Codec) -> None:
    parts = {'a"b': codec.encode([1, 2]), "c": codec.encode(None)}

    assert codec.decode(codec.join(parts), Any) == {'a"b': [1, 2], "c": None}
    assert codec.decode(codec.join({}), Any) == {}


@codecs
def test_what_cannot_be_kept_or_read_is_named(codec: Codec) -> None:
    with pytest.raises(CodecError, match="the result of x"):
        write(codec, object(), "the result of x")
    with pytest.raises(CodecError, match="the input of y"):
        read(codec, codec.encode("text"), int, "the input of y")


class Measure(msgspec.Struct):
    values: list[float]
    note: str | None = None


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("-inf"),
        [1, {"a": (float("inf"),)}],
        Measure([1.0, float("nan")]),
        {"note": None, "deep": [[[float("nan")]]]},
    ],
)
def test_a_number_that_json_has_not_is_refused_and_not_lost(value: Any) -> None:
    status = InProcessRunner().run(Flow("w").then(lambda: value, name="measure").build(), None)

    assert status.error is not None
    assert "the result of measure cannot be stored as json (it holds NaN or infinity)" in status.error
    assert InProcessRunner().run(Flow("w").then(lambda: value, name="m").build(codec=MSGPACK), None).is_completed


@pytest.mark.parametrize(
    "value", ["null", {"null": [None, 1.5]}, [Measure([1.0]), None], {1: None, "p": Point(x=1)}, [10**30, None]]
)
def test_nothing_may_be_a_part_of_a_value(value: Any) -> None:
    assert InProcessRunner().run(Flow("w").then(lambda: value, name="m").build(), None).is_completed


@codecs
def test_a_workflow_keeps_its_values_with_its_codec(codec: Codec, backend: Backend, instance_id: str) -> None:
    flow = Flow("kept").fork().branch(lambda x: x + 1, name="a").branch(lambda x: x * 2, name="b").join(lambda d: d)
    workflow = flow.build(codec=codec)

    assert CheckpointingRunner(backend).run(workflow, instance_id, 3).output == {"a": 4, "b": 6}
    assert CheckpointingRunner(backend).resume(workflow, instance_id).output == {"a": 4, "b": 6}


def test_message_pack_holds_bytes() -> None:
    workflow = Flow("bytes").then(lambda: b"\x00\xff", name="make").then(_length).build(codec=MSGPACK)

    assert InProcessRunner().run(workflow, None).output == 2


def _length(data: bytes) -> int:
    return len(data)
